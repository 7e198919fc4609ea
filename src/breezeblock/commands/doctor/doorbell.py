"""Whether the doorbell can be rung: by opening it, as every process does."""

import asyncio
from typing import Final

from breezeblock import wiring
from breezeblock.commands.doctor.finding import WARNING, Finding, Findings
from breezeblock.env.real import real_env
from breezeblock.settings import Settings, mask_url_secrets

__all__ = ["look"]

CONNECTED_S: Final = 5.0
LOOK_EVERY_S: Final = 0.05


def look(settings: Settings) -> Findings:
    """See `examine`. Nothing is rung."""
    kind = settings.doorbell_kind
    if kind == "datagram" and not settings.one_machine:
        yield Finding(
            "doorbell.reach",
            WARNING,
            "The doorbell is datagrams, which nodes on other machines do not hear.",
            f"They see new work when they look by themselves, up to {settings.nodes.poll_s:g} s later.",
            "doorbell.kind = postgresql or rabbitmq (docs/howto/choose-a-doorbell.md); or a shorter nodes.poll_s.",
        )
    if kind in ("postgresql", "rabbitmq") and not asyncio.run(_connects(settings)):
        urls = ", ".join(mask_url_secrets(url, is_url=True) for url in settings.doorbell_urls)
        yield Finding(
            "doorbell.server",
            WARNING,
            f"No server of the doorbell answered within {CONNECTED_S:g} s: {urls}.",
            f"Nothing is lost, but work waits until nodes look by themselves, up to {settings.nodes.poll_s:g} s.",
            "Start the server; check its address, user and password; let this machine through the firewall.",
        )


class _Listening:
    """Implements `doorbells.contract.Tally`: only whether there is a connection."""

    def __init__(self) -> None:
        self.is_connected = False

    def sent(self, rings: int) -> None:
        """See `Tally`."""

    def failed(self, rings: int) -> None:
        """See `Tally`."""

    def received(self, rings: int) -> None:
        """See `Tally`."""

    def connected(self, connected: bool) -> None:
        """See `Tally`."""
        self.is_connected = connected


async def _connects(settings: Settings) -> bool:
    env, tally = real_env(), _Listening()
    bell = wiring.open_bell(settings, env, tally)
    try:
        give_up_at = env.clock.boottime() + CONNECTED_S
        while not tally.is_connected and env.clock.boottime() < give_up_at:
            await env.clock.sleep(LOOK_EVERY_S)
        return tally.is_connected
    finally:
        bell.close()
