"""What clients of a simulation ask for volumes that change hands. Everything else that they ask for is in `asks.py`."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from breezeblock.env.contract import Env
from breezeblock.model.ids import TransferId, VolumeId
from breezeblock.resources import transfers
from breezeblock.testing.aims import Aims
from breezeblock.testing.call import Call

__all__ = ["CALLS", "TransferAsks"]

CALLS: Final = {
    "offer": 4.0,
    "take": 7.0,
    "withdraw": 1.5,
}
WRONG_KEYS: Final = 0.1


class TransferAsks:
    """Draws requests. `by` is told who asks about an offer: anybody takes it, its own project withdraws it."""

    def __init__(
        self,
        random: Random,
        aims: Aims,
        by: Callable[[str, str], None],
        *,
        projects: Sequence[str],
        quota: Mapping[str, int],
    ) -> None:
        self._random = random
        self._aims = aims
        self._by = by
        self._projects = projects
        self._quota = quota
        self.draws: dict[str, Callable[[Env], Call | None]] = {
            "offer": self._offer,
            "take": self._take,
            "withdraw": self._withdraw,
        }

    def _offer(self, env: Env) -> Call | None:
        if (found := self._aims.one("usable")) is None:
            return None
        id_ = env.ids.uuid()
        wanted = transfers.NewTransfer(
            id=TransferId(id_),
            volume_id=VolumeId(found[0]),
            name=None,
            no_snapshots=self._random.random() < 0.3,
            encrypted_too=True,
            salt=id_[:8],
            key_hash=transfers.key_hash(id_[:8], id_),
        )
        return Call("offer", transfers.offer, found[0], {"wanted": wanted}, table="transfers")

    def _take(self, env: Env) -> Call | None:
        """Two may have the key. Who offers may take it back in this way, too."""
        if (found := self._one()) is None:
            return None
        id_, _ = found
        self._by(id_, self._random.choice(self._projects))
        key = "guessed" if self._random.random() < WRONG_KEYS else id_
        return self._on(id_, "take", transfers.accept, {"auth_key": key, "quota_defaults": self._quota})

    def _withdraw(self, env: Env) -> Call | None:
        if (found := self._one()) is None:
            return None
        self._by(*found)
        return self._on(found[0], "withdraw", transfers.withdraw, {})

    def _one(self) -> tuple[str, str] | None:
        found = self._aims.all(_OFFERS)
        if not found:
            return None
        id_, project = self._random.choice(found)
        return id_, project

    @staticmethod
    def _on(id_: str, kind: str, f: Callable[..., Any], said: Mapping[str, Any]) -> Call:
        return Call(kind, f, id_, {"transfer_id": id_, **said}, table="transfers")


_OFFERS: Final = "SELECT id, project_id FROM transfers ORDER BY created_at_us DESC, id LIMIT 4"
