"""The push server's side of the pump loop: index, archive and chunks come in, requests go out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from casync_py.errors import PeerError
from casync_py.peer.changes import Changes
from casync_py.peer.last_words import last_words
from casync_py.protocol.messages import (
    Abort,
    ArchiveData,
    ArchiveEnd,
    ChunkData,
    Goodbye,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Missing,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.ids import ChunkId
    from casync_py.peer.received_index import ReceivedIndex
    from casync_py.sync.upload import FileSink


class PushReceiver:
    """Gives what comes to whom it concerns. The attributes are guarded by `changed`.

    Attributes:
        outgoing: messages to be sent.
        requested: chunks that were asked for and are not stored yet, with their lengths by the index.
        unstored: bytes of chunks that came and are not stored yet.
        index_ended, archive_ended: all of it has come.
        farewell: the client will send nothing more, and has said so.
        working: somebody here is busy, so that the client's silence means nothing.
        installed: everything is in place; GOODBYE may be said.
        failure: why the session ends early; the client is told.
    """

    def __init__(
        self,
        index: ReceivedIndex | None,
        archive: FileSink | None,
        store_chunk: Callable[[ChunkData], None],
        memory: int,
        shown: Callable[[str], str] = str,
    ) -> None:
        """Make a handler.

        Args:
            store_chunk: takes a chunk that was asked for, at once; calls `stored` when it is in the store.
            memory: bytes of chunks that may be unstored before no more input is wanted.
            shown: as for `last_words`.
        """
        self.changed = Changes()
        self.outgoing: deque[Message] = deque()
        self.requested: dict[ChunkId, int] = {}
        self.unstored = 0
        self.index_ended = False
        self.archive_ended = False
        self.farewell = False
        self.working = False
        self.installed = False
        self.failure: BaseException | None = None
        self.wake: Callable[[], None] = lambda: None  # the driver's, once there is one
        self._index = index
        self._archive = archive
        self._store_chunk = store_chunk
        self._memory = memory
        self._shown = shown
        self._said: set[type[Message]] = set()

    def fail(self, error: BaseException) -> None:
        """End the session with an error that the client is told; the first one counts."""
        with self.changed:
            self.failure = self.failure or error
            self.changed.notify_all()
        self.wake()

    def stored(self, message: ChunkData, *, notify_at: int) -> None:
        """A chunk is in the store; whoever waits for room is notified when `notify_at` chunks are left, or none."""
        size = len(message.data)
        with self.changed:
            del self.requested[message.chunk_id]
            self.unstored -= size
            left = len(self.requested)
            if left in {0, notify_at}:
                self.changed.notify_all()
            room = self.unstored <= self._memory < self.unstored + size
        if room:
            self.wake()

    # The driver's thread, from here on

    def received(self, message: Message) -> None:
        if self.failure is not None:
            return
        try:
            self._take(message)
        except Exception as error:  # noqa: BLE001 - told to the client, then raised by whoever serves it
            self.fail(error)

    def _take(self, message: Message) -> None:
        if isinstance(message, ChunkData):
            with self.changed:
                self.unstored += len(message.data)
            self._store_chunk(message)
            return
        if isinstance(message, IndexData) and self._index is not None:
            self._index.feed(message.data)
        elif isinstance(message, ArchiveData) and self._archive is not None:
            self._archive.write(message.data)
        elif isinstance(message, IndexEnd) and self._index is not None:
            self._index.finish()
        elif isinstance(message, Missing):
            raise PeerError(f"Does not have chunk {message.chunk_id} any more, which its index names")
        with self.changed:
            self.index_ended |= isinstance(message, IndexEnd)
            self.archive_ended |= isinstance(message, ArchiveEnd)
            if isinstance(message, Goodbye):
                self.farewell = True
                self.outgoing.clear()  # nobody listens
            self.changed.notify_all()

    def ended(self) -> None:
        with self.changed:
            self.farewell = True
            self.changed.notify_all()

    def next_message(self) -> Message | None:
        with self.changed:
            if Hello not in self._said:
                return self._say(Hello())
            if self.failure is not None:
                return None if Abort in self._said else self._say(last_words(self.failure, self._shown))
            if self.outgoing:
                return self.outgoing.popleft()
            return self._say(Goodbye()) if self.installed and Goodbye not in self._said else None

    def _say(self, message: Message) -> Message:
        self._said.add(type(message))
        return message

    def wants_input(self) -> bool:
        return self.unstored <= self._memory or self.failure is not None

    def waiting(self) -> bool:
        return not (self.working or self.unstored)
