"""The typer application: it renders help and completes in shells.

A verb's command is made when it is asked for, from the verb's own description and the table of options. Running a
verb does not pass through typer: casync's grammar is read before (`casync_argv`), typer's pydantic refuses file names
that are no UTF-8, and importing both takes longer than most runs.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from casync_py.cli.console import PROGRAM
from casync_py.cli.explain import value_names
from casync_py.cli.option_table import OPTIONS, PANELS, Option
from casync_py.cli.unavailable import LATER_OPTIONS, LATER_VERBS
from casync_py.cli.values import BOOLEAN
from casync_py.cli.verb_table import VERBS, load_verb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casync_py.cli.session import Verb

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_KEPT = "\b"  # begins a paragraph that keeps its lines
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
_MORE = f"""
Options may stand before or after the verb and be shortened, as casync takes them; {PROGRAM} VERB --help explains those
of a verb. casync's verbs {", ".join(LATER_VERBS[:-1])} and {LATER_VERBS[-1]} come with a later version.
"""


class VerbGroup(TyperGroup):
    """The top command, which makes a verb's command only when somebody asks for that verb."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return verb_command(cmd_name, load_verb(cmd_name)) if cmd_name in VERBS else None


def show_help(verb: str | None) -> None:
    """Print the help of a verb, or of the whole command.

    Raises:
        BrokenPipeError: the reader has gone.
    """
    words = [verb, "--help"] if verb else ["--help"]
    try:
        _application().main(words, prog_name=PROGRAM, standalone_mode=False)
    except SystemExit:  # what typer makes of a closed pipe
        raise BrokenPipeError from None


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
        subcommand_metavar="VERB [ARGUMENTS]",
        options_metavar="[OPTIONS]",
        epilog=_joined(_MORE),
    )
    app.callback(help=_joined(_ABOUT))(_version_option)
    return typer.main.get_command(app)


def _version_option(
    version: Annotated[bool, typer.Option("--version", help="Show the version and which kernel runs.")] = False,
) -> None:
    """Only shown in help: `start` answers --version before typer is imported."""


def verb_command(name: str, verb: Verb) -> Any:
    """The command of one verb: its arguments, and the options that mean something to it."""

    def described() -> None:
        """Gives typer a signature to look at; never called."""

    options = sorted((option for option in OPTIONS.values() if name in option.verbs), key=_panel)
    row = VERBS[name]
    arguments = [_argument(each, verb, row.repeats and each == row.arguments[-1]) for each in row.arguments]
    parameters = [*arguments, *map(_option, options)]
    described.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # what inspect.signature looks at
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    examples = f"{_KEPT}\nExamples:\n" + "\n".join(f"  {example}" for example in verb.examples)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(
        name,
        help=_joined(verb.text) + "\n\n" + examples,
        short_help=verb.summary,
        rich_help_panel="Verbs",
        context_settings=_CONTEXT,
    )(described)
    return typer.main.get_command(app)


def _argument(name: str, verb: Verb, repeats: bool) -> Parameter:
    info = typer.Argument(metavar=f"{name}..." if repeats else name, help=verb.arguments[name], show_default=False)
    return _parameter(name.lower(), list[Path] | None if repeats else Path | None, info, None)


def _panel(option: Option) -> int:
    return PANELS.index(option.panel)


def _option(option: Option) -> Parameter:
    names = [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]
    completion = _completion(option)
    info = typer.Option(
        *names,
        help=f"{option.help} Default: {option.default}." if option.default else option.help,
        metavar=option.metavar,
        rich_help_panel=option.panel,
        show_default=False,
        hidden=option.hidden or option.name in LATER_OPTIONS,
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
    return "\n\n".join(part if part.startswith(_KEPT) else part.replace("\n", " ") for part in paragraphs)
