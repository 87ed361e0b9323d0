"""The writing half of a connection, which counts what leaves and closes without taking an answer back."""

from __future__ import annotations

import fcntl
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LINGER_SECONDS = 5  # as nginx's lingering_timeout


class Outlet:
    """A transport whose `close` lets the other end read what was said.

    Closing a socket on which something unread arrived resets the connection, and the client, still sending what nobody
    wants, may lose the answer that says so. Source: RFC 9112, 9.6.
    """

    def __init__(self, transport: asyncio.Transport, linger: Callable[[], bool]) -> None:
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.unsent = transport.get_write_buffer_size
        self._socket = transport.get_extra_info("socket")
        self._transport = transport
        self._write = transport.write
        self._linger = linger
        self._written = 0
        self._seconds_left = 0  # while it lingers

    @property
    def sent(self) -> int:
        """Bytes that the other end has acknowledged; the kernel alone holds megabytes for one that does not read."""
        waiting = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))  # Linux: SIOCOUTQ, for sockets
        return self._written - self.unsent() - int.from_bytes(waiting, sys.byteorder)

    def write(self, data: bytes) -> None:
        if not self._seconds_left:
            self._written += len(data)
            self._write(data)

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._linger():
            self._transport.close()
            return
        self._seconds_left = LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()

    def is_closing(self) -> bool:
        return self._seconds_left > 0 or self._transport.is_closing()

    def look(self) -> None:
        """A second has passed."""
        if self._seconds_left:
            self._seconds_left -= 1
            if not self._seconds_left:
                self._transport.abort()
