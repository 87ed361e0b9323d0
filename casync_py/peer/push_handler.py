"""The push client's side of the pump loop: rows and chunks go out, requests come in."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.peer.changes import Changes
from casync_py.peer.spool import Spool, Tally
from casync_py.peer.workers import Workers
from casync_py.protocol.messages import (
    CHUNK_DATA_MAX,
    ChunkData,
    Examined,
    Goodbye,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.compression import Compression
    from casync_py.protocol.connection import Connection
    from casync_py.store.chunk import Chunk


class PushHandler:
    """What is ready to be sent, and what may be asked for. All attributes are guarded by `changed`.

    Attributes:
        rows: pieces of the index to be sent.
        rows_ended: no more of them will come.
        spool: chunks that may be asked for.
        sending: plain bytes of chunks that were asked for and not yet handed to the driver.
        sent, sent_stored: chunks that were, and their bytes as sent.
        requests: how often the other end has asked for chunks.
        greeted_after_s: seconds that the other end took to say HELLO.
        finished: it said GOODBYE.
    """

    def __init__(self, connection: Connection, compression: Compression, jobs: int) -> None:
        """Make a handler; `connect` it before anything is put."""
        self.changed = Changes()
        self.rows: deque[bytes] = deque()
        self.rows_ended = False
        self.spool = Spool()
        self.sending = 0
        self.sent = Tally()
        self.sent_stored = 0
        self.requests = 0
        self.greeted_after_s = 0.0
        self.finished = False
        self._started = time.monotonic()
        self._connection = connection
        self._compression = compression
        self._jobs = jobs
        self._ready: deque[tuple[ChunkData, int]] = deque()
        self._rows_sent = 0  # those that the other end can have seen
        self._examined = 0
        self._said: set[type[Message]] = set()

    def connect(self, wake: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        """Start the threads that compress; `wake` is the driver's, `failed` is told what goes wrong in them."""
        self._wake = wake
        self._workers: Workers[tuple[Chunk, int]] = Workers(self._compress, failed, self._jobs, "casync-push")

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    def send(self, chunk: Chunk, size: int) -> None:
        """Queue a chunk that was asked for; the caller holds `changed`."""
        self.sending += size
        self._workers.give((chunk, size))

    @property
    def all_examined(self) -> bool:
        """Whether the other end, of our own kind, has said that it wants nothing that it has not asked for."""
        return self.rows_ended and self._examined >= self.spool.rows

    def _compress(self, item: tuple[Chunk, int]) -> None:
        chunk, size = item
        stored = chunk.stored(self._compression)
        compressed = stored is not None and len(stored) <= CHUNK_DATA_MAX
        data = stored if stored is not None and compressed else chunk.plain()
        if len(data) > CHUNK_DATA_MAX:
            raise UsageError(
                f"Chunk {chunk.chunk_id} has {size} bytes, and no more than {CHUNK_DATA_MAX} can be sent; "
                "a smaller --chunk-size= helps"
            )
        with self.changed:
            self._ready.append((ChunkData(chunk.chunk_id, data, compressed), size))
        self._wake()

    # The driver's thread, from here on

    def received(self, message: Message) -> None:
        with self.changed:
            if isinstance(message, Request):
                self.requests += 1
                for chunk, size in self.spool.ask(message.ids):
                    self.send(chunk, size)
            elif isinstance(message, Examined):
                self._examined = max(self._examined, message.rows)
                self.spool.examined(message.rows)
            elif isinstance(message, Hello):
                self.greeted_after_s = time.monotonic() - self._started
            elif isinstance(message, Goodbye):
                self.finished = True
            self.changed.notify_all()

    def next_message(self) -> Message | None:
        with self.changed:
            if Hello not in self._said:
                return self._say(Hello())
            if self._connection.peer_flags is None:
                return None
            if self.rows:
                piece = self.rows.popleft()
                if not self.rows:
                    self._rows_sent = self.spool.rows
                    self.changed.notify_all()
                return IndexData(piece)
            if self.rows_ended and IndexEnd not in self._said:
                return self._say(IndexEnd())
            if not self._ready:
                return None
            message, size = self._ready.popleft()
            self.sending -= size
            self.sent.add(size)
            self.sent_stored += len(message.data)
            self.changed.notify_all()
            return message

    def _say(self, message: Message) -> Message:
        self._said.add(type(message))
        return message

    def wants_input(self) -> bool:
        return True

    def waiting(self) -> bool:
        """An answer is owed: GOODBYE or requests after the last row, word of the rows so far from an end like ours."""
        with self.changed:
            if self.sending:
                return False
            if self._connection.dialect and self._examined < self._rows_sent:
                return True
            return self.rows_ended and not self.spool.wanted

    def ended(self) -> None:
        """It may not end before GOODBYE; the connection says so."""
