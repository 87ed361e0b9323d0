"""Progress and notices leave the library here; the library itself never prints."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Monitor:
    """Counters that a running operation advances and that anyone may read from another thread at any time.

    Reading is polling: a progress line samples the counters a few times a second, so that an operation pays an
    addition for each batch of work and nothing else. Each counter is advanced by one thread only.

    Attributes:
        stage: what is being done, for people ("Packing", "Extracting").
        total: bytes that `done` will reach; None while unknown (a tree being scanned).
        done: bytes of the plain stream processed.
        entries: files, directories and other nodes processed.
        path: the node being processed, relative to the root.
        chunks_new, chunks_reused: chunks that had to be stored or fetched, and that were already there.
        bytes_new, bytes_reused: plain bytes of those.
        bytes_stored: bytes of the new chunks as stored (compressed).
        received, sent: bytes that came from and went to other machines; advanced by `transferred`.
        on_entry: called with each path ("Packed", relative path), where someone wants them (-v).
        on_notice: called with one-line notices about things that are no errors.
        on_detail: called with lines for who wants to know more (-v).
    """

    stage: str = ""
    total: int | None = None
    done: int = 0
    entries: int = 0
    path: bytes = b""
    chunks_new: int = 0
    chunks_reused: int = 0
    bytes_new: int = 0
    bytes_reused: int = 0
    bytes_stored: int = 0
    received: int = 0
    sent: int = 0
    on_entry: Callable[[str, bytes], None] | None = None
    on_notice: Callable[[str], None] | None = None
    on_detail: Callable[[str], None] | None = None
    notices: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def notice(self, text: str) -> None:
        """Record a notice and pass it on at once where someone listens."""
        self.notices.append(text)
        if self.on_notice is not None:
            self.on_notice(text)

    def detail(self, text: str) -> None:
        """Pass on what only matters to who wants to know more."""
        if self.on_detail is not None:
            self.on_detail(text)

    def transferred(self, received: int, sent: int) -> None:
        """Count bytes of a connection; thread-safe, because each connection has a thread of its own."""
        with self._lock:
            self.received += received
            self.sent += sent
