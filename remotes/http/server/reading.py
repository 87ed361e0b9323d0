"""GET and HEAD: chunks as they are stored or converted on the way, indexes and archives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from casync_py.compression import DEFAULT_COMPRESSION, MAX_CHUNK_SIZE, NO_COMPRESSION, stored_limit
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.files import unnamed_file, write_all
from casync_py.ids import ChunkId
from casync_py.remotes.http.server.answers import Refusal, answer, of_os_error
from casync_py.remotes.http.server.conditions import date_of, is_known, wanted_range
from casync_py.remotes.http.server.places import shown
from casync_py.remotes.http.server.work import SMALL
from casync_py.remotes.http.terms import ARCHIVE_MEDIA_TYPE, INDEX_MEDIA_TYPE, chunk_media_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.remotes.http.server.answers import Header
    from casync_py.remotes.http.server.calls import Call, Pieces
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names, Places
    from casync_py.remotes.http.server.sources import Opened, Source, Stores
    from casync_py.remotes.http.server.work import Work
    from casync_py.store.chunk import Chunk

AT_ONCE = 256 << 10
"""Most bytes of a plain chunk that is read in one go, as casync's default sizes have it; others go out in pieces."""
_RANGES = (b"accept-ranges", b"bytes")
_YEAR = b"max-age=31536000, immutable"


class Found(NamedTuple):
    """A chunk in the form that was asked for: in memory, or a file that is passed on in pieces.

    Attributes:
        data: None where there is a file.
        fd: of the file, which whoever gets this closes.
        beginning: its first bytes, which tell the format; empty for the plain form.
        converted: it is stored in the other form.
    """

    data: bytes | memoryview | None
    fd: int
    size: int
    beginning: bytes
    converted: bool


class Reading:
    """Answers GET and HEAD."""

    def __init__(self, options: ServeOptions, places: Places, stores: Stores, work: Work) -> None:
        self._places = places
        self._stores = stores
        self._work = work
        compression = options.settings.store_options.compression
        self._compression = compression if compression.compressor is not None else DEFAULT_COMPRESSION
        assert self._compression.compressor is not None, "the default compresses"
        self._compressor = self._compression.compressor
        kept_by = b"private" if options.private else b"public"
        self._immutable = (b"cache-control", kept_by + b", " + _YEAR)
        self._asked_again = (b"cache-control", b"private, no-cache" if options.private else b"no-cache")

    async def chunk(self, call: Call, names: Names, digits: str, compressed: bool) -> None:
        """A chunk of the store at `names`.

        Args:
            compressed: the form that is asked for.

        Raises:
            Refusal: 404, it is not there or unusable; or it cannot be read.
        """
        chunk_id = ChunkId(bytes.fromhex(digits))
        with await self._stores.open(names) as store:
            try:
                if call.head:
                    found = await self._work.read(_look, store.local, chunk_id, compressed)
                    if compressed and found.converted:
                        found = found._replace(beginning=self._compressor.magic)
                else:
                    found = await self._find(store, chunk_id, compressed)
            except ChunkMissing:
                raise Refusal(404, f"Chunk {digits} is not in {store.shown}") from None
            except ChunkInvalid as error:
                raise Refusal(404, f"Chunk {digits} in {store.shown} is invalid: {error.reason}") from None
            except OSError as error:
                raise of_os_error(f"Chunk {digits} in {store.shown}", error) from None
            await self._send_chunk(call, digits, found)

    async def _find(self, store: Opened, chunk_id: ChunkId, compressed: bool) -> Found:
        found = await self._work.read(self._get, store.local, chunk_id, compressed)
        if found is not None:
            return found
        found = await self._work.read(_look, store.local, chunk_id, compressed)
        if not found.converted:
            return found
        os.close(found.fd)
        async with self._work.large.of(1):
            return await self._work.read(self._convert, store.local, chunk_id, compressed)

    async def _send_chunk(self, call: Call, digits: str, found: Found) -> None:
        tag = b'"%s"' % digits.encode()
        headers = [self._immutable, (b"content-type", chunk_media_type(found.beginning).encode())]
        try:
            if found.converted:
                tag = b"W/" + tag
            else:
                headers.append(_RANGES)
            headers.append((b"etag", tag))
            if is_known(call, tag):
                await answer(call.send, 304, headers, None)
                return
            if call.head:
                if not found.converted:
                    headers.append((b"content-length", b"%d" % found.size))
                await answer(call.send, 200, headers, None)
                return
            part = None if found.converted else wanted_range(call, tag, found.size)
            start, end = part or (0, found.size)
            headers.append((b"content-length", b"%d" % (end - start)))
            status = 200
            if part is not None:
                status = 206
                headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, found.size)))
            if found.data is not None:
                await call.send({"type": "http.response.start", "status": status, "headers": headers})
                data = found.data if part is None else found.data[start:end]
                await call.send({"type": "http.response.body", "body": data})
                return
            await call.stream(status, headers, file_pieces(found.fd, start, end, self._work.piece_size), self._work)
        finally:
            if found.data is None:
                os.close(found.fd)

    async def file(self, call: Call, names: Names, kind: str) -> None:
        """An index or an archive; `kind` as in `locator.SUFFIXES`.

        Raises:
            Refusal: 404, it is not there; or it cannot be read.
        """
        try:
            fd = await self._work.read(self._places.open_file, names)
        except OSError as error:
            raise of_os_error(shown(names), error) from None
        try:
            await self._send_file(call, fd, kind)
        finally:
            os.close(fd)

    async def _send_file(self, call: Call, fd: int, kind: str) -> None:
        status = os.fstat(fd)
        size, modified = status.st_size, status.st_mtime
        tag = b'"%x-%x-%x"' % (status.st_ino, size, status.st_mtime_ns)
        headers = [*self.file_headers(kind), _RANGES, (b"etag", tag), (b"last-modified", date_of(modified))]
        if is_known(call, tag, modified):
            await answer(call.send, 304, headers, None)
            return
        part = None if call.head else wanted_range(call, tag, size, modified)
        start, end = part or (0, size)
        headers.append((b"content-length", b"%d" % (end - start)))
        if call.head:
            await answer(call.send, 200, headers, None)
            return
        if part is not None:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
        pieces = file_pieces(fd, start, end, self._work.piece_size, (size, status.st_mtime_ns))
        await call.stream(200 if part is None else 206, headers, pieces, self._work)

    def file_headers(self, kind: str) -> list[Header]:
        """What is told of any index or archive."""
        media_type = ARCHIVE_MEDIA_TYPE if kind == "archive" else INDEX_MEDIA_TYPE
        return [self._asked_again, (b"content-type", media_type.encode())]

    # In a thread.

    def _get(self, local: Source, chunk_id: ChunkId, compressed: bool) -> Found | None:
        """A chunk of a usual size; None if it is larger, or nothing that can be used."""
        try:
            chunk = local.get(chunk_id, AT_ONCE)
            data, converted = self._form(chunk, compressed, SMALL)
        except ChunkInvalid:
            return None
        return Found(data, -1, len(data), bytes(data[:6]) if compressed else b"", converted)

    def _form(self, chunk: Chunk, compressed: bool, limit: int) -> tuple[bytes | memoryview, bool]:
        """The form that is asked for, and whether it was made from the other one."""
        stored = chunk.stored(NO_COMPRESSION)
        if not compressed:
            return chunk.plain(limit), stored is not None
        if stored is not None:
            return stored, False
        made = chunk.stored(self._compression)
        assert made is not None, "there is a compressor"
        return made, True

    def _convert(self, local: Source, chunk_id: ChunkId, compressed: bool) -> Found:
        """A large chunk in the form that it is not stored in, in a file, so that sending it takes no memory."""
        data, converted = self._form(local.get(chunk_id, MAX_CHUNK_SIZE), compressed, MAX_CHUNK_SIZE)
        fd = unnamed_file()
        try:
            write_all(fd, data)
        except BaseException:
            os.close(fd)
            raise
        return Found(None, fd, len(data), bytes(data[:6]) if compressed else b"", converted)


def _look(local: Source, chunk_id: ChunkId, compressed: bool) -> Found:
    """The chunk's file, in whichever form."""
    fd, size, is_compressed = local.open_chunk(chunk_id)
    if size > stored_limit(MAX_CHUNK_SIZE):
        os.close(fd)
        raise ChunkInvalid(chunk_id, f"Its file has {size} bytes")
    beginning = os.pread(fd, 6, 0) if is_compressed and compressed else b""
    return Found(None, fd, size, beginning, is_compressed != compressed)


def file_pieces(
    fd: int, start: int, end: int, piece_size: Callable[[], int], seen: tuple[int, int] | None = None
) -> Pieces:
    """The bytes of a file from `start` to before `end`.

    Args:
        seen: size and mtime_ns that the file must still have before its last piece is given away.

    Raises:
        Refusal: it changed; what was sent so far is no file that ever was.
    """
    while start < end:
        data = os.pread(fd, min(piece_size(), end - start), start)
        start += len(data)
        if start >= end and seen is not None:
            status = os.fstat(fd)
            if (status.st_size, status.st_mtime_ns) != seen:
                data = b""
        if not data:
            raise Refusal(500, "The file changed while it was sent")
        yield data
