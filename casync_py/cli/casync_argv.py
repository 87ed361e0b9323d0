"""casync's command line as GNU getopt_long reads it: argv -> options under their full names, and arguments.

Options may stand before, between and after the arguments; long ones may be abbreviated as far as casync's own table
tells them apart; a value follows after `=` or as the next word, whatever that is; `--` ends the options. Source:
getopt_long(3); wording and precedence compared with the real casync in tests/interop/test_cli_argv.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from casync_py.cli.option_table import CASYNC_OPTIONS, OPTIONS, OUR_OPTIONS, SHORT_OPTIONS, Option
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_END = "--"


class Given(NamedTuple):
    """An option as given; `value` is empty for one that takes none."""

    option: Option
    value: str


def tokens(argv: Sequence[str], permute: bool = True) -> Iterator[Given | str]:
    """The options and arguments of a command line, in their order.

    Args:
        argv: without the program's name.
        permute: False ends the options at the first argument, as `$POSIXLY_CORRECT` asks for.

    Raises:
        UsageError: at the first word that is no option of ours, is ambiguous, or lacks its value; what came before has
            been given out by then, so that `--help` in front of a mistake is still answered.
    """
    words = iter(argv)
    for word in words:
        if word == _END:
            yield from words
        elif word.startswith("--"):
            yield _long_option(word, words)
        elif word.startswith("-") and word != "-":
            yield from _short_options(word, words)
        else:
            yield word
            if not permute:
                yield from words


def _long_option(word: str, words: Iterator[str]) -> Given:
    name, equals, value = word[2:].partition("=")
    option = _find(name, word)
    if not option.metavar:
        if equals:
            raise UsageError(f"Option '--{option.name}' doesn't allow an argument")
        return Given(option, "")
    if equals:
        return Given(option, value)
    for following in words:
        return Given(option, following)
    raise UsageError(f"Option '--{option.name}' requires an argument")


def _find(name: str, word: str) -> Option:
    exact = OPTIONS.get(name)
    if exact is not None:
        return exact
    # casync's table is asked first, so that an option of ours never makes one of its abbreviations ambiguous.
    for table in (CASYNC_OPTIONS, OUR_OPTIONS):
        found = [option for option in table if option.name.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            possible = " ".join(f"'--{option.name}'" for option in found)
            raise UsageError(f"Option '{word}' is ambiguous; possibilities: {possible}")
    raise UsageError(f"Unrecognized option '{word}'")


def _short_options(word: str, words: Iterator[str]) -> Iterator[Given]:
    for place, letter in enumerate(word[1:], 2):
        option = SHORT_OPTIONS.get(letter)
        if option is None:
            raise UsageError(f"Invalid option -- '{letter}'")
        if not option.metavar:
            yield Given(option, "")
            continue
        value = word[place:] or next(words, None)
        if value is None:
            raise UsageError(f"Option requires an argument -- '{letter}'")
        yield Given(option, value)
        return
