"""The typer application: what reads the normal form of a command line, renders help, and completes in shells.

A verb's command is made when it is asked for, from the verb's own description and the table of options. Commands
hand their values back instead of doing the work, which `start` does outside of typer.
"""

from __future__ import annotations

import importlib
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from casync_py.cli.console import PROGRAM
from casync_py.cli.explain import value_names
from casync_py.cli.option_table import OPTIONS, Option
from casync_py.cli.unavailable import LATER_OPTIONS
from casync_py.cli.values import BOOLEAN
from casync_py.cli.verb_table import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casync_py.cli.session import Verb

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_ABOUT = """
Content-addressed sync of directory trees and disk images.

Files and trees are cut into chunks, a store keeps each chunk once, and an index lists them: what did not change is
neither stored nor moved again. Formats, options and output are those of casync.

\b
First steps:
  casync-py make docs.caidx /usr/share/doc     chunks go to ./default.castr
  casync-py list docs.caidx                    what is in it
  casync-py extract docs.caidx restored        the tree again
  casync-py make --help                        a verb with its options
"""


def load_verb(name: str) -> Verb:
    """Import a verb's module, which imports what the verb needs when it runs."""
    module = importlib.import_module(f"casync_py.cli.{VERBS[name].module}")
    return cast("Verb", module.VERBS[name])


class VerbGroup(TyperGroup):
    """The top command, which makes a verb's command only when somebody asks for that verb."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return verb_command(cmd_name, load_verb(cmd_name)) if cmd_name in VERBS else None


def read_values(words: Sequence[str]) -> dict[str, Any]:
    """Read a command line in normal form; values by the option's `key`, arguments by their name in lower case."""
    values: dict[str, Any] = _application().main(list(words), prog_name=PROGRAM, standalone_mode=False)
    return values


def show_help(verb: str | None) -> None:
    """Print the help of a verb, or of the whole command."""
    _application().main([*([verb] if verb else []), "--help"], prog_name=PROGRAM, standalone_mode=False)


def complete(words: Sequence[str]) -> int:
    """Answer a shell that wants completions, or install or show its completion script; returns the exit status."""
    try:
        _application().main(list(words), prog_name=PROGRAM)
    except SystemExit as error:
        return 1 if error.code else 0
    return 0


def _application() -> Any:
    app = typer.Typer(
        cls=VerbGroup,
        context_settings=_CONTEXT,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        no_args_is_help=True,
        subcommand_metavar="VERB ...",
        options_metavar="",
    )
    app.callback(help=_joined(_ABOUT))(_version_option)
    return typer.main.get_command(app)


def _version_option(
    version: Annotated[bool, typer.Option("--version", help="Show the version and which kernel runs.")] = False,
) -> None:
    """Only shown in help: `start` answers --version before typer is imported."""


def verb_command(name: str, verb: Verb) -> Any:
    """The command of one verb: its arguments, and the options that mean something to it."""

    def values(**given: Any) -> dict[str, Any]:
        return given

    parameters = [_argument(argument, verb) for argument in VERBS[name].arguments]
    parameters += [_option(option) for option in OPTIONS.values() if name in option.verbs]
    values.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # what inspect.signature looks at
    values.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    examples = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in verb.examples)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(
        name,
        help=_joined(verb.text) + "\n\n" + examples,
        short_help=verb.summary,
        context_settings=_CONTEXT,
    )(values)
    return typer.main.get_command(app)


def _argument(name: str, verb: Verb) -> Parameter:
    info = typer.Argument(metavar=name, help=verb.arguments[name], show_default=False)
    return _parameter(name.lower(), str | None, info, None)


def _option(option: Option) -> Parameter:
    names = [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]
    completion = _completion(option)
    info = typer.Option(
        *names,
        help=option.help,
        metavar=option.metavar or None,
        rich_help_panel=option.panel,
        show_default=option.default or False,
        hidden=option.name in LATER_OPTIONS,
        autocompletion=completion,
    )
    if not option.metavar:
        return _parameter(option.key, bool, info, False)
    if option.repeatable:
        return _parameter(option.key, list[str] | None, info, None)
    return _parameter(option.key, str | None, info, None)


def _completion(option: Option) -> Callable[[str], list[tuple[str, str]]] | None:
    choices = [(word, "") for word in ("yes", "no")] if option.metavar == BOOLEAN else value_names(option.name)
    if not choices:
        return None

    def complete_value(incomplete: str) -> list[tuple[str, str]]:
        return [choice for choice in choices if choice[0].startswith(incomplete)]

    return complete_value


def _parameter(name: str, kind: Any, info: Any, default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _joined(text: str) -> str:
    r"""Paragraphs on one line each, for the terminal's width to wrap; one that begins with `\b` keeps its lines."""
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(part if part.startswith("\b") else part.replace("\n", " ") for part in paragraphs)
