"""The verb `make`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from casync_py.amounts import count_text, size_text
from casync_py.cli.render import result_line
from casync_py.cli.session import Session, Verb
from casync_py.errors import UsageError
from casync_py.files import STDOUT

if TYPE_CHECKING:
    from casync_py.api import MakeResult


def run(session: Session) -> None:
    """Make an archive or index, and print the digest of its stream."""
    from casync_py import api

    output, source = session.arguments
    to_stdout = output is None or output == "-"
    if to_stdout and session.json:
        raise UsageError("--json needs standard output for itself; name an OUTPUT")
    if to_stdout and os.isatty(STDOUT):
        raise UsageError("An archive or index is not for a terminal; name an OUTPUT, or redirect standard output")
    begin = time.monotonic()
    result = api.make(output, source, session.settings, session.monitor)
    if session.json:
        session.output.write(result_line(session.verb, result))
    elif (
        result.digest is not None and not to_stdout
    ):  # casync appends it to an index on standard output, which breaks it
        session.output.write(result.digest.encode() + b"\n")
    session.summarize(summary(result, time.monotonic() - begin))


def summary(result: MakeResult, elapsed_s: float) -> str:
    """What came of it, in one line for people."""
    packed = f"{count_text(result.entries, 'entry')}, " if result.entries else ""
    text = f"Packed {packed}{size_text(result.size)}"
    chunks = result.chunks_new + result.chunks_reused
    if chunks:
        text += f": {count_text(chunks, 'chunk')}, {result.chunks_new:,} new"
        if result.chunks_new:
            text += f" ({size_text(result.bytes_new)}, stored in {size_text(result.bytes_stored)})"
    if result.bytes_sent:
        text += f", {size_text(result.bytes_sent)} sent"
    return f"{text}, in {elapsed_s:.1f} s"


VERBS = {
    "make": Verb(
        summary="Pack a directory, or cut a file or device into chunks.",
        text="""
Pack a directory into an archive, or cut a file or block device into chunks.

The suffix of OUTPUT says what is made:

\b
  NAME.caidx   index of a directory tree; its content goes to the store, in chunks
  NAME.caibx   index of a file or block device; its content goes to the store
  NAME.catar   the whole directory tree in one file, without a store

Chunks that the store has already are not stored again: the second make of a tree that changed a little adds little.
The digest of the whole archive or file is printed, as casync prints it.
""",
        examples=(
            "casync-py make docs.caidx /usr/share/doc",
            "casync-py make --store=/srv/store.castr disk.caibx disk.img",
            "casync-py make --without=privileged project.catar .",
        ),
        arguments={
            "OUTPUT": "Index or archive to make; '-' or nothing is standard output.",
            "INPUT": "Directory, file or block device; the working directory if nothing is given.",
        },
        run=run,
    )
}
