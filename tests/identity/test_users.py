"""Files of users: what they may say, and how a mistake in them is told."""

from pathlib import Path

import pytest
from tests.identity.files import ANN, Files, hashed

from breezeblock.api.identity.users import Unreadable, read_users

GOOD = hashed("right")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    found = Files(tmp_path)
    found.write({"ann": "right"}, ANN)
    return found


def test_users_are_in_both_files(files: Files) -> None:
    """Who is in one alone is nobody, and named."""
    files.write({"ann": "right", "bob": "right"}, f'{ANN}[cid]\nproject = "p2"\nquota = {{ volumes = -1 }}\n')

    found = read_users(files.passwords, files.users)

    assert (list(found.by_name), found.without_a_table, found.without_a_password) == (["ann"], ("bob",), ("cid",))
    assert (found.by_name["ann"].project, found.quotas.get("p1")) == ("p1", None)


def test_roles_imply_others(files: Files) -> None:
    """As an identity service has it; a role of somebody's own is only itself."""
    files.write({"ann": "right"}, '[ann]\nproject = "p1"\nroles = ["admin", "auditor"]\n')

    roles = read_users(files.passwords, files.users).by_name["ann"].roles

    assert roles == {"admin", "manager", "member", "reader", "auditor"}


def test_comments_and_empty_lines_are_left_out(files: Files) -> None:
    files.passwords.write_text(f"# people\n\n  ann:{GOOD}  \n")

    assert list(read_users(files.passwords, files.users).by_name) == ["ann"]


@pytest.mark.parametrize("sign", ["\f", "\v", "\x1c", "\x85", "\u2028", "\r"])
def test_only_the_end_of_a_line_ends_it(files: Files, sign: str) -> None:
    """Whoever may choose a name does not write a line of its own with it."""
    files.passwords.write_bytes(f"bob{sign}ann:{GOOD}\r\n".encode())
    files.users.write_text('[ann]\nproject = "p1"\n')

    found = read_users(files.passwords, files.users)

    assert (dict(found.by_name), found.without_a_table) == ({}, (f"bob{sign}ann",))


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
def test_each_spelling_of_bcrypt_is_taken(files: Files, prefix: bytes) -> None:
    files.passwords.write_text(f"ann:{hashed('right', prefix=prefix)}\n")

    assert list(read_users(files.passwords, files.users).by_name) == ["ann"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ann", "expected NAME:HASH"),
        (f":{GOOD}", "expected NAME:HASH"),
        (f"{'a' * 256}:{GOOD}", "at most 255 characters"),
        (f"ann:{GOOD}\nann:{GOOD}", "line 2: the user ann is there twice"),
        ("ann:$apr1$abcdefgh$0123456789abcdefghijkl", "the hash of ann is not of the kind bcrypt"),
        ("ann:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=", "the hash of ann is not of the kind bcrypt"),
        ("ann:right", "make it anew with htpasswd -B"),
        (f"ann:{GOOD.replace('2y', '2x')}", "the hash of ann is not of the kind bcrypt"),
        (f"ann:{GOOD[:-1]}", "the hash of ann is not of the kind bcrypt"),
        (f"ann:{GOOD.replace('$04$', '$31$')}", "the hash of ann has the cost 31; expected one between 4 and 14"),
    ],
)
def test_a_wrong_line_of_passwords_is_told_without_its_hash(files: Files, line: str, expected: str) -> None:
    files.passwords.write_text(line + "\n")

    with pytest.raises(Unreadable) as raised:
        read_users(files.passwords, files.users)

    told = str(raised.value)
    assert expected in told
    assert line.rpartition(":")[2] not in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ann", "expected TOML"),
        ("ann = 1", "user ann: Expected `object`"),
        ("[ann]\nroles = []", "user ann: Object missing required field `project`"),
        ('[ann]\nproject = ""', "length >= 1"),
        ('[ann]\nproject = "p"\nroles = "admin"', "Expected `array`"),
        ('[ann]\nproject = "p"\nadmin = true', "unknown field `admin`"),
        ('[ann]\nproject = "p"\nquota = { volumes = -2 }', ">= -1"),
        ('[ann]\nproject = "p"\nquota = { disks = 1 }', "no quota called disks; expected one of backup_gigabytes, "),
        (
            '[ann]\nproject = "p"\nquota = { volumes = 1 }\n[bob]\nproject = "p"\nquota = { volumes = 2 }',
            "user bob: its quota is another than that of ann, and both are in the project p",
        ),
    ],
)
def test_a_wrong_table_is_told_with_its_user(files: Files, text: str, expected: str) -> None:
    files.users.write_text(text)

    with pytest.raises(Unreadable) as raised:
        read_users(files.passwords, files.users)

    assert expected in str(raised.value)


def test_files_that_are_not_there_or_no_text_are_told(files: Files) -> None:
    files.users.unlink()
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        read_users(files.passwords, files.users)
    files.passwords.write_bytes(b"ann:\xff\n")
    with pytest.raises(Unreadable, match="not a text in UTF-8"):
        read_users(files.passwords, files.users)
