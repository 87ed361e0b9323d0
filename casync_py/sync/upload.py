"""An index and the chunks that it names, written together: first the chunks are durable, then the index appears."""

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


class ChunkSink(Protocol):
    """Where chunks go: a store, or a connection whose other end asks for those that it lacks.

    `recognise` and `put` may be called from several threads in any order; the other methods come from one thread.
    """

    takes_rows: bool  # whether `append` does anything

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Tell which chunks need not be put; those count as used and are kept safe from now on."""

    def put(self, chunk: Chunk) -> bool | None:
        """Hand over a chunk; False if it turned out to be there.

        None where only the other end knows: the sink itself then counts it in the monitor, once it has been told.
        """

    def append(self, end: int, chunk_id: bytes) -> None:
        """The next row of the index, in the stream's order, after its chunk was recognised or put. May wait."""

    def wants_again(self) -> bool:
        """After the last row: whether chunks are wanted that were put and could not be kept.

        True: the whole stream has to be chunked again, into this sink, which picks what it wants; then ask again.

        Raises:
            SourceChanged: they were not in the stream when it came again.
        """

    def commit(self) -> None:
        """Return when all chunks are durable where they belong."""

    def abort(self) -> None:
        """Give up; harmless after `commit()`."""


class Upload(Protocol):
    """The receiving side of `make`: a `ChunkSink` that writes an index of its rows.

    Nothing is visible under the index's name before `commit()` returns; after `abort()`, or a kill, chunks that arrived
    may remain in the store, and the index does not exist.
    """

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """As `ChunkSink.recognise`."""

    def put(self, chunk: Chunk) -> bool | None:
        """As `ChunkSink.put`."""

    def append(self, end: int, chunk_id: bytes) -> None:
        """As `ChunkSink.append`."""

    def wants_again(self) -> bool:
        """As `ChunkSink.wants_again`."""

    def commit(self) -> None:
        """Make chunks durable, then the index, then let it appear."""

    def abort(self) -> None:
        """Give up; harmless after `commit()`."""


class FileSink(Protocol):
    """An index or archive on its way to where it will appear whole or not at all."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes, which may be used again when this returns."""

    def commit(self) -> None:
        """Return when the file is there, durable."""

    def abort(self) -> None:
        """Give up; harmless after `commit()`."""


class LocalFile:
    """A file of this machine, or standard output for `-`."""

    def __init__(self, path: str, mode: int = 0o666) -> None:
        """Create it under a temporary name.

        Raises:
            OSError: the directory is absent or not writable.
        """
        self._file = None if path == STANDARD_STREAM else AtomicFile(path, mode)
        self._fd = STDOUT if self._file is None else self._file.fd

    def write(self, data: bytes | bytearray | memoryview) -> None:
        write_all(self._fd, data)

    def commit(self) -> None:
        if self._file is not None:
            self._file.commit()

    def abort(self) -> None:
        if self._file is not None:
            self._file.abort()


class StoreSink:
    """A store that can be asked and written right away."""

    takes_rows = False

    def __init__(self, store: WritableStore) -> None:
        """The store stays the caller's to close."""
        self.recognise = store.recognise
        self.put = store.put
        self.commit = store.flush

    def append(self, end: int, chunk_id: bytes) -> None:
        """Nothing: a store has no rows."""

    def wants_again(self) -> bool:
        return False

    def abort(self) -> None:
        """Nothing: chunks may stay."""


class PairedUpload:
    """An index in one place and its chunks in another."""

    def __init__(self, file: FileSink, chunks: ChunkSink, plan: UploadPlan) -> None:
        """Write the index's header to `file`; both are committed or aborted together with this."""
        self._file = file
        self._chunks = chunks
        params = (plan.params.min, plan.params.avg, plan.params.max)
        self._index = IndexWriter(file.write, plan.feature_flags, params)
        self.recognise = chunks.recognise
        self.put = chunks.put
        self.append = self._append if chunks.takes_rows else self._index.append

    def _append(self, end: int, chunk_id: bytes) -> None:
        self._index.append(end, chunk_id)
        self._chunks.append(end, chunk_id)

    def wants_again(self) -> bool:
        again = self._chunks.wants_again()
        if again:
            self.append = self._chunks.append  # the index has its rows
        return again

    def commit(self) -> None:
        self._chunks.commit()
        self._index.finish()
        self._file.commit()

    def abort(self) -> None:
        try:
            self._chunks.abort()
        finally:
            self._file.abort()


def local_upload(path: str, store: WritableStore, plan: UploadPlan) -> PairedUpload:
    """An index file (or standard output, for `-`) with a store beside it."""
    return PairedUpload(LocalFile(path, plan.mode), StoreSink(store), plan)
