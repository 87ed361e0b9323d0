"""The verbs: which module has each, and what stands after it on the command line. Imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from casync_py.cli.session import Verb


class VerbRow(NamedTuple):
    """A verb, found without importing it.

    Attributes:
        module: in this package.
        arguments: names of what stands after it; all of them may be left out.
        repeats: the last argument may be given as often as one likes.
    """

    module: str
    arguments: tuple[str, ...]
    repeats: bool = False


VERBS = {
    "make": VerbRow("make", ("OUTPUT", "INPUT")),
    "extract": VerbRow("extract", ("INPUT", "OUTPUT", "SUBPATH")),
    "list": VerbRow("listing", ("INPUT", "SUBPATH")),
    "mtree": VerbRow("listing", ("INPUT", "SUBPATH")),
    "stat": VerbRow("listing", ("INPUT", "SUBPATH")),
    "digest": VerbRow("digest", ("INPUT", "SUBPATH")),
    "pull": VerbRow("serving", ("BASE", "ARCHIVE", "INDEX", "STORE"), repeats=True),
    "push": VerbRow("serving", ("BASE", "ARCHIVE", "INDEX", "STORE"), repeats=True),
    "serve": VerbRow("serve", ("DIR",), repeats=True),
    "serve-stdio": VerbRow("serving", ()),
}
HELP_VERB = "help"
SERVERS = ("pull", "push", "serve-stdio")  # what a client starts on another machine
WEB_SERVERS = ("serve",)
WORKING = tuple(verb for verb in VERBS if verb not in (*SERVERS, *WEB_SERVERS))
READERS = ("extract", "list", "mtree", "stat", "digest")  # they may fetch chunks from a store
LISTERS = ("list", "mtree", "stat")


def load_verb(name: str) -> Verb:
    """Import a verb's module, which imports what the verb needs when it runs."""
    from importlib import import_module

    return cast("Verb", import_module(f"casync_py.cli.{VERBS[name].module}").VERBS[name])
