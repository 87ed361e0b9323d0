"""Push one file as it is: an archive, or an index whose chunks are elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from typing import TYPE_CHECKING

from casync_py.files import write_all
from casync_py.peer.changes import Changes
from casync_py.peer.session import Session
from casync_py.protocol import flags as f
from casync_py.protocol.messages import ArchiveData, ArchiveEnd, Goodbye, Hello, IndexData, IndexEnd, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.protocol.connection import Connection
    from casync_py.transport.stream import Stream

_PIECE = 65536  # casync's
_ROOM = 4 << 20  # bytes that may wait to be sent


class _FileHandler:
    """A `Handler`: pieces go out, then the end, then GOODBYE comes. Attributes are guarded by `changed`.

    casync's server waits for the chunks of an index until it is told GOODBYE, and leaves without an answer then.
    """

    def __init__(self, connection: Connection) -> None:
        self.changed = Changes()
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.complete = False
        self.finished = False
        self._connection = connection
        self._said: set[type[Message]] = set()
        archive = bool(connection.flags & f.PUSH_ARCHIVE)
        self._data: type[ArchiveData] | type[IndexData] = ArchiveData if archive else IndexData
        self._end: ArchiveEnd | IndexEnd = ArchiveEnd() if archive else IndexEnd()

    def received(self, message: Message) -> None:
        if isinstance(message, Goodbye):
            with self.changed:
                self.finished = True
                self.changed.notify_all()

    def next_message(self) -> Message | None:
        with self.changed:
            if Hello not in self._said:
                return self._say(Hello())
            if self._connection.peer_flags is None:
                return None
            if self.pieces:
                piece = self.pieces.popleft()
                self.size -= len(piece)
                self.changed.notify_all()
                return self._data(piece)
            if not self.complete:
                return None
            if type(self._end) not in self._said:
                return self._say(self._end)
            alone = self._data is IndexData and Goodbye not in self._said
            return self._say(Goodbye()) if alone else None

    def _say(self, message: Message) -> Message:
        self._said.add(type(message))
        return message

    def wants_input(self) -> bool:
        return True

    def waiting(self) -> bool:
        """GOODBYE is owed once everything was sent."""
        with self.changed:
            return self.complete and not self.pieces

    def ended(self) -> None:
        """After our GOODBYE casync ends without a word; its exit status tells."""
        with self.changed:
            self.finished = not self._connection.dialect


class PushFile:
    """A `FileSink` at the other end of a connection, sent as it is written."""

    def __init__(self, stream: Stream, connection: Connection, *, timeout: float) -> None:
        """Take over the stream, and begin to talk.

        Args:
            connection: of a push client that wants to push an archive, or an index without chunks.
            timeout: as for `Driver`.
        """
        self._handler = handler = _FileHandler(connection)
        self._session = Session(stream, connection, handler, handler.changed, timeout)
        self._session.start()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes; waits while many have not gone out.

        Raises:
            PeerError, ProtocolError: the other end failed.
        """
        handler = self._handler
        view = memoryview(data)
        for offset in range(0, len(view), _PIECE):
            piece = bytes(view[offset : offset + _PIECE])
            with handler.changed:
                while handler.size > _ROOM:
                    self._session.check()
                    handler.changed.wait()
                self._session.check()
                handler.pieces.append(piece)
                handler.size += len(piece)
        self._session.wake()

    def commit(self) -> None:
        """Return once the other end has said that the file is in place."""
        handler = self._handler
        with handler.changed:
            handler.complete = True
        self._session.wake()
        with handler.changed:
            while not handler.finished:
                self._session.check()
                handler.changed.wait()
        self._session.close()

    def abort(self) -> None:
        """Close the connection; the other end keeps nothing then."""
        self._session.abort()


class SpooledPush:
    """A `FileSink` that connects when it is committed: an index, while its chunks take their time elsewhere.

    The other end is not left waiting, and gives up on nobody who is only slow.
    """

    def __init__(self, connect: Callable[[], PushFile]) -> None:
        self._connect = connect
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by commit and abort

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the next bytes in `$TMPDIR`."""
        write_all(self._file.fileno(), data)

    def commit(self) -> None:
        """Send everything. Raises what `PushFile` raises."""
        sink = self._connect()
        try:
            fd, offset = self._file.fileno(), 0
            while piece := os.pread(fd, _PIECE, offset):
                sink.write(piece)
                offset += len(piece)
            sink.commit()
        finally:
            sink.abort()
            self._file.close()

    def abort(self) -> None:
        """Give the spool back."""
        self._file.close()
