"""The server verbs' own part: what is refused before a session, and what a session is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from casync_py.cli import main
from casync_py.testing.ssh import write_script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("pull", "takes BASE"),
        ("pull - - i", "takes BASE"),
        ("push - - - -", "Neither"),
        ("pull --peer=2 - - i s", "Unknown dialect"),
        ("serve-stdio", "--root=DIR"),
        ("serve-stdio x", "takes no arguments"),
        ("serve-stdio --root=.", "SSH_ORIGINAL_COMMAND"),
        ("list --timeout=x", "--timeout"),
        ("list --timeout=-1", "--timeout"),
        ("list --timeout=nan", "--timeout"),
    ],
)
def test_wrong_usage(refused: Refused, monkeypatch: pytest.MonkeyPatch, line: str, says: str) -> None:
    monkeypatch.delenv("SSH_ORIGINAL_COMMAND", raising=False)
    refused(*line.split(), says=says)


@pytest.mark.parametrize(
    ("options", "asked", "says"),
    [
        ([], "rm -rf /", "Only pull and push"),
        (["--read-only"], "casync push - - b.caibx s.castr", "Only pull"),
        ([], "casync pull - - ../b.caibx -", "'..'"),
        ([], "casync pull - /etc/passwd - -", "Not below"),
        ([], "casync push - - link/b.caibx -", "Not below"),
        ([], "casync push - - absent/b.caibx -", "absent/b.caibx: No such file"),
    ],
)
def test_what_a_forced_command_refuses(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], asked: str, says: str
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", asked)
    refused("serve-stdio", f"--root={tmp_path}/root", *options, says=says)


def test_a_root_that_is_absent(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "casync pull - - i s")
    refused("serve-stdio", f"--root={tmp_path}/absent", says="absent: No such file")


@pytest.mark.parametrize(
    ("options", "expected"),
    [([], "unset unset"), (["-v"], "1 unset"), (["-l", "err"], "unset 3"), (["-v", "--log-level=7"], "1 7")],
)
def test_the_environment_of_what_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], expected: str
) -> None:
    """As casync does it; whatever was there before does not count, and is put back."""
    seen = tmp_path / "seen"
    text = f'#!/bin/sh\necho "${{CASYNC_VERBOSE:-unset}} ${{CASYNC_LOG_LEVEL:-unset}}" >"{seen}"\n'
    monkeypatch.setenv("CASYNC_SSH_PATH", str(write_script(tmp_path / "ssh", text)))
    monkeypatch.setenv("CASYNC_VERBOSE", "no")
    monkeypatch.delenv("CASYNC_LOG_LEVEL", raising=False)
    assert main([*options, "list", "h:x.caidx"]) == 1
    assert seen.read_text() == f"{expected}\n"
    assert main(["-v", "list", str(tmp_path)]) == 0
    assert main(["list", "h:x.caidx"]) == 1
    assert seen.read_text() == "unset unset\n"
