"""A process that takes a lock of this machine and says so: `python -m tests.drivers.holder FOLDER KIND COUNT NAME…`.

`KIND` is shared, exclusive, or count: then it adds one to the number in FOLDER/number, COUNT times, each time under the lock.
"""

import asyncio
import sys
from pathlib import Path

from tests.drivers.locking import running_nowhere

from breezeblock.env.host_locks import HostLocks
from breezeblock.env.real import real_env
from breezeblock.node.locks import OperationContext
from breezeblock.node.locks_local import LocalLocks


async def main(folder: Path, kind: str, count: int, names: list[str]) -> None:
    env = real_env()
    locks = LocalLocks(env, HostLocks(folder / "locks"), backend="b", scope="c@b")
    ctx: OperationContext = running_nowhere(env, locks).ctx
    if kind != "count":
        async with ctx.lock(*names, shared=kind == "shared"):
            print("inside", flush=True)
            await env.clock.sleep(3600)
    number = folder / "number"
    for _ in range(count):
        async with ctx.lock(*names):
            found = int(number.read_text())
            await env.clock.sleep(0.001)
            number.write_text(str(found + 1))
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
