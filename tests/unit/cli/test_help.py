"""Help, version, lists of values and shell completion."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

import casync_py
from casync_py.cli import main
from casync_py.cli.casync_argv import Given, tokens
from casync_py.cli.explain import explanation
from casync_py.cli.option_table import CASYNC_OPTIONS, OPTIONS, PANELS
from casync_py.cli.unavailable import LATER_OPTIONS, LATER_VERBS
from casync_py.cli.values import KINDS, check
from casync_py.cli.verb_table import VERBS, load_verb
from casync_py.compression import COMPRESSORS
from casync_py.digest import DIGESTS
from casync_py.format.flags import COMPOSITES, NAMES
from casync_py.native import KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    Help = Callable[..., str]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    """Standard output of a command line that succeeds, in a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> str:
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


def test_version(answer: Help) -> None:
    assert answer("--version") == f"casync-py {casync_py.__version__} ({KERNEL} kernel)\n"


def test_the_verbs_are_listed(answer: Help) -> None:
    text = answer("--help")
    for verb in VERBS:
        assert re.search(rf"\b{verb} +{re.escape(load_verb(verb).summary)}", text)
    listed, _, later = text.partition("come with a later version")[0].partition("casync's verbs")
    for verb in LATER_VERBS:
        assert verb in later
        assert not re.search(rf"\b{verb}\b", listed)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_options_are_explained(answer: Help, verb: str) -> None:
    text = answer(verb, "--help")
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--help"}
    meant = {
        f"--{name}"
        for name, option in OPTIONS.items()
        if verb in option.verbs and name not in LATER_OPTIONS and not option.hidden
    }
    assert shown == meant
    assert answer("help", verb) == answer("-h", verb) == text


@pytest.mark.parametrize("verb", VERBS)
def test_arguments_are_explained_and_examples_can_be_read(verb: str) -> None:
    described = load_verb(verb)
    assert tuple(described.arguments) == VERBS[verb].arguments
    for example in described.examples:
        program, *words = shlex.split(example)
        assert program == "casync-py"
        found = list(tokens(words))
        arguments = [token for token in found if isinstance(token, str)]
        assert arguments[0] == verb
        assert len(arguments) - 1 <= len(VERBS[verb].arguments) or VERBS[verb].repeats
        for token in found:
            if isinstance(token, Given):
                check(token)
                assert verb in token.option.verbs


def test_lists_of_values_are_complete() -> None:
    def names(option: str) -> set[str]:
        return {line.split()[0] for line in (explanation(option) or "").splitlines() if "  " in line}

    assert names("what") == set(KINDS)
    assert names("with") == names("without") == {*NAMES, *COMPOSITES}
    assert names("digest") == set(DIGESTS)
    assert names("compression") == {*COMPRESSORS, "none"}
    assert explanation("store") is None


def test_values_are_listed_in_casyncs_words(answer: Help) -> None:
    assert answer("--with=help").splitlines()[:2] == [
        "Supported --with= and --without= flags:",
        "16bit-uids        numeric owners, 16 bits",
    ]
    assert answer("--wha", "help").startswith("Allowed --what= selectors:\narchive ")
    assert answer("--digest=help").startswith("Allowed --digest= algorithms:\n")


def test_every_option_has_its_place() -> None:
    for option in OPTIONS.values():
        assert option.panel in PANELS
        assert option.help or option.name in {"help", "version"}
        assert not option.help or option.help.endswith(".")
        assert option.verbs or option.name in {"help", "version"}
    assert set(LATER_OPTIONS) <= {option.name for option in CASYNC_OPTIONS}
    assert not set(LATER_VERBS) & set(VERBS)


def complete(words: str, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("_CASYNC_PY_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(shlex.split(words.removesuffix(" "))) - (not words.endswith(" "))))
    assert main([]) == 0
    return capsys.readouterr().out.split()


def test_completion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def found(words: str) -> list[str]:
        return complete(words, "bash", monkeypatch, capsys)

    assert found("casync-py ") == list(VERBS)
    assert found("casync-py m") == ["make", "mtree"]
    assert found("casync-py make --comp") == ["--compression"]
    assert found("casync-py make --compression z") == ["zstd"]
    assert found("casync-py extract --delete ") == ["yes", "no"]
    assert found("casync-py list --what archive") == ["archive", "archive-index"]
    assert found("casync-py make --see") == []


def test_the_completion_script_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert main(["--show-completion", "bash"]) == 0
    assert "_CASYNC_PY_COMPLETE=complete_bash" in capsys.readouterr().out
