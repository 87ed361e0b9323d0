"""An index that arrives on a pipe, kept in an unnamed temporary file while it is read."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casync_py.format.index import Index

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def spooled_index(fd: int, name: str = "standard input") -> Iterator[Index]:
    """The index behind a descriptor: read in place from a regular file, spooled to `$TMPDIR` from anything else."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        yield Index(fd, name, close_fd=False)
        return
    with tempfile.TemporaryFile() as file, open(fd, "rb", closefd=False) as source:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        yield Index(file.fileno(), name, close_fd=False)
