"""What goes to standard error: messages by their urgency, and a progress line that they never tear."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

from casync_py.cli.values import LEVEL_ERROR, LEVEL_INFO, LEVEL_NOTICE, parse_boolean, parse_log_level
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

PROGRAM = "casync-py"
_CLEAR_LINE = "\r\x1b[K"


class Console:
    """Standard error of one run.

    Attributes:
        level: the least urgent level that is shown, 0 to 7.
        verbose: name each file, and show tracebacks.
        on_terminal: it is a terminal that can redraw a line.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Start with what $CASYNC_LOG_LEVEL and $CASYNC_VERBOSE say; nonsense in them is ignored, as casync does."""
        self.level = _or_default(parse_log_level, environ.get("CASYNC_LOG_LEVEL", ""), LEVEL_INFO)
        self.verbose = _or_default(parse_boolean, environ.get("CASYNC_VERBOSE", ""), False)
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self.on_terminal = terminal and environ.get("TERM", "dumb") != "dumb"
        self._lock = threading.Lock()
        self._drawn = False

    @property
    def shows_progress(self) -> bool:
        """Whether a person reads along who wants to know what is going on."""
        return self.on_terminal and self.level >= LEVEL_INFO

    def error(self, text: str) -> None:
        self._say(LEVEL_ERROR, f"{PROGRAM}: {text}")

    def notice(self, text: str) -> None:
        self._say(LEVEL_NOTICE, f"{PROGRAM}: {text}")

    def info(self, text: str) -> None:
        self._say(LEVEL_INFO, text)

    def traceback(self, error: BaseException) -> None:
        """Where an error comes from, for reports."""
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            self._say(LEVEL_ERROR, line)

    def entry(self, done: str, path: bytes) -> None:
        """Name a file as casync's -v does, the root as `./`."""
        self._say(LEVEL_INFO, f"{done} {os.fsdecode(path) or './'}")

    def _say(self, level: int, text: str) -> None:
        if level <= self.level:
            with self._lock:
                self._write(_CLEAR_LINE * self._drawn + printable(text) + "\n")
                self._drawn = False

    def draw(self, line: str) -> None:
        """Replace the progress line; an empty one removes it."""
        with self._lock:
            if line or self._drawn:
                self._write(_CLEAR_LINE + printable(line))
            self._drawn = bool(line)

    @staticmethod
    def _write(text: str) -> None:
        if sys.stderr is not None:  # closed by whoever started us
            sys.stderr.write(text)
            sys.stderr.flush()


def printable(text: str) -> str:
    r"""Text that cannot steer a terminal or span lines: other than visible characters become `\ooo`, byte by byte.

    Names out of archives and directories come through here, and may hold anything.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _octal(char) for char in text)


def _octal(char: str) -> str:
    a_byte = "\udc80" <= char <= "\udcff"  # how a byte that is no UTF-8 stands in a str
    raw = char.encode(errors="surrogateescape" if a_byte else "surrogatepass")
    return "".join(f"\\{value:03o}" for value in raw)


def _or_default(parse: Callable[[str], T], text: str, default: T) -> T:
    try:
        return parse(text)
    except UsageError:
        return default
