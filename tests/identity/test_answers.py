"""What the API answers to strangers, and to somebody."""

import asyncio
from pathlib import Path

import httpx
from tests.api.world import Api
from tests.identity.files import ANN, Files

from breezeblock.api.app import build_app
from breezeblock.api.identity.http_basic import HttpBasic, UserFiles
from breezeblock.env.real import RealThreads, real_env


def test_strangers_learn_versions_and_nothing_else(tmp_path: Path) -> None:
    """Below /v3 an answer of 401 has the API's form, and the challenge; a user's project is the one in his URLs."""
    loop = asyncio.new_event_loop()
    api = Api(tmp_path, loop)
    files, env = Files(tmp_path), real_env()
    files.write({"ann": "right"}, ANN)
    threads = RealThreads(max_threads=1)
    read = UserFiles(files.passwords, files.users, clock=env.clock, threads=threads)
    known = HttpBasic(read, clock=env.clock, ids=env.ids, threads=threads, cache_s=60.0)
    app = build_app(api.services, authenticate=known)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here:8776") as client:
            strange = [await client.get(path) for path in ("/", "/healthcheck", "/v3", "/v3/p1/volumes")]
            return strange + [await client.get(f"/v3/{p}/volumes", auth=("ann", "right")) for p in ("p1", "p2")]

    answers = loop.run_until_complete(ask())
    api.close()
    threads.close()
    loop.close()

    assert [one.status_code for one in answers] == [300, 200, 401, 401, 200, 400]
    for refused in answers[2:4]:
        assert refused.headers["WWW-Authenticate"] == 'Basic realm="Breezeblock"'
        assert refused.json()["unauthorized"]["code"] == 401
    assert answers[4].json() == {"volumes": []}
