"""The verbs: which module has each, and what stands after it on the command line. Imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from casync_py.cli.session import Verb


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


def load_verb(name: str) -> Verb:
    """Import a verb's module, which imports what the verb needs when it runs."""
    from importlib import import_module

    return cast("Verb", import_module(f"casync_py.cli.{VERBS[name].module}").VERBS[name])
