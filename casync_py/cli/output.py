"""Standard output: results only, whole lines, and a failed write is an error."""

from __future__ import annotations

import os

from casync_py.files import write_all

STDOUT = 1
_BUFFERED = 1 << 16


class OutputError(OSError):
    """Standard output cannot be written."""


class Output:
    """Standard output of one run; buffered, except on a terminal.

    Attributes:
        on_terminal: whether it is one.
    """

    def __init__(self) -> None:
        self.on_terminal = os.isatty(STDOUT)
        self._lines = bytearray()
        self._limit = 0 if self.on_terminal else _BUFFERED

    def write(self, line: bytes) -> None:
        """Add a line that ends in a newline.

        Raises:
            OutputError, BrokenPipeError: see `flush`.
        """
        self._lines += line
        if len(self._lines) > self._limit:
            self.flush()

    def flush(self) -> None:
        """Hand everything over.

        Raises:
            BrokenPipeError: the reader has gone.
            OutputError: a full disk, or no standard output at all.
        """
        lines, self._lines = self._lines, bytearray()
        try:
            write_all(STDOUT, lines)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror, "standard output") from error
