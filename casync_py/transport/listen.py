"""Where a server listens: addresses and Unix sockets, for every server."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG = 1024
_PORT_MAX = 65535
_TRIES_OF_PORTS = 20
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # as ::1 where IPv6 is off, which "localhost" may stand for


@dataclass(frozen=True, slots=True)
class Listen:
    """An address or a Unix socket.

    Attributes:
        host: a name or address, without brackets; empty for all addresses of this machine.
        port: 0 picks a free one.
        path: of a Unix socket, which makes `host` and `port` mean nothing.
    """

    host: str = ""
    port: int = 0
    path: str | None = None

    @classmethod
    def parse(cls, text: str, default_port: int) -> Listen:
        """An address as HOST:PORT, HOST, :PORT or [IPV6]:PORT.

        Raises:
            UsageError: no such thing.
        """
        host, port = _host_and_port(text)
        if not text or host.startswith("-") or any(char.isspace() or char in "/@?#\0" for char in host):
            raise UsageError(f"Not an address to listen at: {text!r}; as in 127.0.0.1:{default_port}")
        if not port:
            return cls(host, default_port)
        if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) <= _PORT_MAX):
            raise UsageError(f"Not a port from 0 to {_PORT_MAX}: {port!r}")
        return cls(host, int(port))

    @property
    def shown(self) -> str:
        """For messages."""
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def open(self) -> Listening:
        """Open the sockets, one for each address that the host has.

        Raises:
            OSError: the address or path is in use or not ours; `filename` says which.
        """
        try:
            sockets = [_unix_socket(self.path)] if self.path is not None else _sockets(self.host, self.port)
        except OSError as error:  # gaierror too
            raise OSError(error.errno or errno.EINVAL, error.strerror or str(error), self.shown) from None
        return Listening(self, sockets)


class Listening:
    """Open sockets that listen."""

    def __init__(self, listen: Listen, sockets: list[socket.socket]) -> None:
        self.listen = listen
        self.sockets = sockets
        self._inode = None if listen.path is None else _inode(listen.path)

    @property
    def port(self) -> int:
        """The port, which all sockets share; 0 for a Unix socket."""
        return 0 if self.listen.path is not None else int(self.sockets[0].getsockname()[1])

    @property
    def only_local(self) -> bool:
        """Whether nobody but this machine can connect."""
        return self.listen.path is not None or all(is_loopback(each.getsockname()[0]) for each in self.sockets)

    @property
    def local_names(self) -> frozenset[str] | None:
        """The names by which only this machine is meant; None where others can connect, by whatever name."""
        if self.listen.path is not None or not self.only_local:
            return None
        return frozenset({self.listen.host.lower(), "localhost", socket.gethostname().lower()} - {""})

    def url(self, tls: bool) -> str:
        """What to type to get here; for all addresses of the machine, with its name."""
        scheme = "https" if tls else "http"
        if self.listen.path is not None:
            from urllib.parse import quote

            return f"{scheme}+unix://{quote(os.path.abspath(self.listen.path), safe='')}/"
        host = self.listen.host or socket.gethostname()
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def close(self) -> None:
        """Close the sockets and remove the Unix socket, unless something else is in its place; twice is fine."""
        for each in self.sockets:
            each.close()
        path = self.listen.path
        if path is not None and self._inode is not None and _inode(path) == self._inode:
            os.unlink(path)
        self._inode = None


def is_loopback(address: str) -> bool:
    """Whether a numeric address is one that only this machine can reach."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or not host or (port and not port.startswith(":")):
            raise UsageError(f"Not an address to listen at: {text!r}; as in [::1]:8042")
        return host, port[1:]
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _sockets(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for _ in range(_TRIES_OF_PORTS):
        try:
            return _bound(addresses, port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "No port is free at all addresses")


def _bound(addresses: Sequence[tuple[int, tuple[object, ...]]], port: int) -> list[socket.socket]:
    """All listening at one port; the first one picks it where it is 0."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(_listener(family, (address[0], port, *address[2:])))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                absent = error
            else:
                port = sockets[-1].getsockname()[1]
        if not sockets and absent is not None:
            raise absent
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listener(family: int, address: tuple[object, ...]) -> socket.socket:
    # By the protocol's number asyncio knows that TCP_NODELAY is to be set: without it, an answer in two pieces, head
    # and body, takes 40 ms more, the time that the other end's acknowledgement is delayed.
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _unix_socket(path: str) -> socket.socket:
    """Who may connect is for the umask to say, and for the directory. A socket that nobody serves is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if _is_abandoned(path):
            os.unlink(path)
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_abandoned(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        return False


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
