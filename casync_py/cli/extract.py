"""The verb `extract`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from casync_py.amounts import count_text, size_text
from casync_py.cli.render import result_line
from casync_py.cli.session import Session, Verb
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from casync_py.api import ExtractResult


def run(session: Session) -> None:
    """Extract an archive or index; prints nothing but with --json."""
    from casync_py import api

    source, output, subpath = session.arguments
    if session.json and output in {None, "-"}:  # None: a blob would go to standard output
        raise UsageError("--json needs standard output for itself; name an OUTPUT")
    begin = time.monotonic()
    result = api.extract(source, output, subpath, session.settings, session.monitor)
    if session.json:
        session.output.write(result_line(session.verb, result))
    session.summarize(summary(result, time.monotonic() - begin))


def summary(result: ExtractResult, elapsed_s: float) -> str:
    """What came of it, in one line for people."""
    entries = f"{count_text(result.entries, 'entry')}, " if result.entries else ""
    received = f", {size_text(result.bytes_received)} received" if result.bytes_received else ""
    return f"Extracted {entries}{size_text(result.size)}{received}, in {elapsed_s:.1f} s"


VERBS = {
    "extract": Verb(
        summary="Restore a directory, file or device from an archive or index.",
        text="""
Restore a directory tree from an archive or its index, or a file or device from a blob's index.

A tree is extracted into the directory OUTPUT, which becomes what the archive is: files that differ are replaced, and
files that the archive does not have are removed, unless --delete=no is given. With SUBPATH, that one file or
directory of the tree is placed inside OUTPUT.

Each chunk is verified before anything of it is written.
""",
        examples=(
            "casync-py extract docs.caidx restored",
            "casync-py extract --store=/srv/store.castr disk.caibx disk.img",
            "casync-py extract docs.caidx . bash/copyright",
        ),
        arguments={
            "INPUT": "Archive or index; '-' or nothing is standard input.",
            "OUTPUT": "Directory for a tree (the working directory if nothing is given), file or device for a blob.",
            "SUBPATH": "One file or directory of the tree.",
        },
        run=run,
    )
}
