"""Standard output: results only, whole lines, and a failed write is an error."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT = 1
_BUFFERED = 1 << 16


@contextmanager
def writing_stdout() -> Iterator[None]:
    """Name standard output in errors of writing it.

    Raises:
        BrokenPipeError: the reader has gone.
        OSError: a full disk, or no standard output at all.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


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
            OSError: see `writing_stdout`.
        """
        self._lines += line
        if len(self._lines) > self._limit:
            self.flush()

    def flush(self) -> None:
        """Hand everything over. Raises what `writing_stdout` raises."""
        from casync_py.files import write_all

        lines, self._lines = self._lines, bytearray()
        with writing_stdout():
            write_all(STDOUT, lines)
