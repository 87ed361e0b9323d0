"""An index and the store of its chunks, written together: first the chunks are durable, then the index appears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from casync_py.files import STANDARD_STREAM, STDOUT, AtomicFile, write_all
from casync_py.format.index import IndexWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.chunking.params import ChunkParams
    from casync_py.ids import ChunkId
    from casync_py.store.base import WritableStore
    from casync_py.store.chunk import Chunk


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What an upload must know before the first chunk: the index's header, and the mode of a new index file."""

    feature_flags: int
    params: ChunkParams
    mode: int = 0o666


class Upload(Protocol):
    """The receiving side of `make`.

    `recognise` and `put` may be called from several threads in any order; `append` comes from one thread, in the
    stream's order. Nothing is visible under the index's name before `commit()` returns; after `abort()`, or a kill,
    chunks that arrived may remain in the store, and the index does not exist.
    """

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell which chunks the other side has; those count as used and are kept safe from now on."""

    def put(self, chunk: Chunk) -> bool:
        """Hand over a chunk that it lacks; False if it turned out to be there."""

    def append(self, end: int, chunk_id: bytes) -> None:
        """The next row of the index."""

    def commit(self) -> None:
        """Make chunks durable, then the index, then let it appear."""

    def abort(self) -> None:
        """Give up; harmless after `commit()`."""


class LocalUpload:
    """An index file (or standard output, for `-`) with a store beside it."""

    def __init__(self, path: str, store: WritableStore, plan: UploadPlan) -> None:
        self._store = store
        self._file = None if path == STANDARD_STREAM else AtomicFile(path, plan.mode)
        self._fd = STDOUT if self._file is None else self._file.fd
        params = (plan.params.min, plan.params.avg, plan.params.max)
        self._index = IndexWriter(self._write, plan.feature_flags, params)
        self.append = self._index.append
        self.recognise = store.recognise
        self.put = store.put

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        write_all(self._fd, data)

    def commit(self) -> None:
        self._store.flush()
        self._index.finish()
        if self._file is not None:
            self._file.commit()

    def abort(self) -> None:
        if self._file is not None:
            self._file.abort()
