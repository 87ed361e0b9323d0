"""Many clients at once: `bench_clients.py URL INDEX STORE` gets every chunk of an index 4 times, over 64 connections.

Each connection asks for its next chunk when the last one has arrived, in HTTP/1.1, and counts what comes. Every answer
has to be 200 with a whole chunk of the size that the store's file has. What a client does with chunks costs more than
the server; this does nothing with them, and takes some 15 µs a request, so that two servers can be compared.
"""

from __future__ import annotations

import argparse
import select
import socket
from pathlib import Path
from urllib.parse import urlsplit

from casync_py.testing.castr import index_ids

CLIENTS = 64
PASSES = 4
PIECE = 1 << 18


class Client:
    """One connection, which asks for some chunks one after another."""

    def __init__(self, address: tuple[str, int], requests: list[tuple[bytes, int]]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = iter(requests)
        self._head = b""
        self._expected = 0
        self._left = 0

    def ask(self) -> bool:
        """Send the next request; False if there is none."""
        found = next(self._requests, None)
        if found is None:
            return False
        request, self._expected = found
        self._left, self._head = 0, b""
        self.socket.sendall(request)
        return True

    def take(self, buffer: bytearray) -> bool:
        """Receive what is there; whether the answer is complete now."""
        size = self.socket.recv_into(buffer)
        if size == 0:
            raise SystemExit("The server closed a connection")
        if self._left:
            self._left -= size
        else:
            self._head += buffer[:size]
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._check(self._head[:end].lower())
            self._left = self._expected - (len(self._head) - end - 4)
        if self._left < 0:
            raise SystemExit("More came than was asked for")
        return self._left == 0

    def _check(self, head: bytes) -> None:
        if not head.startswith(b"http/1.1 200 ") or b"\r\ncontent-length: %d" % self._expected not in head:
            raise SystemExit(f"Not the chunk: {head.decode(errors='replace')}")


def requests_of(url: str, index: str, store: str) -> list[tuple[bytes, int]]:
    """For each chunk of an index, PASSES times, the request and how many bytes the body of its answer has."""
    parts = urlsplit(url)
    found = []
    for name in dict.fromkeys(index_ids(index)):
        path = f"{name[:4]}/{name}.cacnk"
        request = f"GET {parts.path.rstrip('/')}/{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: */*\r\n\r\n"
        found.append((request.encode(), Path(store, path).stat().st_size))
    return found * PASSES


def fetch(address: tuple[str, int], requests: list[tuple[bytes, int]]) -> int:
    """Send all requests, CLIENTS at a time; how many bytes of bodies came."""
    clients = [Client(address, requests[number::CLIENTS]) for number in range(CLIENTS)]
    poll = select.epoll()
    by_fd = {client.socket.fileno(): client for client in clients if client.ask()}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    buffer = bytearray(PIECE)
    while by_fd:
        for fd, _events in poll.poll():
            client = by_fd[fd]
            if client.take(buffer) and not client.ask():
                del by_fd[fd]
                poll.unregister(fd)
                client.socket.close()
    return sum(size for _request, size in requests)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask for the chunks of an index over many connections")
    parser.add_argument("url", help="of the store")
    parser.add_argument("index")
    parser.add_argument("store", help="the same store as a directory")
    options = parser.parse_args()
    parts = urlsplit(options.url)
    requests = requests_of(options.url, options.index, options.store)
    size = fetch((parts.hostname or "", parts.port or 80), requests)
    print(f"{len(requests)} requests, {size} bytes")


if __name__ == "__main__":
    main()
