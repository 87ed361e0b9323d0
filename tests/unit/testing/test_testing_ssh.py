"""The ways to a remote end that other tests use do what ssh does, and bytes pass through them unchanged."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.ssh import relayed
from casync_py.testing.transcripts import TO_CLIENT, TO_SERVER, read_transcript

if TYPE_CHECKING:
    from pathlib import Path

    from casync_py.testing.ssh import Sshd

DATA = bytes(range(256)) * 2000


@pytest.fixture(params=["stand-in", pytest.param("sshd", marks=pytest.mark.peer("sshd"))])
def ssh(request: pytest.FixtureRequest) -> Path:
    if request.param == "sshd":
        server: Sshd = request.getfixturevalue("sshd")
        return server.ssh
    stand_in: Path = request.getfixturevalue("stand_in")
    return stand_in


def run(ssh: Path, *words: str, data: bytes = b"", path: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})}
    return subprocess.run([ssh, *words], input=data, capture_output=True, env=environment)


def test_words_are_joined_for_a_shell(ssh: Path) -> None:
    assert run(ssh, "a.host", "printf '<%s>'", "'a b'", "c d; echo $((1 + 1))").stdout == b"<a b><c><d>2\n"
    assert run(ssh, "-T", "-o", "LogLevel=ERROR", "--", "host", "echo", "yes").stdout == b"yes\n"
    assert run(ssh, "host", "exit 3").returncode == 3
    assert run(ssh, "host", "cat", data=DATA).stdout == DATA
    assert run(ssh, "host", "pwd").stdout.decode().strip() == os.path.expanduser("~")


def test_the_remote_end_finds_this_casync_py(ssh: Path, far_programs: Path) -> None:
    assert run(ssh, "host", "command -v casync-py", path=far_programs).stdout.decode().strip() == str(
        far_programs / "casync-py"
    )
    assert run(ssh, "host", "casync-py", "--version", path=far_programs).stdout.startswith(b"casync-py")


@pytest.mark.peer("sshd")
def test_a_forced_command(sshd: Sshd) -> None:
    forced = sshd.admit("forced", 'restrict,command="echo $SSH_ORIGINAL_COMMAND"')
    assert run(forced, "host", "rm", "-r", "x").stdout == b"rm -r x\n"
    assert run(sshd.ssh, "host", "echo", "free").stdout == b"free\n"


def test_a_relay_hands_on_everything_and_records_it(tmp_path: Path, stand_in: Path, relay: Path) -> None:
    record = tmp_path / "record"
    ssh = relayed(tmp_path / "ssh", stand_in, relay, [f"--record={record}", "--delay-ms=5"])
    result = run(ssh, "host", "cat; echo end; exit 7", data=DATA)
    assert (result.returncode, result.stdout) == (7, DATA + b"end\n")
    transcript = read_transcript(record)
    assert transcript.command == [str(stand_in), "host", "cat; echo end; exit 7"]
    assert transcript.sent(TO_SERVER) == DATA
    assert transcript.sent(TO_CLIENT) == DATA + b"end\n"


def test_a_relay_that_is_cut_off_dies(tmp_path: Path, stand_in: Path, relay: Path) -> None:
    record = tmp_path / "record"
    ssh = relayed(tmp_path / "ssh", stand_in, relay, [f"--record={record}", "--cut-after=100"])
    result = run(ssh, "host", "exec cat /dev/zero")
    assert result.returncode == -9
    assert len(read_transcript(record).sent(TO_CLIENT)) >= 100


def test_a_relay_ends_when_its_reader_leaves(tmp_path: Path, stand_in: Path, relay: Path) -> None:
    ssh = relayed(tmp_path / "ssh", stand_in, relay, [])
    with subprocess.Popen(
        [ssh, "host", "exec cat /dev/zero"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(10) == 128 + 13  # the command got SIGPIPE
