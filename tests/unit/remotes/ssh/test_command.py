"""The command lines that start a peer, read and run as a remote shell would."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from casync_py.errors import UsageError
from casync_py.remotes.ssh.address import Address
from casync_py.remotes.ssh.command import PeerCommand, Served, peer_command

HOST = Address("user", "host", None)
PULL = Served("pull", index="/d/b.caibx", stores=("/d/default.castr",))


def remote_words(command: PeerCommand, before: int = 2) -> list[str]:
    """The words after ssh, its options and the host, as a shell reads them."""
    return shlex.split(" ".join(command.argv[before:]))


def test_the_form_of_casync() -> None:
    command = peer_command(HOST, PULL, {"CASYNC_REMOTE_PATH": "/opt/casync"})
    words = ["pull", "-", "-", "/d/b.caibx", "/d/default.castr"]
    assert command == PeerCommand(["ssh", "user@host", "/opt/casync", *words], False, False)


def test_options_of_ssh() -> None:
    environ = {"CASYNC_SSH_PATH": "/opt/my ssh", "CASYNC_REMOTE_PATH": "casync"}
    command = peer_command(Address(None, "::1", 22), Served("push", archive="a.catar"), environ)
    assert command.argv == ["/opt/my ssh", "-p", "22", "::1", "casync", "push", "-", "a.catar", "-", "-"]


@pytest.mark.parametrize("program", ["/opt/casync-py", "sudo -u x casync-py", "python3 -m casync_py"])
def test_casync_py_by_its_name_is_told(program: str) -> None:
    command = peer_command(HOST, PULL, {"CASYNC_REMOTE_PATH": program})
    expected = [*program.split(), "pull", "--peer=1", "-", "-", "/d/b.caibx", "/d/default.castr"]
    assert (remote_words(command), command.ours) == (expected, True)


def test_who_may_be_of_ours() -> None:
    """A forced command may answer a script with casync-py, whatever the script would run."""
    alone = Served("push", stores=("s",))
    found = peer_command(HOST, PULL, {})
    assert (found.ours, found.looked_for) == (True, True)
    named = peer_command(HOST, alone, {"CASYNC_REMOTE_PATH": "casync"})
    assert (named.ours, named.looked_for) == (True, False)
    assert remote_words(named)[-6:] == ["push", "--peer=1", "-", "-", "-", "s"]


@pytest.mark.parametrize("path", ["-x", "-", "--peer=1", "a b", "$(id)", "it's", "!\\'"])
def test_a_path_stays_a_path(path: str) -> None:
    served = Served("pull", path, path, (path, path))
    safe = f"./{path}" if path.startswith("-") else path
    for environ in ({}, {"CASYNC_REMOTE_PATH": "casync"}):
        assert remote_words(peer_command(HOST, served, environ))[-5:] == ["-", safe, safe, safe, safe]


def test_what_cannot_travel_is_refused() -> None:
    with pytest.raises(UsageError, match="line break"):
        peer_command(HOST, Served("pull", index="a\nb"), {})
    with pytest.raises(UsageError, match="CASYNC_REMOTE_PATH"):
        peer_command(HOST, PULL, {"CASYNC_REMOTE_PATH": "'"})


def program(folder: Path, name: str) -> None:
    """A program that writes down how it was called, and whether the directory of its index is there."""
    body = f'printf "%s|" {name} "$@" >"{folder}/called"; [ "$4" = - ] || [ -d "${{4%/*}}" ] && touch "{folder}/there"'
    (folder / name).write_text(f"#!/bin/sh\n{body}\nexit 3\n")
    (folder / name).chmod(0o755)


def run(tmp_path: Path, served: Served, environ: dict[str, str], *names: str) -> tuple[list[str], str]:
    for name in names:
        program(tmp_path, name)
    command = peer_command(HOST, served, environ)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    if "casync" not in names:
        env["PATH"] = f"{tmp_path}:{_tools(tmp_path)}"
    line = " ".join(command.argv[2:])
    done = subprocess.run(["/bin/sh", "-c", line], env=env, capture_output=True, text=True)
    called = tmp_path / "called"
    return (called.read_text().split("|")[:-1] if called.exists() else [str(done.returncode)]), done.stderr


def _tools(tmp_path: Path) -> Path:
    """A directory with `sh` alone, for a machine that has no casync."""
    folder = tmp_path / "tools"
    folder.mkdir()
    os.symlink("/bin/sh", folder / "sh")
    return folder


def test_casync_py_is_preferred(tmp_path: Path) -> None:
    called, _ = run(tmp_path, PULL, {}, "casync", "casync-py")
    assert called == ["casync-py", "pull", "--peer=1", "-", "-", "/d/b.caibx", "/d/default.castr"]


def test_casync_is_used_where_there_is_nothing_else(tmp_path: Path) -> None:
    called, _ = run(tmp_path, PULL, {}, "casync")
    assert called == ["casync", "pull", "-", "-", "/d/b.caibx", "/d/default.castr"]


def test_neither(tmp_path: Path) -> None:
    called, said = run(tmp_path, PULL, {})
    assert (called, said) == (["127"], "Neither casync-py nor casync is installed on this machine\n")


@pytest.mark.parametrize("environ", [{}, {"CASYNC_REMOTE_PATH": "casync"}], ids=["found", "named"])
def test_a_store_alone_is_pushed_to_casync_with_a_throw_away_index(tmp_path: Path, environ: dict[str, str]) -> None:
    called, _ = run(tmp_path, Served("push", stores=("a b.castr",)), environ, "casync")
    assert called[:4] == ["casync", "push", "-", "-"]
    assert called[5:] == ["a b.castr"]
    assert (tmp_path / "there").exists()
    assert called[4].startswith(str(tmp_path))
    assert not Path(called[4]).parent.exists()


def test_an_index_alone_is_pushed_as_it_is(tmp_path: Path) -> None:
    called, _ = run(tmp_path, Served("push", index="b.caibx"), {}, "casync")
    assert called == ["casync", "push", "-", "-", "b.caibx", "-"]
