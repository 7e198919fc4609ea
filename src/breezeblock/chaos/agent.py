"""The external fence of a chaos run: a fence agent that ends what holds a node's lock file, and makes sure of it.

Called as any other: options as lines on its standard input, exit status 0 when the node writes no more. Not our product's own
proof in another coat: it shares no code with it, so that each can show the other to be wrong. It runs by itself.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

GIVE_UP_AFTER_S = 15.0
LOOK_EVERY_S = 0.02


def main() -> int:
    """Exit status."""
    told = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin if "=" in line)
    if told.get("action") != "off":
        return 0
    if told.get("lie"):
        return 0  # for the test that shows what comes of it
    path = told["lock_path"]
    until = time.monotonic() + GIVE_UP_AFTER_S
    while time.monotonic() < until:
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            print(f"there is no {path}")
            return 1
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return 0  # nobody has it any more, so everything that inherited it has ended
        except BlockingIOError:
            end_holders(os.fstat(file).st_dev, os.fstat(file).st_ino)
        finally:
            os.close(file)
        time.sleep(LOOK_EVERY_S)
    print(f"somebody still holds {path}")
    return 1


def end_holders(device: int, inode: int) -> None:
    """SIGKILL every process that has the file open and locked."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{inode} "
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid() and has_lock(process, wanted):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)


def has_lock(process: Path, wanted: str) -> bool:
    """Whether a descriptor of a process carries the lock for writing."""
    try:
        texts = [descriptor.read_text() for descriptor in (process / "fdinfo").iterdir()]
    except OSError:  # it is gone, or about to be; then the next look tells
        return False
    lines = (line for text in texts for line in text.splitlines())
    return any("FLOCK" in line and "WRITE" in line and wanted in line for line in lines)


if __name__ == "__main__":
    sys.exit(main())
