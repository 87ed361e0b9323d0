"""Command lines as getopt_long reads them: what comes out for each form, and in which words mistakes are told."""

from __future__ import annotations

import pytest

from casync_py.cli.casync_argv import Given, tokens
from casync_py.cli.option_table import CASYNC_OPTIONS, OPTIONS, OUR_OPTIONS
from casync_py.errors import UsageError


def read(line: str, permute: bool = True) -> list[str]:
    """Tokens of a command line: `name` or `name=value` for options, `'argument'` for arguments."""
    shown = []
    for token in tokens(line.split(), permute):
        if isinstance(token, Given):
            shown.append(token.option.name + (f"={token.value}" if token.option.metavar else ""))
        else:
            shown.append(f"'{token}'")
    return shown


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("list d", ["'list'", "'d'"]),
        ("--store=s list d", ["store=s", "'list'", "'d'"]),
        ("list --store s d", ["'list'", "store=s", "'d'"]),
        ("list d --store s", ["'list'", "'d'", "store=s"]),
        ("--store -v list", ["store=-v", "'list'"]),
        ("--store -- list", ["store=--", "'list'"]),
        ("--store= list", ["store=", "'list'"]),
        ("--store==a list", ["store==a", "'list'"]),
        ("--comp=xz", ["compression=xz"]),
        ("--co xz", ["compression=xz"]),
        ("--see=d", None),
        ("--seed=d", ["seed=d"]),
        ("--seed-=no", ["seed-output=no"]),
        ("--cache=c", ["cache=c"]),
        ("--cache-", ["cache-auto"]),
        ("--vers", ["version"]),
        ("-v", ["verbose"]),
        ("-vnc", ["verbose", "dry-run", "cache-auto"]),
        ("-lerr", ["log-level=err"]),
        ("-l err", ["log-level=err"]),
        ("-vl err x", ["verbose", "log-level=err", "'x'"]),
        ("-vlnc", ["verbose", "log-level=nc"]),
        ("-l -v", ["log-level=-v"]),
        ("make - -", ["'make'", "'-'", "'-'"]),
        ("list -- -v --store=s", ["'list'", "'-v'", "'--store=s'"]),
        ("-v -- list -- -v", ["verbose", "'list'", "'--'", "'-v'"]),
        ("--js", ["json"]),
        ("--mem 1G", ["memory=1G"]),
        ("--sync=yes", ["sync=yes"]),
        ("--m yes", ["mkdir=yes"]),
    ],
)
def test_reads(line: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match="ambiguous"):
            read(line)
    else:
        assert read(line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--bogus", "Unrecognized option '--bogus'"),
        ("--bogus=1", "Unrecognized option '--bogus=1'"),
        ("---help", "Unrecognized option '---help'"),
        ("-x", "Invalid option -- 'x'"),
        ("-vx", "Invalid option -- 'x'"),
        ("-v-", "Invalid option -- '-'"),
        ("--verbose=yes", "Option '--verbose' doesn't allow an argument"),
        ("--verb=", "Option '--verbose' doesn't allow an argument"),
        ("list --store", "Option '--store' requires an argument"),
        ("list --sto", "Option '--store' requires an argument"),
        ("list -l", "Option requires an argument -- 'l'"),
        ("list -vl", "Option requires an argument -- 'l'"),
        ("--ver", "Option '--ver' is ambiguous; possibilities: '--version' '--verbose'"),
        ("--cach=x", "Option '--cach=x' is ambiguous; possibilities: '--cache' '--cache-auto'"),
        ("--s=1", "Option '--s=1' is ambiguous; possibilities: '--store' '--seed' '--seed-output'"),
        ("--j", "Option '--j' is ambiguous; possibilities: '--json' '--jobs'"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line)
    assert str(caught.value) == message


def test_what_precedes_a_mistake_is_given_out() -> None:
    found = tokens(["list", "--help", "--bogus"])
    assert next(found) == "list"
    assert next(found) == Given(OPTIONS["help"], "")
    with pytest.raises(UsageError):
        next(found)


def test_without_permutation_options_end_at_the_first_argument() -> None:
    assert read("-v list -v --bogus", permute=False) == ["verbose", "'list'", "'-v'", "'--bogus'"]


def test_an_empty_word_is_an_argument() -> None:
    assert list(tokens(["list", ""])) == ["list", ""]


@pytest.mark.parametrize("option", CASYNC_OPTIONS, ids=lambda option: option.name)
def test_our_options_leave_casyncs_abbreviations_alone(option: object) -> None:
    """Whatever prefix means one option of casync's alone, means it here too."""
    name = option.name  # type: ignore[attr-defined]
    for length in range(1, len(name) + 1):
        prefix = name[:length]
        possible = [other.name for other in CASYNC_OPTIONS if other.name.startswith(prefix)]
        if possible == [name] and prefix not in {ours.name for ours in OUR_OPTIONS}:
            [found] = tokens([f"--{prefix}", "value"][: 1 + bool(OPTIONS[name].metavar)])
            assert isinstance(found, Given)
            assert found.option.name == name
