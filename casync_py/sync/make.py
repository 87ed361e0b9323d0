"""Make an archive, an archive's index, or a blob's index: one pass over the source."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.archive.encoder import encode
from casync_py.archive.nodes import Entry
from casync_py.chunking.chunker import OVERLAP
from casync_py.files import STANDARD_STREAM, STDOUT, AtomicFile, write_all
from casync_py.sync.blocks import BlockWriter
from casync_py.sync.pipeline import ChunkPipeline, StreamDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casync_py.archive.nodes import Leave
    from casync_py.chunking.params import ChunkParams
    from casync_py.digest import Digest
    from casync_py.monitor import Monitor
    from casync_py.options import Resources
    from casync_py.sync.blocks import Readable
    from casync_py.sync.upload import Upload

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
    """Chunk the stream that `write_stream` writes, into an upload; commits it, or aborts it on any error."""
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
        upload.commit()
    return result


def make_archive(
    write_stream: Callable[[BlockWriter], None],
    path: str,
    mode: int,
    digest: Digest,
    *,
    stream_digest: bool,
    monitor: Monitor,
) -> Made:
    """Write the stream to a new file that appears when it is complete, or to standard output for `-`."""
    with ExitStack() as cleanup:
        file = cleanup.enter_context(AtomicFile(path, mode)) if path != STANDARD_STREAM else None
        fd = file.fd if file is not None else STDOUT

        def store(buffer: bytearray, length: int) -> None:
            write_all(fd, memoryview(buffer)[OVERLAP : OVERLAP + length])
            monitor.done += length

        takers: list[Take] = [store]
        whole = cleanup.enter_context(StreamDigest(digest)) if stream_digest else None
        if whole is not None:
            takers.insert(0, whole.feed)
        size = _run(write_stream, takers)
        result = Made(size, whole.finish() if whole is not None else None)
        if file is not None:
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


def tree_stream(entries: Iterator[Entry | Leave], features: int, monitor: Monitor) -> Callable[[BlockWriter], None]:
    """The archive of a stream of entries, to be written."""

    def write(writer: BlockWriter) -> None:
        encode(_watched(entries, monitor), writer, features)

    return write


def blob_stream(blob: Readable) -> Callable[[BlockWriter], None]:
    """A blob's bytes, to be written."""

    def write(writer: BlockWriter) -> None:
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
