"""Make an archive, an archive's index, or a blob's index: one pass over the source."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from casync_py.archive.encoder import encode
from casync_py.archive.nodes import Entry
from casync_py.chunking.chunker import OVERLAP
from casync_py.monitor import Monitor
from casync_py.sync.blocks import BlockWriter
from casync_py.sync.pipeline import ChunkPipeline, StreamDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from casync_py.archive.nodes import Leave
    from casync_py.chunking.params import ChunkParams
    from casync_py.digest import Digest
    from casync_py.options import Resources
    from casync_py.sync.upload import FileSink, Upload

    Take = Callable[[bytearray, int], None]


@dataclass(frozen=True, slots=True)
class Made:
    """What making came to: the stream's length in bytes, and its digest where it was computed."""

    size: int
    digest: str | None


def make_index(
    write_stream: Callable[[BlockWriter], None],
    upload: Upload,
    params: ChunkParams,
    digest: Digest,
    *,
    stream_digest: bool,
    resources: Resources,
    monitor: Monitor,
) -> Made:
    """Chunk a stream into an upload; commits it, or aborts it on any error.

    Args:
        write_stream: writes the whole stream; called again where the upload wants chunks that it could not keep.
    """
    with ExitStack() as cleanup:
        cleanup.callback(upload.abort)
        pipeline = cleanup.enter_context(ChunkPipeline(upload, params, digest, resources, monitor))
        takers: list[Take] = [pipeline.feed]
        whole = cleanup.enter_context(StreamDigest(digest)) if stream_digest else None
        if whole is not None:
            takers.append(whole.feed)
        size = _run(write_stream, takers)
        pipeline.finish()
        result = Made(size, whole.finish() if whole is not None else None)
        while upload.wants_again():
            with _unwatched(monitor), ChunkPipeline(upload, params, digest, resources, Monitor()) as again:
                _run(write_stream, [again.feed])
                again.finish()
        upload.commit()
    return result


@contextmanager
def _unwatched(monitor: Monitor) -> Iterator[None]:
    """What is read a second time is neither counted nor told again."""
    entries, notices = monitor.entries, len(monitor.notices)
    on_entry, on_notice = monitor.on_entry, monitor.on_notice
    monitor.on_entry = monitor.on_notice = None
    try:
        yield
    finally:
        monitor.on_entry, monitor.on_notice = on_entry, on_notice
        monitor.entries = entries
        del monitor.notices[notices:]


def make_archive(
    write_stream: Callable[[BlockWriter], None],
    file: FileSink,
    digest: Digest,
    *,
    stream_digest: bool,
    monitor: Monitor,
) -> Made:
    """Write a stream to a file; commits it, or aborts it on any error."""
    with ExitStack() as cleanup:
        cleanup.callback(file.abort)

        def store(buffer: bytearray, length: int) -> None:
            file.write(memoryview(buffer)[OVERLAP : OVERLAP + length])
            monitor.done += length

        takers: list[Take] = [store]
        whole = cleanup.enter_context(StreamDigest(digest)) if stream_digest else None
        if whole is not None:
            takers.insert(0, whole.feed)
        size = _run(write_stream, takers)
        result = Made(size, whole.finish() if whole is not None else None)
        file.commit()
    return result


def digest_stream(write_stream: Callable[[BlockWriter], None], digest: Digest, monitor: Monitor) -> Made:
    """Only the digest of the stream."""

    def count(_buffer: bytearray, length: int) -> None:
        monitor.done += length

    with StreamDigest(digest) as whole:
        size = _run(write_stream, [whole.feed, count])
        return Made(size, whole.finish())


def _run(write_stream: Callable[[BlockWriter], None], takers: list[Take]) -> int:
    def take(buffer: bytearray, length: int) -> None:
        for each in takers:
            each(buffer, length)

    writer = BlockWriter(takers[0] if len(takers) == 1 else take)
    write_stream(writer)
    return writer.finish()


def tree_stream(
    open_entries: Callable[[], Generator[Entry | Leave, None, None]], features: int, monitor: Monitor
) -> Callable[[BlockWriter], None]:
    """The archive of a stream of entries, to be written as often as they can be opened."""

    def write(writer: BlockWriter) -> None:
        with closing(open_entries()) as entries:
            encode(_watched(entries, monitor), writer, features)

    return write


class Source(Protocol):
    """Bytes to be read in order, from the start as often as one likes."""

    size: int

    def read_into(self, view: memoryview, /) -> int:
        """As `Payload.read_into`."""

    def rewind(self) -> None:
        """Go back to the start."""


def blob_stream(blob: Source) -> Callable[[BlockWriter], None]:
    """A blob's bytes, to be written as often as one likes."""

    def write(writer: BlockWriter) -> None:
        blob.rewind()
        writer.copy(blob)

    return write


def _watched(entries: Iterator[Entry | Leave], monitor: Monitor) -> Iterator[Entry | Leave]:
    on_entry = monitor.on_entry
    for item in entries:
        if isinstance(item, Entry):
            monitor.entries += 1
            monitor.path = item.path
            if on_entry is not None:
                on_entry("Packed", item.path)
        yield item
