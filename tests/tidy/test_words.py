"""What no file of the repository says."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Folders of one person's machine. Written in two parts: this file is searched as well. The name of a package of ours
# may be one of these words, so only a path that starts there counts.
PERSONAL = re.compile(r"(?<![\w.}~$*)\]>-])/(?:wor" + r"k|roo" + r"t|home/[a-z]\w*)/\w")


def files() -> list[Path]:
    """What git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / path for path in listed.stdout.decode().split("\0") if path]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_folder_of_one_machine() -> None:
    """A path that exists on its author's machine only is a mistake on every other."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if PERSONAL.search(line)
    ]

    assert not found


@pytest.mark.parametrize("text", ["see /wor" + "k/x", '"/roo' + 't/y"', "=/hom" + "e/ann/z"])
def test_such_a_folder_is_found(text: str) -> None:
    """Wherever in a line it stands."""
    assert PERSONAL.search(text)


@pytest.mark.parametrize(
    "text", ["src/breezeblock/wor" + "k/catalogue.py", "breezeblock/wor" + "k/", "{base}/roo" + "t/x"]
)
def test_a_folder_of_the_project_is_not(text: str) -> None:
    """One of our packages has such a name."""
    assert not PERSONAL.search(text)
