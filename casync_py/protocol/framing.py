"""From bytes to messages: framing and parsing, without any knowledge of which message may come."""

from __future__ import annotations

from casync_py.errors import FormatError, ProtocolError
from casync_py.format.reader import RecordReader
from casync_py.protocol.messages import BOUNDS, HEADER_SIZE, Bound, Message

_SMALL = 4096  # smaller pieces are joined before they are kept: as objects they would cost more than their bytes
_JOINED = 64 * 1024  # to pieces of this size
_QUOTED = 48  # bytes of what is no message that an error shows


class MessageReader:
    """Splits a stream into messages, however it is cut. `feed`, then `kind` and `message` until either gives None."""

    __slots__ = ("_bound", "_held", "_lacking", "_records", "_started")

    def __init__(self) -> None:
        self._records = RecordReader(BOUNDS)
        self._bound: Bound | None = None
        self._held = bytearray()  # fed, not yet given to the records
        self._lacking = HEADER_SIZE  # how many bytes of the present header or body were not fed when it was last tried
        self._started = b""

    @property
    def inside(self) -> bool:
        """Whether the stream stands in the middle of a message."""
        return self._bound is not None or bool(self._held) or self._records.buffered > 0

    @property
    def awaited(self) -> int:
        """Bytes of the body of the message that has begun; 0 if none has."""
        return self._records.left if self._bound is not None else 0

    def feed(self, data: bytes | memoryview) -> bool:
        """Add the stream's next bytes; the buffer must not change afterwards.

        Returns:
            Whether there can be anything new to read.
        """
        if len(self._started) < _QUOTED:
            self._started += data[: _QUOTED - len(self._started)]
        held = self._held
        if not held and len(data) >= self._lacking:
            self._records.feed(data)
            return True
        if len(data) < _SMALL:
            held += data
            if len(held) < min(self._lacking, _JOINED):
                return False
            data = b""
        if held:
            self._records.feed(bytes(held))
            self._lacking -= len(held)
            self._held = bytearray()
        if data:
            self._records.feed(data)
            self._lacking -= len(data)
        return self._lacking <= 0

    def kind(self) -> type[Message] | None:
        """The type of the next message, before its body is there; None while there are too few bytes.

        Raises:
            ProtocolError: an unknown type, or a size that the type cannot have.
        """
        if self._bound is None:
            try:
                header = self._records.header()
            except FormatError as error:
                said = f"; the other end began with {self.beginning()}" if not error.offset else ""
                raise ProtocolError(f"This is no message: {error.reason}{said}") from None
            if header is None:
                self._lacking = HEADER_SIZE - self._records.buffered
                return None
            self._bound = BOUNDS[header[0]]
        return self._bound.kind

    def message(self) -> Message | None:
        """The message whose `kind` was given; None while there are too few bytes.

        Raises:
            ProtocolError: a body that the type cannot have.
        """
        if self._bound is None:
            raise ValueError("The message's kind was not asked for")
        body = self._records.body()
        if body is None:
            self._lacking = self._records.left - self._records.buffered
            return None
        bound, self._bound = self._bound, None
        return bound.kind.parse(body)

    def beginning(self) -> str:
        """The first bytes of the stream as a text that is safe to show."""
        return ascii(self._started.decode("utf-8", "replace"))
