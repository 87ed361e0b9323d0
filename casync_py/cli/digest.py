"""The verb `digest`."""

from __future__ import annotations

from casync_py.cli.render import json_line
from casync_py.cli.session import Session, Verb


def run(session: Session) -> None:
    """Print one digest in hex."""
    from casync_py import api

    source, subpath = session.arguments
    digest = api.digest(source, subpath, session.settings, session.monitor)
    line = digest.encode() + b"\n"
    session.output.write(json_line(session.verb, {"digest": digest}) if session.json else line)


VERBS = {
    "digest": Verb(
        summary="Print the digest of a directory, archive, index or file.",
        text="""
Print the digest of a directory, archive, index, file or device.

Of a directory it is the digest of the archive that make would write with the same options, so that a directory, its
archive and its index have one digest. Of a file, a device or a blob's index it is the digest of the content.
""",
        examples=(
            "casync-py digest /usr/share/doc",
            "casync-py digest docs.caidx",
            "casync-py digest docs.caidx bash/copyright",
        ),
        arguments={
            "INPUT": "Directory, archive, index, file or device; the working directory if nothing is given.",
            "SUBPATH": "One file or directory of an archive or index.",
        },
        run=run,
    )
}
