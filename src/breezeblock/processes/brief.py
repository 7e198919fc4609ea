"""What a process is told at its start, as one JSON text on its standard input: no secret is in arguments or environment.

Plain data and the standard library only: the keeper reads it, too.
"""

import json
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class NodeBrief:
    """One node: what its keeper needs, and the whole settings for its worker. `pings_file`: on which `up` asks the keeper."""

    name: str
    cluster: str
    database_urls: tuple[str, ...]
    state_folder: str
    ttl_s: float
    drift: float
    version: str
    log_level: str
    log_format: str
    settings_json: str
    incarnation: str = ""
    lock_path: str = ""
    lock_id: str = ""
    parent_pid: int = 0
    page_file: int = -1
    link_file: int = -1
    pings_file: int = -1

    def to_text(self) -> str:
        """As it goes over the pipe."""
        return json.dumps(asdict(self))

    @classmethod
    def from_stdin(cls) -> "NodeBrief":
        """Read to the end of standard input."""
        return cls(**json.load(sys.stdin))


@dataclass(frozen=True, slots=True)
class ApiBrief:
    """One API process: the socket that all of them serve, the line on which it shows that its event loop turns, and the files
    in memory in which they count, one for each place; its own is at `place`."""

    name: str
    settings_json: str
    log_level: str
    log_format: str
    listening_file: int
    link_file: int
    counts_files: tuple[int, ...]
    place: int
    parent_pid: int

    def to_text(self) -> str:
        """As it goes over the pipe."""
        return json.dumps(asdict(self))

    @classmethod
    def from_stdin(cls) -> "ApiBrief":
        """Read to the end of standard input."""
        return cls(**json.load(sys.stdin))
