"""Streams of entries made by hand, for tests of whoever takes them."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from casync_py.archive.nodes import Entry, Leave, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MTIME_NS = 1_234_567_890_123_456_789


class MemoryPayload:
    """Content that is there already; see `nodes.Payload` for the calls."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._rest = memoryview(content)

    def read_into(self, view: memoryview) -> int:
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def pieces(self) -> Iterator[memoryview | bytes]:
        rest, self._rest = self._rest, self._rest[:0]
        if rest:
            yield rest


@dataclass(frozen=True, slots=True)
class Made:
    """A node with its content or children."""

    node: Node
    content: bytes = b""
    children: Mapping[bytes, Made] = field(default_factory=dict)


def file(content: bytes = b"", mode: int = 0o644, mtime_ns: int = _MTIME_NS, **metadata: Any) -> Made:
    """A regular file."""
    return Made(Node(stat.S_IFREG | mode, mtime_ns=mtime_ns, size=len(content), **metadata), content)


def directory(
    children: Mapping[bytes, Made] | None = None, mode: int = 0o755, mtime_ns: int = _MTIME_NS, **metadata: Any
) -> Made:
    """A directory of `children`, which become entries in the order of the mapping."""
    return Made(Node(stat.S_IFDIR | mode, mtime_ns=mtime_ns, **metadata), children=children or {})


def symlink(target: bytes, mtime_ns: int = _MTIME_NS, **metadata: Any) -> Made:
    """A symlink."""
    return Made(Node(stat.S_IFLNK | 0o777, mtime_ns=mtime_ns, target=target, **metadata))


def special(mode: int, rdev: tuple[int, int] = (0, 0), mtime_ns: int = _MTIME_NS, **metadata: Any) -> Made:
    """A device, fifo or socket, as the type in `mode` says."""
    return Made(Node(mode, mtime_ns=mtime_ns, rdev=rdev, **metadata))


def entries(top: Made, path: bytes = b"") -> Iterator[Entry | Leave]:
    """The stream of `top`, which stands at `path`; without recursion, so that it can be deep."""
    # A path without a node is a directory whose children have all been yielded.
    waiting: list[tuple[bytes, Made | None]] = [(path, top)]
    while waiting:
        where, made = waiting.pop()
        if made is None:
            yield Leave(where)
            continue
        is_file, is_directory = stat.S_ISREG(made.node.mode), stat.S_ISDIR(made.node.mode)
        yield Entry(where, where.rpartition(b"/")[2], made.node, MemoryPayload(made.content) if is_file else None)
        if is_directory:
            waiting.append((where, None))
            prefix = where + b"/" if where else b""
            waiting.extend((prefix + name, child) for name, child in reversed(list(made.children.items())))
