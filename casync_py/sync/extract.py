"""Extract a blob from an index."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from casync_py.sync.in_place import rows_in_place

if TYPE_CHECKING:
    from casync_py.options import Resources
    from casync_py.sync.blob import BlobTarget
    from casync_py.sync.stream import IndexStream


def extract_blob(stream: IndexStream, target: BlobTarget, resources: Resources) -> None:
    """Write a whole blob to a target and commit it; chunks that are in place there already are not fetched.

    Where that fails, the target is aborted. What was written is kept for the next run, where the target can do that,
    and a notice says so: it is verified then, whatever went wrong now.
    """
    index, monitor = stream.index, stream.monitor
    try:
        with closing(stream):
            there = rows_in_place(index, target, resources, monitor)
            target.keep(index[there.stop - 1].end if there else 0)
            for offset, plain in stream.pieces(there.others(len(index))):
                target.write_at(offset, plain)
        target.commit()
    finally:
        kept = target.abort()
        if kept is not None:
            monitor.notice(f"{target.name}: What arrived is kept in {kept}, and the same command goes on from there")
