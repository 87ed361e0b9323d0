"""What a forced command makes of what clients send."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casync_py.errors import UsageError
from casync_py.remotes.ssh.address import Address
from casync_py.remotes.ssh.command import Served, peer_command
from casync_py.remotes.ssh.forced import parse_forced, parse_served

HOST = Address(None, "host", None)


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("casync pull - - /d/b.caibx /d/s.castr", (Served("pull", None, "/d/b.caibx", ("/d/s.castr",)), False)),
        ("/usr/bin/casync push - a.catar - -", (Served("push", "a.catar", None, ()), False)),
        ("casync --log-level=7 --rate-limit-bps=5 pull - - - s", (Served("pull", None, None, ("s",)), False)),
        ("casync-py pull --peer=1 - - i s t", (Served("pull", None, "i", ("s", "t")), True)),
    ],
)
def test_command_lines(line: str, asked: tuple[Served, bool]) -> None:
    assert parse_forced(line) == asked


PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1).filter(
    lambda path: not path.startswith("-")
)


@given(PATHS, PATHS, PATHS, st.sampled_from(["pull", "push"]))
def test_what_our_client_sends(archive: str, index: str, store: str, verb: str) -> None:
    served = Served(verb, archive, index, (store, store))
    for environ, ours in (
        ({}, True),
        ({"CASYNC_REMOTE_PATH": "casync-py"}, True),
        ({"CASYNC_REMOTE_PATH": "casync"}, False),
    ):
        line = " ".join(peer_command(HOST, served, environ).argv[2:])
        assert parse_forced(line) == (served, ours)


def test_a_store_alone_is_asked_for_by_name() -> None:
    for environ in ({}, {"CASYNC_REMOTE_PATH": "casync"}):
        line = " ".join(peer_command(HOST, Served("push", stores=("s",)), environ).argv[2:])
        assert parse_forced(line) == (Served("push", None, None, ("s",)), True)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "bash",
        "sh -c 'rm -rf /'",
        "sh -c 'id' sh pull - - i s",
        "casync",
        "casync make - - i s",
        "casync list i",
        "casync --with=x pull - - i s",
        "casync --peer=1 pull - - i s",
        "env casync pull - - i s",
        "casync; pull - - i s",
        "casync pull 'unbalanced",
        "casync pull - - -",
        "casync pull - - - -",
        "scp -t /",
    ],
)
def test_everything_else_is_refused(line: str) -> None:
    with pytest.raises(UsageError):
        parse_forced(line)


@given(st.text())
def test_nothing_else_can_happen(line: str) -> None:
    with contextlib.suppress(UsageError):
        parse_forced(line)


def test_an_extra_store_is_no_archive() -> None:
    assert parse_served("pull", ["-", "-", "i", "-", "t"]) == Served("pull", None, "i", ("t",))
