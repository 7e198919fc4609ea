"""Looking an archive through, as steps: what no manifest names goes, in two collections."""

import contextlib
from typing import Final

import structlog

from breezeblock.backup.damage import Damaged
from breezeblock.backup.engine import Archive, NoArchive
from breezeblock.model.errors import BackendFailed
from breezeblock.protocol import archives
from breezeblock.protocol.archives import CONDEMNED, LIVE, LOST, Outdated, Settled
from breezeblock.protocol.steps import Operation
from breezeblock.resources import garbage
from breezeblock.work.archives import open_archive, patiently
from breezeblock.work.tools import Working

log = structlog.get_logger(__name__)

# Those that were condemned before are decided on first, so that a collection never dooms what it has condemned itself.
ORDER: Final = (CONDEMNED, LOST, LIVE)


class Marks:
    """What manifests name. It only grows: what a backup named that has gone meanwhile is kept until the next collection."""

    def __init__(self, run: Working, archive: Archive) -> None:
        self._run = run
        self._archive = archive
        self._read: set[str] = set()
        self.named: set[str] = set()
        self.publications = -1

    async def refresh(self) -> None:
        """Read the manifests that are new. Raises BackendFailed when one cannot be read: half a picture decides nothing."""
        picture = await self._run.read(archives.picture, archive_id=self._archive.id)
        for name in sorted(picture.manifests - self._read):
            try:
                manifest = await self._archive.read_manifest(name)
            except Damaged as damage:
                if await self._is_named(name):
                    raise BackendFailed(f"The manifest {name} cannot be read: {damage}") from damage
                continue
            self.named.update(manifest.packs)
            self._read.add(name)
        self.publications = picture.publications

    async def _is_named(self, name: str) -> bool:
        """Whether a backup still has that manifest: one that is being deleted takes its own with it."""
        picture = await self._run.read(archives.picture, archive_id=self._archive.id)
        return name in picture.manifests


async def settle_packs(run: Working) -> None:
    """Condemn what no manifest names, and doom what was condemned and still is not named. A repeat begins anew."""
    with contextlib.suppress(NoArchive):  # its only backup has failed before anything was stored
        await patiently(run, lambda: _settle_packs(run))


async def _settle_packs(run: Working) -> None:
    archive = await open_archive(run, run.payload.archive_id, begin=False)
    marks = Marks(run, archive)
    await marks.refresh()
    for state in ORDER:
        after: str | None = ""
        while after is not None:
            settled = await _settle(run, marks, state=state, after=after)
            log.info("archive.settled", archive=archive.id, found=state, **_counts(settled))
            after = settled.last
            await run.checkpoint(progress=False)


async def _settle(run: Working, marks: Marks, *, state: str, after: str) -> Settled:
    while True:
        try:
            return await run.note(
                archives.settle,
                archive_id=run.payload.archive_id,
                publications=marks.publications,
                named=marks.named,
                state=state,
                after=after,
            )
        except Outdated:
            await marks.refresh()


def _counts(settled: Settled) -> dict[str, int]:
    return {"condemned": settled.condemned, "saved": settled.saved, "doomed": settled.doomed}


async def sweep_packs(run: Working) -> None:
    """Delete the objects of packs that are doomed: for the first time, or once more."""
    with contextlib.suppress(NoArchive):
        await patiently(run, lambda: _sweep_packs(run))


async def _sweep_packs(run: Working) -> None:
    archive = await open_archive(run, run.payload.archive_id, begin=False)
    of = {"archive_id": archive.id}
    while ids := await run.read(archives.to_sweep, **of):
        await archive.delete_packs(ids)
        await run.write(archives.note_swept, **of, ids=ids)
        await run.checkpoint()


COLLECT_GARBAGE: Final = Operation(
    kind=garbage.KIND,
    version=1,
    payload=garbage.CollectGarbage,
    steps=(settle_packs, sweep_packs),
    finish=garbage.finish_collection,
    fail=garbage.fail_collection,
    is_patient=True,
)
