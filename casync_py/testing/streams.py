"""Connected pairs of streams within one process."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import TYPE_CHECKING

from casync_py.transport.stream import DescriptorStream, SocketStream

if TYPE_CHECKING:
    from casync_py.transport.stream import Stream


def pipe_pair(capacity: int | None = None, names: tuple[str, str] = ("server", "client")) -> tuple[Stream, Stream]:
    """A client's and a server's stream, over two pipes; each is named after what it leads to.

    Args:
        capacity: bytes that each pipe holds (Linux: at least 4096); None for the system's default.
    """
    server_in, client_out = os.pipe()
    client_in, server_out = os.pipe()
    if capacity is not None:
        fcntl.fcntl(client_out, fcntl.F_SETPIPE_SZ, capacity)
        fcntl.fcntl(server_out, fcntl.F_SETPIPE_SZ, capacity)
    return DescriptorStream(client_in, client_out, names[0]), DescriptorStream(server_in, server_out, names[1])


def socket_pair(names: tuple[str, str] = ("server", "client")) -> tuple[Stream, Stream]:
    """The same over a pair of Unix sockets."""
    client, server = socket.socketpair()
    return SocketStream(client, names[0]), SocketStream(server, names[1])
