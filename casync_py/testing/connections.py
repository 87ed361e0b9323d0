"""Two ends of the protocol without anything between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from casync_py.protocol import flags as f
from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.messages import Hello, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OTHER = {
    Role.PULL_CLIENT: Role.PULL_SERVER,
    Role.PULL_SERVER: Role.PULL_CLIENT,
    Role.PUSH_CLIENT: Role.PUSH_SERVER,
    Role.PUSH_SERVER: Role.PUSH_CLIENT,
}


class Pair(NamedTuple):
    """A client and a server that belong together."""

    client: Connection
    server: Connection

    def other(self, end: Connection) -> Connection:
        return self.server if end is self.client else self.client

    def end(self, role: Role) -> Connection:
        return self.client if self.client.role is role else self.server


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def deliver(
    sender: Connection, receiver: Connection, message: Message, cut: Callable[[bytes], Iterable[bytes]] = whole
) -> list[Message]:
    """What the receiver gets when the sender sends a message."""
    return [got for part in cut(sender.send(message)) for got in receiver.receive(part)]


def fresh_pair(operations: int, *, dialect: bool = False) -> Pair:
    """A client that wants the operations and a server that offers what they need; nothing is said yet."""
    services = sum({service for operation, service in f.COUNTERPART.items() if operations & operation})
    client, server = (
        (Role.PULL_CLIENT, Role.PULL_SERVER) if operations & f.PULL else (Role.PUSH_CLIENT, Role.PUSH_SERVER)
    )
    return Pair(Connection(client, operations, ours=dialect), Connection(server, services, ours=dialect))


def greeted_pair(operations: int, *, dialect: bool = False) -> Pair:
    """The same after both have said HELLO."""
    pair = fresh_pair(operations, dialect=dialect)
    words = pair.client.send(Hello()), pair.server.send(Hello())
    pair.server.receive(words[0])
    pair.client.receive(words[1])
    return pair
