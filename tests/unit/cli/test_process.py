"""The command as a process: signals, pipes, full disks, closed descriptors, terminals, what is imported."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from casync_py.api import list_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "casync_py"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("process")
    (folder / "d").mkdir()
    for number in range(2000):
        (folder / "d" / f"{number:04}-{'x' * 60}").touch()
    (folder / "one").mkdir()
    (folder / "one" / "file").write_text("content")
    return folder


def run(*words: str | bytes, cwd: Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*COMMAND, *words], cwd=cwd, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def blocked(tree: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run in the middle of its work: its listing fills a pipe that nobody reads."""
    process = subprocess.Popen(
        [*COMMAND, "list", "d"],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The tests may run under nohup
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None
    select.select([process.stdout], [], [], 30)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_run(blocked: subprocess.Popen[bytes], number: int) -> None:
    blocked.send_signal(number)
    _, err = blocked.communicate(timeout=30)
    assert (blocked.returncode, err) == (1, b"casync-py: Interrupted\n")


def test_nothing_is_left_of_an_interrupted_make(tree: Path, tmp_path: Path) -> None:
    """The names of 2,000 files fill the pipe of standard error, so that the signal comes in the middle."""
    command = [*COMMAND, "make", "-v", "--chunk-size=1K", str(tmp_path / "t.caidx"), "d"]
    with subprocess.Popen(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        select.select([process.stderr], [], [], 30)
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, b"")
    assert err.endswith(b"casync-py: Interrupted\n")
    assert set(os.listdir(tmp_path)) <= {"default.castr"}
    for _, folders, names in os.walk(tmp_path / "default.castr"):
        assert all(re.fullmatch("[0-9a-f]{4}", name) for name in folders)
        assert all(re.fullmatch(r"[0-9a-f]{64}\.cacnk", name) for name in names)


def test_a_signal_that_is_ignored_stays_ignored(tree: Path) -> None:
    """As under nohup."""

    command = ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", *COMMAND, "list", "d"]
    with subprocess.Popen(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        select.select([process.stdout], [], [], 30)
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, len(out.splitlines()), err) == (0, 2001, b"")


def test_a_reader_that_goes_away_is_no_message(blocked: subprocess.Popen[bytes]) -> None:
    assert blocked.stdout is not None
    assert blocked.stdout.readline() == b"drwxr-xr-x .\n"
    blocked.stdout.close()
    blocked.stdout = None
    _, err = blocked.communicate(timeout=30)
    assert (blocked.returncode, err) == (1, b"")


@pytest.mark.parametrize(
    "words", [["list", "d"], ["list", "one"], ["--help"], ["--version"], ["--with=help"], ["digest"]]
)
def test_a_full_disk_is_an_error(tree: Path, words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = run(*words, cwd=tree, stdout=full)
    assert (done.returncode, done.stderr) == (1, b"casync-py: standard output: No space left on device\n")


@pytest.mark.parametrize(("closing", "status"), [("<&-", 0), (">&-", 1), ("2>&-", 0), ("<&- >&- 2>&-", 1)])
def test_closed_descriptors_are_not_taken_for_files(tree: Path, tmp_path: Path, closing: str, status: int) -> None:
    """Without care, an index or a chunk would be opened as a standard descriptor, and get messages into it."""
    index = tmp_path / "closed.caidx"
    script = (
        "import os, sys; from casync_py.cli import main; status = main(sys.argv[1:]); "
        "new = os.open('new', os.O_CREAT | os.O_WRONLY); os.write(new, str(new).encode()); raise SystemExit(status)"
    )
    words = [sys.executable, "-c", script, "make", str(index), str(tree / "one")]
    done = subprocess.run(["bash", "-c", f'"$@" {closing}', "bash", *words], cwd=tmp_path, capture_output=True)
    assert done.returncode == status
    assert int((tmp_path / "new").read_text()) > 2
    assert list(list_tree(str(index))) == [b"drwxr-xr-x .\n", b"-rw-r--r-- file\n"]


def test_a_service_manager_is_told(tree: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(10)
        done = run("list", "one", cwd=tree, env={**os.environ, "NOTIFY_SOCKET": address})
        assert done.returncode == 0
        assert manager.recv(100) == b"READY=1"
        manager.setblocking(False)
        run("--version", cwd=tree, env={**os.environ, "NOTIFY_SOCKET": address})
        with pytest.raises(BlockingIOError):
            manager.recv(100)
    gone = run("list", "one", cwd=tree, env={**os.environ, "NOTIFY_SOCKET": address})
    assert (gone.returncode, gone.stderr) == (0, b"")


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    name = b"\xff\xfe dir"
    os.mkdir(os.path.join(os.fsencode(tmp_path), name))
    for word in (name, os.path.join(os.fsencode(tmp_path), name)):
        assert run("list", b"--store=\xff", word, cwd=tmp_path).stdout == b"drwxr-xr-x .\n"
    missing = run("list", b"\xff\x1b[2J", cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (1, b"casync-py: \\377\\033[2J: No such file or directory\n")
    made = run("make", "--json", b"\xff.catar", name, cwd=tmp_path)
    assert json.loads(made.stdout)["output_bytes"] == b"\xff.catar".hex()


def test_tracebacks_only_when_asked_for(tree: Path) -> None:
    assert run("list", "nowhere", cwd=tree).stderr == b"casync-py: nowhere: No such file or directory\n"
    verbose = run("-v", "list", "nowhere", cwd=tree).stderr
    assert verbose.startswith(b"Traceback")
    assert verbose.endswith(b"\ncasync-py: nowhere: No such file or directory\n")
    assert run("-v", "--nonsense", cwd=tree).stderr.count(b"\n") == 1


def _imported(tree: Path, *words: str) -> set[str]:
    script = "import sys; from casync_py.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=tree, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_only_help_imports_typer(tree: Path) -> None:
    assert "typer" in _imported(tree, "--help")
    reading = _imported(tree, "list", "one")
    assert not {"typer", "click", "rich", "pydantic", "zstandard", "casync_py.archive.restore", "json"} & reading
    assert "casync_py.archive.scan" in reading


def test_version_imports_next_to_nothing(tree: Path) -> None:
    ours = {name for name in _imported(tree, "--version") if name.startswith("casync_py.")}
    allowed = ("casync_py.cli", "casync_py.native", "casync_py.errors")
    assert {name for name in ours if not name.startswith(allowed)} == set()
    assert not {"dataclasses", "inspect", "json", "hashlib", "typer"} & _imported(tree, "--version")


def test_the_limit_of_open_files_is_raised(tree: Path) -> None:
    script = (
        "import resource; from casync_py.cli import main; main(['list', 'one']); "
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE); raise SystemExit(soft != hard)"
    )
    command = ["bash", "-c", 'ulimit -Sn 64; exec "$@"', "bash", sys.executable, "-c", script]
    assert subprocess.run(command, cwd=tree, capture_output=True).returncode == 0


def on_terminal(*words: str, cwd: Path, late_input: bytes = b"", seen: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run with standard error on a terminal; returns status, standard output, and what the terminal got.

    Standard input is a pipe that gets `late_input`, once the terminal got `seen`.
    """
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    pipe = subprocess.PIPE
    shown = bytearray()
    with subprocess.Popen(
        [*COMMAND, *words], cwd=cwd, stdin=pipe, stdout=pipe, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        while seen not in shown:
            assert select.select([ours], [], [], 30)[0]
            shown += os.read(ours, 4096)
        out, _ = process.communicate(late_input)
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # EIO: nobody has the other side open
            break
    os.close(ours)
    return process.returncode, out, bytes(shown)


def test_a_person_gets_a_summary(tree: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "t.caidx")
    status, out, shown = on_terminal("make", target, "one", cwd=tree)
    assert status == 0
    assert re.fullmatch(rb"[0-9a-f]{64}\n", out)
    assert re.fullmatch(rb"Packed 2 entries, \d+ B: 1 chunk, 1 new \(\d+ B, stored in \d+ B\), in [\d.]+ s\r\n", shown)
    assert on_terminal("make", "--json", target, "one", cwd=tree)[2] == b""
    assert on_terminal("make", "-lnotice", target, "one", cwd=tree)[2] == b""
    assert run("make", target, "one", cwd=tree).stderr == b""


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """Extracting from a pipe that gives nothing: the line is drawn meanwhile, and gone before the message."""
    words = ("extract", "--what=archive", "-", "out")
    status, _, shown = on_terminal(*words, cwd=tmp_path, late_input=b"no archive", seen=b"Extracting  0 B  0 B/s")
    assert status == 1
    assert shown.startswith(b"\r\x1b[KExtracting  0 B")
    assert re.fullmatch(rb"casync-py: .*\r\n", shown.rpartition(b"\x1b[K")[2])


@pytest.mark.parametrize("words", [("make",), ("make", "-", "one"), ("make", "--what=archive-index", "-", "one")])
def test_no_archive_goes_to_a_terminal(tree: Path, words: tuple[str, ...]) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as terminal:
        done = run(*words, cwd=tree, stdout=terminal)
    assert done.returncode == 1
    assert b"terminal" in done.stderr
    assert not (tree / "default.castr").exists()
