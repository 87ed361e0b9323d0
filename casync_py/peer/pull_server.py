"""The server of a pull: an index, an archive and the chunks of stores, to whoever is at the other end of a stream."""

from __future__ import annotations

import math
from threading import Timer
from typing import TYPE_CHECKING

from casync_py.errors import CasyncError, FormatError, PeerError, SourceChanged
from casync_py.monitor import Monitor
from casync_py.peer.chunk_reader import ChunkReader
from casync_py.peer.last_words import last_words
from casync_py.protocol import flags as f
from casync_py.protocol.connection import FIRST_INDEX_MIN, Connection, Role
from casync_py.protocol.messages import (
    OUTSTANDING_MAX,
    ArchiveData,
    ArchiveEnd,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Request,
)
from casync_py.store.router import RouterStore
from casync_py.sync.blob import FileBlob
from casync_py.transport.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from casync_py.store.base import Store
    from casync_py.transport.stream import Stream

_PIECE = 65536  # casync's
_PIECE_DIALECT = 256 << 10
_LONG_S = 1e6  # a timer takes no infinity
_ASKED_MAX = OUTSTANDING_MAX // 2  # unanswered requests before input waits; one read brings as many again


def serve_pull(
    stream: Stream,
    *,
    index: str | None,
    archive: str | None,
    stores: Sequence[Store],
    ours: bool,
    timeout: float,
    idle_for_ever: bool = True,
    monitor: Monitor | None = None,
    shown: Callable[[str], str] = str,
) -> bool:
    """Serve one session, until the client ends it; the stream and the stores stay open.

    Args:
        index, archive: paths of files; None: not offered.
        stores: asked in order for each chunk, and never read beyond what they say is there.
        ours: the client said that it is of this package.
        timeout: seconds for the client to say HELLO.
        idle_for_ever: after HELLO it may take its time, as long as the stream lives: what it gets may go to a pager.
            False: it has to ask, read or end within `timeout` seconds, each time.
        monitor: told of chunks that are there in no usable form.
        shown: as for `last_words`.

    Returns:
        False if something went wrong and the client was told what; a casync is not told, for it knows no such message.

    Raises:
        OSError, FormatError, ChunkInvalid: something cannot be read, and the client was not told.
        PeerError: the client broke the protocol, was silent, or does not read.
    """
    connection = Connection(Role.PULL_SERVER, _offers(index, archive, stores), ours=ours)
    server = _PullServer(connection, index, archive, stores, monitor or Monitor(), idle_for_ever)
    driver = Driver(stream, connection, server, timeout=math.inf if idle_for_ever else timeout)
    server.wake = driver.wake
    server.shown = shown
    greeting = Timer(min(timeout, _LONG_S), driver.stop)
    server.greeted = greeting.cancel
    greeting.start()
    try:
        driver.run()
    finally:
        greeting.cancel()
        server.close()
    if connection.peer_flags is None:
        raise PeerError(f"Silent for {timeout:g} seconds", stream.name)
    return not server.gave_up


def _offers(index: str | None, archive: str | None, stores: Sequence[Store]) -> int:
    offers = f.READABLE_INDEX if index is not None else 0
    offers |= f.READABLE_ARCHIVE if archive is not None else 0
    return offers | (f.READABLE_STORE if stores else 0)


class _PullServer:
    """The `Handler` of one session; all of it runs in the driver's thread.

    Attributes:
        gave_up: the client was told that something went wrong.
        shown: as for `last_words`.
    """

    def __init__(
        self,
        connection: Connection,
        index: str | None,
        archive: str | None,
        stores: Sequence[Store],
        monitor: Monitor,
        idle_for_ever: bool,
    ) -> None:
        self.gave_up = False
        self.shown: Callable[[str], str] = str
        self.wake: Callable[[], None] = lambda: None
        self.greeted: Callable[[], None] = lambda: None
        self._connection = connection
        self._idle_for_ever = idle_for_ever
        self._first = self._first_messages(index, archive)
        self._reader = ChunkReader(RouterStore(stores), self._answered, monitor.notice)

    def received(self, message: Message) -> None:
        """Queue what is asked for."""
        if isinstance(message, Request):
            self._reader.request(message.ids, urgent=message.urgent)
        elif isinstance(message, Hello):
            self.greeted()

    def _answered(self) -> None:
        self.wake()

    def ended(self) -> None:
        """The client has all it wanted."""

    def next_message(self) -> Message | None:
        """HELLO, then index and archive, then chunks.

        Raises:
            OSError, CasyncError: something cannot be read, and the client is a casync.
        """
        try:
            for message in self._first:
                return message
            return self._reader.next_answer()
        except (OSError, CasyncError) as error:
            if not self._connection.dialect:
                raise
            self.gave_up = True
            return last_words(error, self.shown)

    def wants_input(self) -> bool:
        """Requests are no burden, up to a number."""
        return self._connection.outstanding < _ASKED_MAX

    def waiting(self) -> bool:
        """Whether a client that is silent is one that hangs; what has to be read here is no fault of the client's."""
        return not self._idle_for_ever and not self._connection.outstanding

    def close(self) -> None:
        """End reading."""
        self._first.close()
        self._reader.close()

    def _first_messages(self, index: str | None, archive: str | None) -> Generator[Message | None, None, None]:
        """What goes out before chunks do; None while the client has not said what it wants."""
        connection = self._connection
        yield Hello()
        while connection.peer_flags is None:
            yield None
        piece = _PIECE_DIALECT if connection.dialect else _PIECE
        if index is not None and connection.operations & f.PULL_INDEX:
            yield from map(IndexData, _pieces(index, piece, FIRST_INDEX_MIN))
            yield IndexEnd()
        if archive is not None and connection.operations & f.PULL_ARCHIVE:
            yield from map(ArchiveData, _pieces(archive, piece, 0))
            yield ArchiveEnd()


def _pieces(path: str, piece: int, least: int) -> Iterator[bytes]:
    """The content of a file or device.

    Raises:
        FormatError: it has fewer than `least` bytes.
        OSError, UsageError, SourceChanged: it cannot be read whole.
    """
    with FileBlob(path) as blob:
        if blob.size < least:
            raise FormatError("Not an index", 0, path)
        offset = 0
        while offset < blob.size:
            data = blob.read_at(offset, piece)
            if not data:
                raise SourceChanged(f"{path} became shorter while it was read")
            offset += len(data)
            yield data
