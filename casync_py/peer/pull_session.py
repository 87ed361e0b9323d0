"""The client's side of one pull session: what goes into an exchange, and what comes out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.protocol.messages import (
    OUTSTANDING_MAX,
    ArchiveData,
    ArchiveEnd,
    ChunkData,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Missing,
)
from casync_py.protocol.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.peer.exchange import Exchange
    from casync_py.peer.pull_archive import PullArchive
    from casync_py.peer.pull_index import PullIndex
    from casync_py.protocol.connection import Connection

_ANSWERED_MAX = 1 << 18  # ids that a connection remembers, 30 MiB, before a new session is due
_ASKED_MAX = OUTSTANDING_MAX // 2  # asked for and not answered


class PullSession:
    """A `Handler` for one connection of a puller; all of it runs in the driver's thread.

    Attributes:
        stop: ends the driver's loop; set before it runs.
        renew: a new session is to follow, because this one answers each id only once.
    """

    def __init__(
        self,
        exchange: Exchange,
        connection: Connection,
        index: PullIndex | None,
        archive: PullArchive | None,
        greet: Callable[[int, bool], None],
    ) -> None:
        """
        Args:
            index, archive: where they go; None: they came in an earlier session, and are dropped.
            greet: called with the other end's flags and whether it is of this package too.
        """
        self.stop: Callable[[], None] = lambda: None
        self.renew = False
        self._exchange = exchange
        self._connection = connection
        self._index = index
        self._archive = archive
        self._greet = greet
        self._greeted = False

    def received(self, message: Message) -> None:
        """Hand on what came."""
        if isinstance(message, ChunkData):
            # Owned: a chunk may be kept for long, and would keep all else alive that came with it
            self._exchange.arrived(ChunkData(message.chunk_id, bytes(message.data), message.compressed))
        elif isinstance(message, Missing):
            self._exchange.arrived(message)
        elif isinstance(message, IndexData):
            if self._index is not None:
                self._index.add(message.data)
        elif isinstance(message, ArchiveData):
            if self._archive is not None:
                self._archive.add(message.data)
        elif isinstance(message, Hello):
            self._greet(message.flags, self._connection.dialect)
        elif isinstance(message, IndexEnd) and self._index is not None:
            self._index.complete()
        elif isinstance(message, ArchiveEnd) and self._archive is not None:
            self._archive.complete()

    def ended(self) -> None:
        """The other end has nothing more; the puller tells whoever wants more."""

    def next_message(self) -> Message | None:
        """HELLO, then requests."""
        if not self._greeted:
            self._greeted = True
            return Hello()
        connection = self._connection
        if connection.peer_flags is None:
            return None
        exchange = self._exchange
        with exchange.lock:
            wanted = exchange.wanted
            wanted.renew |= connection.answered_count > _ANSWERED_MAX and wanted.asks
            request = wanted.next_request(connection.answered, may_ask=connection.outstanding < _ASKED_MAX)
            if request is None and wanted.renew and not connection.outstanding:
                wanted.renew = False
                self.renew = True
        if self.renew:
            self.stop()
        return request

    def wants_input(self) -> bool:
        """Whether there is room; what came is announced here, because this is asked once for each read."""
        archive = self._archive is None or self._archive.wants_more()
        return self._exchange.wants_chunks() and archive

    def waiting(self) -> bool:
        """Whether index or archive are not complete, or chunks were asked for."""
        connection = self._connection
        return connection.state is not State.OPEN or connection.outstanding > 0
