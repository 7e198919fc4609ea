"""Back up, back up again and restore a volume in every way side by side: Breezeblock, Cinder, restic, borg and Benji.

    python benchmarks/backup.py --cinder-python PYTHON --benji PROGRAM    the whole table: some 20 minutes when idle
    python benchmarks/backup.py --quick                                   volumes of 64 MiB: two minutes at most
    python benchmarks/backup.py --size 1024 --only breezeblock,restic --data mixed
    python benchmarks/backup.py --write …                                 the whole table, into the documentation
    python benchmarks/backup.py --only breezeblock,breezeblock_afar --elsewhere /dev/shm --write     how near to the bound
    python benchmarks/backup.py --from FILE --write                       the page once more, from an earlier run

Three volumes as files: random bytes, this machine's own files, and one that is mostly holes. Each is backed up whole; then a
hundredth of it is written over, here and there; then it is backed up again, and restored, and what came back is compared by its
hash. All ways take their turns in each act, on the same disk, each in processes of its own and with nothing of the disk but the
programs in memory. It ends with 1 when a way fails, or restores something else. PYTHON is an interpreter that has `cinder`,
PROGRAM is `benji`.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from archiving import data, page, plot
from archiving.meter import Command, Failed, Used, drop_caches, measure
from archiving.plan import ACTS, AFAR, DATA, OURS, TITLES, TOLD, USUAL
from archiving.results import Results, middle, read
from archiving.ways import Tools, Way, found, keep_ranges, ways

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "backup-speed.md"
RAW: Final = ROOT / ".reports" / "benchmarks" / "backup.json"
BOUND: Final = Path(__file__).resolve().parent / "archiving" / "bound.py"
MIB: Final = 1024**2
FULL_MIB: Final = 4096
QUICK_MIB: Final = 64
FILES: Final = (Path("/usr"),)
OURS_ALONE: Final = frozenset((OURS, TOLD, AFAR))


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # as Ctrl-C: nothing is left behind
    results = read(options.read) if options.read else run(options)
    text = page.tables(results)
    print(text)
    if not options.read:
        results.write(options.json)
    if options.write and set(options.only) <= OURS_ALONE:
        page.write(PAGE, page.bounds(results), place=page.OURS_ALONE)
    elif options.write:
        page.write(PAGE, f"{plot.links()}\n\n{text}")
        for name in plot.PICTURES:
            (PAGE.parent / f"backup-{name}.svg").write_text(plot.picture(results, name), encoding="utf-8")
    return int(bool(results.failures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--size", type=int, help="of each volume, in MiB")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", type=_names(USUAL), default=list(USUAL))
    parser.add_argument("--data", type=_names(DATA), default=list(DATA))
    parser.add_argument("--cinder-python", type=Path, help="an interpreter that has cinder")
    parser.add_argument("--benji", type=Path, help="the program")
    parser.add_argument("--files", type=Path, nargs="+", default=FILES, help="folders whose files a mixed volume has")
    parser.add_argument("--warm", action="store_true", help="let what was read stay in memory")
    parser.add_argument("--folder", type=Path, help="on the disk that is to be used; the temporary folder by default")
    parser.add_argument(
        "--elsewhere", type=Path, help="on another disk, or in memory: where Breezeblock stores as well"
    )
    parser.add_argument("--write", action="store_true", help="tables and pictures into docs/explanation")
    parser.add_argument("--json", type=Path, default=RAW, help="all figures into a file")
    parser.add_argument("--from", dest="read", type=Path, help="figures of an earlier run, instead of a new one")
    options = parser.parse_args()
    options.size = (options.size or (QUICK_MIB if options.quick else FULL_MIB)) * MIB
    return options


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"no such: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return names

    return parse


def run(options: argparse.Namespace) -> Results:
    """All of it, in a folder that is gone afterwards."""
    began, load = time.monotonic(), os.getloadavg()[0]
    tools = found(options.only, cinder_python=options.cinder_python, benji=options.benji, elsewhere=options.elsewhere)
    results = Results(setting={}, missing=dict(tools.missing))
    with contextlib.ExitStack() as stack:
        folder, elsewhere = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bb-backup-", dir=at)))
            for at in (options.folder, options.elsewhere)
        )
        course = Course(folder, elsewhere, options, tools, results)
        for kind in options.data:
            course.of(kind)
    results.setting = {
        "date": time.strftime("%Y-%m-%d"),
        "took_s": time.monotonic() - began,
        "cpus": page.cpus(),
        "size_bytes": options.size,
        "rounds": options.rounds,
        "load": load,
        "caches_dropped": course.dropped,
    }
    return results


class Course:
    """Where all ways take their turns."""

    def __init__(
        self, folder: Path, elsewhere: Path, options: argparse.Namespace, tools: Tools, results: Results
    ) -> None:
        self._folder, self._elsewhere, self._options = folder, elsewhere, options
        self._tools, self._results = tools, results
        self._taken: dict[tuple[str, str], list[tuple[Used, int]]] = defaultdict(list)
        self.dropped = not options.warm

    def of(self, kind: str) -> None:
        """Everything with one kind of volume."""
        self._taken.clear()
        image = self._folder / "volume"
        for number in range(self._options.rounds):
            began = time.monotonic()
            data.make(kind, image, self._options.size, folders=self._options.files)
            _say(f"{kind}: a volume after {time.monotonic() - began:.0f} s")
            if number == 0:
                self._results.bound[kind] = self._bound(image)
            # Whoever came first in one round comes later in the next.
            names = self._options.only[number:] + self._options.only[:number]
            self._round(kind, self._ways(names, image), image, number)
        self._results.figures[kind] = {
            act: {name: middle(taken) for name in self._options.only if (taken := self._taken.get((act, name)))}
            for act in ACTS
        }

    def _ways(self, names: list[str], image: Path) -> list[Way]:
        return ways(names, self._folder, image, self._tools, elsewhere=self._elsewhere)

    def _round(self, kind: str, turns: list[Way], image: Path, number: int) -> None:
        before = {}
        for way in list(turns):
            self._measure(kind, "full", way, way.full(), turns)
            before[way.name] = way.stored_bytes()
        changed = self._folder / "changed.json"
        keep_ranges(changed, data.change(image, round_number=number))
        wanted = data.digest(image)
        for way in list(turns):
            self._measure(kind, "incremental", way, way.incremental(changed), turns, stored=before[way.name])
        for way in list(turns):
            way.target.mkdir()
            self._measure(kind, "restore", way, way.restore(), turns)
            if way in turns and data.digest(way.restored()) != wanted:
                self._failed(kind, way, "restored something else")
            shutil.rmtree(way.folder)

    def _measure(self, kind: str, act: str, way: Way, command: Command, turns: list[Way], *, stored: int = 0) -> None:
        """One act. A way that fails in it is out for this round: the others go on."""
        self._drop_caches()
        if not command.tells:  # the program itself is not what is to be read from the disk
            subprocess.run([command.words[0], "--help"], stdout=subprocess.DEVNULL, check=True)
        try:
            used = measure(command)
        except Failed as error:
            self._failed(kind, way, f"failed in {ACTS[act].lower()}: {error}")
            turns.remove(way)
            return
        self._taken[act, way.name].append((used, way.stored_bytes() - stored))
        _say(f"{kind}, {act}, {way.name}: {used.seconds:.1f} s, CPU {used.cpu_s:.1f} s, {used.peak_mib:.0f} MiB")

    def _failed(self, kind: str, way: Way, what: str) -> None:
        _say(f"{kind}, {way.name}: {what}")
        self._results.failures.append(f"{TITLES[way.name]}, {DATA[kind]}: {what.splitlines()[0]}")

    def _drop_caches(self) -> None:
        self.dropped = self.dropped and drop_caches(self._folder)

    def _bound(self, image: Path) -> dict[str, float]:
        seconds = {}
        for what in page.BOUNDS:
            self._drop_caches()
            words = [sys.executable, str(BOUND), what, "--image", str(image), "--folder", str(self._folder)]
            seconds[what] = measure(Command(words, self._folder, tells=True)).seconds
            _say(f"bound, {what}: {seconds[what]:.1f} s")
        return seconds


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
