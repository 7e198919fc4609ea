"""Metrics of a real service, whose API processes share one socket: each connection may meet another one."""

import os
import re
import signal

from tests.service import Service, StartService, eventually


def requests_counted(service: Service, route: str) -> int:
    """As whichever API process answers has it."""
    text = service.request("GET", "/metrics").body
    found = re.findall(r"^breezeblock_http_request_duration_seconds_count\{(.*)\} ([0-9.]+)$", text, re.MULTILINE)
    return int(sum(float(count) for labels, count in found if f'route="{route}"' in labels))


def test_metrics_are_the_same_whoever_answers_and_outlive_a_killed_process(running_service: StartService) -> None:
    """No counter falls, and none is another process's."""
    service = running_service(nodes=1, workers=3)
    for _ in range(30):
        assert service.request("GET", "/v3/admin/volumes").status == 200

    before = {requests_counted(service, "/v3/volumes") for _ in range(20)}
    killed = service.api_pids[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in service.api_pids and len(service.api_pids) == 3)
    for _ in range(30):
        assert service.request("GET", "/v3/admin/volumes").status == 200

    assert before == {30}
    # Each keeps its text for a second.
    eventually(lambda: {requests_counted(service, "/v3/volumes") for _ in range(20)} == {60}, within_s=5.0)
