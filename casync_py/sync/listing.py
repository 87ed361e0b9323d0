"""`list`: one line for each node, its mode as `ls -l` writes it and its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.archive.nodes import Entry
from casync_py.sync.shown import mode_string, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.nodes import Leave


def list_lines(entries: Iterator[Entry | Leave], recursive: bool = True) -> Iterator[bytes]:
    """Lines of `casync list`, each with its newline. Payloads are not read.

    The mode is the archive's, whatever `--with=` and `--without=` say.

    Args:
        recursive: False shows the first entry and, where it is a directory, its children only. casync can do that for
            archives alone, and fails half-way on a directory that it scans.
    """
    show_mode, show_path, kind = mode_string, shown_path, Entry
    prefix = -1
    for item in entries:
        if type(item) is not kind:
            continue
        path, node = item[0], item[2]
        if not recursive:
            if prefix < 0:
                prefix = len(path) + 1 if path else 0
            elif b"/" in path[prefix:]:
                continue
        yield show_mode(node[0]) + b" " + show_path(path) + b"\n"
