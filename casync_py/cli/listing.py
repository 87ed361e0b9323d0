"""The verbs that show what is in a tree: `list`, `mtree`, `stat`."""

from __future__ import annotations

from casync_py.cli.session import Session, Verb

_ARGUMENTS = {
    "INPUT": "Directory, archive or archive's index; the working directory if nothing is given.",
    "SUBPATH": "One file or directory of an archive or index.",
}


def run(session: Session) -> None:
    """Print the verb's lines as they come."""
    from casync_py import api

    source, subpath = session.arguments
    if session.json:
        from casync_py.cli.entry_json import entry_lines

        lines = entry_lines(session.verb, source, subpath, session.settings, session.monitor)
    else:
        show = {"list": api.list_tree, "mtree": api.mtree, "stat": api.stat}[session.verb]
        lines = show(source, subpath, session.settings, session.monitor)
    write = session.output.write
    for line in lines:
        write(line)


VERBS = {
    "list": Verb(
        summary="List the files in a directory, archive or index.",
        text="""
List the files of a directory, archive or index: the mode of each and its path.

In paths, blanks, control characters, bytes beyond ASCII, backslashes and '#' are written as a backslash and three
octal digits.
""",
        examples=("casync-py list docs.caidx", "casync-py list --recursive=no /etc", "casync-py list docs.caidx bash"),
        arguments=_ARGUMENTS,
        run=run,
        streams=True,
    ),
    "mtree": Verb(
        summary="List files with their metadata and digests, as BSD mtree does.",
        text="""
Print a manifest in the format of BSD's mtree: a line for each file with type, mode, size, owner, time and the digest of
its content. All content is read.
""",
        examples=("casync-py mtree docs.caidx", "casync-py mtree --without=privileged /etc"),
        arguments=_ARGUMENTS,
        run=run,
        streams=True,
    ),
    "stat": Verb(
        summary="Show all that is known of one file.",
        text="""
Show all that an archive, index or directory knows of one file: with SUBPATH of that one, without it of the top
directory.
""",
        examples=("casync-py stat docs.caidx bash/copyright", "casync-py stat /etc"),
        arguments=_ARGUMENTS,
        run=run,
        streams=True,
    ),
}
