"""The access log: a line for each request, in the combined format that web servers' tools read.

A thread of its own writes, because a full pipe or a slow disk must not hold up the server; what it cannot keep up with
is counted instead. A file that was renamed away, as logrotate does, is opened anew.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from casync_py.files import STANDARD_STREAM, STDOUT, write_all
from casync_py.remotes.http.terms import POSTED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_WAITING_MAX = 10_000  # lines
_OPEN = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_NEEDS_ESCAPE = frozenset({*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100)})
_ESCAPED = {byte: f"\\x{byte:02x}" for byte in _NEEDS_ESCAPE}
_FIELD_MAX = 1024


class AccessLog:
    """A file, or standard output, to which lines are appended."""

    def __init__(self, path: str) -> None:
        """
        Args:
            path: "-" for standard output.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._fd = os.dup(STDOUT) if path == STANDARD_STREAM else os.open(path, _OPEN, 0o640)
        self._lines: list[str] = []
        self._lost = 0
        self._ended = False
        self._changed = threading.Condition()
        self._second = (0, "")
        self._thread = threading.Thread(target=self._write_all, name="access-log", daemon=True)
        self._thread.start()

    def add(self, scope: Mapping[str, Any], status: int, sent: int, seconds: float) -> None:
        """A request that is done.

        Args:
            scope: as ASGI has it.
            sent: bytes of the answer's body.
        """
        client = scope["client"]
        referrer, agent = _headers(scope["headers"])
        query = scope["query_string"]
        target = scope["raw_path"] + (b"" if not query else b"?" + query if query in POSTED else b"?...")
        line = (
            f'{client[0] if client else "-"} - - [{self._now()}] "{scope["method"]} {_field(target)} '
            f'HTTP/{scope["http_version"]}" {status or 499} {sent} "{referrer}" "{agent}" {seconds:.6f}\n'
        )
        with self._changed:
            if len(self._lines) >= _WAITING_MAX:
                self._lost += 1
                return
            self._lines.append(line)
            if len(self._lines) == 1:
                self._changed.notify()

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second[0]:
            self._second = (second, time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second)))
        return self._second[1]

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._ended)
                lines, lost = self._lines, self._lost
                self._lines, self._lost = [], 0
                if not lines and not lost:
                    return
            if lost:
                lines.append(f"# {lost} lines are missing here: they came faster than they could be written\n")
            try:
                self._follow_renaming()
                write_all(self._fd, "".join(lines).encode())
            except OSError:
                continue  # a full disk, a reader that has gone: nothing that requests should suffer from

    def _follow_renaming(self) -> None:
        if self._path == STANDARD_STREAM:
            return
        ours = os.fstat(self._fd)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            fd = os.open(self._path, _OPEN, 0o640)
            os.close(self._fd)
            self._fd = fd

    def close(self) -> None:
        """Write what waits, for a few seconds at most, and close."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(5)
        if not self._thread.is_alive():
            os.close(self._fd)


def _headers(headers: list[tuple[bytes, bytes]]) -> tuple[str, str]:
    referrer = agent = "-"
    for name, value in headers:
        if name == b"user-agent":
            agent = _field(value)
        elif name == b"referer":
            referrer = _field(value.partition(b"?")[0])  # queries may hold what is secret
    return referrer, agent


def _field(raw: bytes) -> str:
    return raw[:_FIELD_MAX].decode("latin-1").translate(_ESCAPED)
