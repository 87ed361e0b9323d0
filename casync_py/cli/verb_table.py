"""The verbs: which module has each, and what stands after it on the command line. Imports nothing."""

from __future__ import annotations

from typing import NamedTuple


class VerbRow(NamedTuple):
    """A verb, found without importing it: its module in this package, and its arguments, all of them optional."""

    module: str
    arguments: tuple[str, ...]


VERBS = {
    "make": VerbRow("make", ("OUTPUT", "INPUT")),
    "extract": VerbRow("extract", ("INPUT", "OUTPUT", "SUBPATH")),
    "list": VerbRow("listing", ("INPUT", "SUBPATH")),
    "mtree": VerbRow("listing", ("INPUT", "SUBPATH")),
    "stat": VerbRow("listing", ("INPUT", "SUBPATH")),
    "digest": VerbRow("digest", ("INPUT", "SUBPATH")),
}
HELP_VERB = "help"
WORKING = tuple(VERBS)
READERS = ("extract", "list", "mtree", "stat", "digest")  # they may fetch chunks from a store
LISTERS = ("list", "mtree", "stat")
