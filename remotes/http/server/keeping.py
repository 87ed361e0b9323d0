"""Chunks from outside on their way into a store: each is verified before it is stored."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE
from casync_py.digest import DIGESTS, Digest
from casync_py.errors import ChunkInvalid
from casync_py.remotes.http.server.answers import Refusal
from casync_py.remotes.http.server.work import SMALL
from casync_py.remotes.http.terms import DIGEST_HEADER
from casync_py.store.verify import verified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.remotes.http.server.calls import Call
    from casync_py.remotes.http.server.work import Work
    from casync_py.store.chunk import Chunk
    from casync_py.store.local import LocalStore


def digests_of(call: Call) -> tuple[Digest, ...]:
    """The digests that ids may be of, the one that the request names first.

    Raises:
        Refusal: 400, it names one that is unknown.
    """
    said = call.header(DIGEST_HEADER.lower().encode())
    digests = tuple(DIGESTS.values())
    if said is None:
        return digests
    first = DIGESTS.get(said.decode("latin-1").strip().lower())
    if first is None:
        raise Refusal(400, f"{DIGEST_HEADER} names none of {', '.join(DIGESTS)}")
    return (first, *(digest for digest in digests if digest is not first))


class Keeper:
    """Verifies chunks and puts them into one store."""

    def __init__(self, local: LocalStore, digests: Sequence[Digest], work: Work) -> None:
        self._local = local
        self._digests = digests
        self._work = work

    def keep_small(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Keep chunks, in a thread, up to one that is larger than many may be at once, or is bad.

        Returns:
            That one and those after it.

        Raises:
            OSError: they cannot be written.
        """
        for position, chunk in enumerate(chunks):
            try:
                self._keep(chunk, SMALL)
            except ChunkInvalid:
                return chunks[position:]
        return ()

    async def keep(self, chunk: Chunk, *, alone: bool) -> bool:
        """Keep a chunk of any size; whether it was not there.

        Args:
            alone: the turn at something large was taken by the caller.

        Raises:
            ChunkInvalid: it is bad.
            OSError: it cannot be written.
            Refusal: 503, the turn did not come.
        """
        if alone:
            return await self._work.write(self._keep, chunk, MAX_CHUNK_SIZE)
        with suppress(ChunkInvalid):
            return await self._work.write(self._keep, chunk, SMALL)
        async with self._work.large.of(1):
            return await self._work.write(self._keep, chunk, MAX_CHUNK_SIZE)

    def _keep(self, chunk: Chunk, limit: int) -> bool:
        verified(chunk, self._digests, limit)
        return self._local.put(chunk)
