"""The container's image, built and run."""

import json
import os
import shutil
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.packaging.builder import Builder
from tests.packaging.test_image import DOCKERFILE, ROOT, of
from tests.packaging.test_wheel import wheel
from tests.proof import not_here
from tests.servers.packages import Missing
from tests.service import descendants, eventually

from breezeblock import __version__

__all__ = ["wheel"]

# A base of Debian's packages, made the first time, may take a slow mirror half an hour.
pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

IMAGE: Final = "localhost/breezeblock"
USER: Final = 10776


@pytest.fixture(scope="module")
def builder(wheel: Path) -> Iterator[Builder]:
    # Its store is too large for where pytest keeps the last few runs.
    folder = Path(tempfile.mkdtemp(prefix="breezeblock-image-"))
    try:
        made = Builder(folder)
        base = of("FROM")[0].split()[0]
        made.stand_in(base)
    except Missing as error:
        shutil.rmtree(folder)
        not_here(str(error))
    context = folder / "context"
    (context / "dist").mkdir(parents=True)
    shutil.copy(wheel, context / "dist")
    shutil.copy(ROOT / "constraints.txt", context)
    try:
        made.build(context, DOCKERFILE, name=IMAGE)
        made.run("from", "--pull-never", "--name=running", IMAGE, seconds=300)
        yield made
    finally:
        made.remove()


def inside(builder: Builder, *words: str) -> str:
    return builder.run("run", "--isolation=chroot", "running", "--", *words)


def test_it_says_how_it_is_run(builder: Builder) -> None:
    """As the file has it, after everything that both stages did."""
    config = builder.config(IMAGE)

    assert (config["User"], config["Entrypoint"], config["Cmd"]) == (f"{USER}:{USER}", ["breezeblock"], ["up"])
    assert (config["WorkingDir"], config["StopSignal"]) == ("/var/lib/breezeblock", "SIGTERM")
    assert config["Healthcheck"]["Test"] == ["CMD", "breezeblock", "healthy"]
    assert set(config["ExposedPorts"]) == {"8776/tcp"}
    assert set(config["Volumes"]) == {"/var/lib/breezeblock"}


def test_it_has_the_release_and_nothing_to_build_with(builder: Builder) -> None:
    """What it was built from stays in the first stage; and its own user changes nothing of it."""
    assert inside(builder, "breezeblock", "--version").strip() == __version__
    assert inside(builder, "sh", "-c", "ls -d /build 2>/dev/null || true").strip() == ""
    assert inside(builder, "sh", "-c", "touch /opt/breezeblock/x 2>&1 || true").endswith("Permission denied\n")


def test_it_serves_as_its_own_user_and_ends_when_told(builder: Builder) -> None:
    """Its command and its health check; every process is that user; a volume is made; it stops within the time given."""
    up = builder.start("running", "breezeblock", "up", "--port", "0", "--nodes", "1", "--workers", "1")
    told: dict[str, Any] = {}

    def ready() -> bool:
        assert up.poll() is None, up.communicate()[0]
        told.update(_told(builder))
        return bool(told.get("ready"))

    try:
        eventually(ready, within_s=90, message="not ready")
        assert inside(builder, "breezeblock", "healthy") == "Healthy.\n"
        pids = [told["pid"], *descendants(told["pid"])]
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {USER}
        volume = _asked(f"{told['endpoint']}/v3/p1/volumes", {"volume": {"size": 1}})["volume"]
        where = f"{told['endpoint']}/v3/p1/volumes/{volume['id']}"
        eventually(lambda: _asked(where)["volume"]["status"] == "available", within_s=60, message="no volume")
        os.kill(told["pid"], signal.SIGTERM)
        said = up.communicate(timeout=90)[0]
        assert up.returncode == 0, said
    finally:
        if up.poll() is None and "pid" in told:
            os.kill(told["pid"], signal.SIGKILL)  # its children end with it
        up.kill()
        up.communicate()


def _told(builder: Builder) -> dict[str, Any]:
    """What the service says of itself, {} before it does."""
    text = inside(builder, "sh", "-c", "cat /var/lib/breezeblock/run/up.json 2>/dev/null || true")
    found: dict[str, Any] = json.loads(text) if text.strip() else {}
    return found


def _asked(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found
