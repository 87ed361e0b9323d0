"""From argv to a verb that can run; `--help`, `--version` and `--with=help` are answered on the way."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from casync_py.cli import values
from casync_py.cli.casync_argv import Given, tokens
from casync_py.cli.console import PROGRAM
from casync_py.cli.explain import explanation
from casync_py.cli.output import writing_stdout
from casync_py.cli.unavailable import refuse_later_options, refuse_later_verb
from casync_py.cli.verb_table import HELP_VERB, VERBS
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casync_py.cli.console import Console


class Request(NamedTuple):
    """A verb with its arguments and the options that mean something to it, all checked."""

    verb: str
    arguments: list[str]
    options: list[Given]

    def values(self) -> dict[str, Any]:
        """By each option's `key`: its last value, a list of all where it is repeatable, True where it has none."""
        found: dict[str, Any] = {}
        for option, value in self.options:
            if option.repeatable:
                found.setdefault(option.key, []).append(value)
            else:
                found[option.key] = value if option.metavar else True
        return found

    def padded_arguments(self) -> tuple[str | None, ...]:
        """As many as the verb can have, None for those that were not given."""
        missing = len(VERBS[self.verb].arguments) - len(self.arguments)
        return (*self.arguments, *(None,) * missing)


def read_command_line(argv: Sequence[str], console: Console) -> Request | None:
    """Read a command line from left to right, as casync does; None where it was answered already.

    `console` learns of -l and -v as soon as they are read.

    Raises:
        UsageError: the first thing that is wrong.
    """
    options: list[Given] = []
    arguments: list[str] = []
    rest = tokens(argv, permute="POSIXLY_CORRECT" not in os.environ)
    for token in rest:
        if not isinstance(token, Given):
            arguments.append(token)
        elif _answered(token, arguments, rest):
            return None
        else:
            values.check(token)
            _tell(console, token)
            options.append(token)
    if not arguments:
        raise UsageError(f"Missing verb; '{PROGRAM} --help' lists them")
    verb, *arguments = arguments
    if verb == HELP_VERB:
        show_help(next(iter(arguments), None))
        return None
    return _request(verb, arguments, options)


def _request(verb: str, arguments: list[str], options: list[Given]) -> Request:
    refuse_later_verb(verb)
    if verb not in VERBS:
        raise UsageError(f"Unknown verb '{verb}'; '{PROGRAM} --help' lists them")
    names = VERBS[verb].arguments
    if len(arguments) > len(names) and not VERBS[verb].repeats:
        if not names:
            raise UsageError(f"{verb} takes no arguments; what is {arguments[0]!r}?")
        raise UsageError(f"{verb} takes {', '.join(names)} and no more; what is {arguments[len(names)]!r}?")
    refuse_later_options(verb, options)
    return Request(verb, arguments, [given for given in options if verb in given.option.verbs])


def _answered(given: Given, arguments: list[str], rest: Iterator[Given | str]) -> bool:
    name = given.option.name
    if name == "help":
        show_help(next(iter(arguments), None) or _first_argument(rest))
        return True
    text = version_text() if name == "version" else explanation(name) if given.value == "help" else None
    if text is not None:
        with writing_stdout():
            print(text, flush=True)
    return text is not None


def _first_argument(rest: Iterator[Given | str]) -> str | None:
    try:
        return next((token for token in rest if isinstance(token, str)), None)
    except UsageError:
        return None  # casync answers --help whatever follows


def _tell(console: Console, given: Given) -> None:
    if given.option.name == "log-level":
        console.level = values.parse_log_level(given.value)
    elif given.option.name == "verbose":
        console.verbose = True


def show_help(verb: str | None) -> None:
    """Print the help of a verb; of the whole command where there is no such verb, as casync does."""
    from casync_py.cli import app

    with writing_stdout():
        app.show_help(verb if verb in VERBS else None)
        sys.stdout.flush()


def version_text() -> str:
    """Name, version, and which kernel runs."""
    import casync_py
    from casync_py.native import KERNEL

    return f"{PROGRAM} {casync_py.__version__} ({KERNEL} kernel)"
