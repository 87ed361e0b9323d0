"""What all tests share: the real programs they run against, the command line, and skips that say why."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from casync_py.testing.nginx import Nginx
from casync_py.testing.ssh import Sshd, write_programs, write_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
os.environ["PATH"] += f":{ROOT}/build/peers"  # .ci/desync
os.environ.setdefault("PYTHONSAFEPATH", "1")  # `python -m casync_py` runs the installed package, whatever the directory


class RunCli(Protocol):
    def __call__(
        self, *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """A line of .ci/peers.txt."""

    required: bool
    package: str
    proof: list[str]


@cache
def _peers() -> dict[str, Peer]:
    peers = {}
    for line in (ROOT / ".ci/peers.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            need, name, package, proof = line.split(None, 3)
            peers[name] = Peer(need == "required", package, shlex.split(proof))
    return peers


@cache
def _peer_path(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    proof = subprocess.run(_peers()[name].proof, stdin=subprocess.DEVNULL, capture_output=True)
    return path if proof.returncode == 0 else None


def _demand_peer(name: str) -> str:
    path = _peer_path(name)
    if path is None:
        package = _peers()[name].package
        where = f"Debian's package {package}" if package != "-" else f".ci/{name} builds it"
        reason = f"{name} is not installed ({where})"
        if _peers()[name].required and os.environ.get("CASYNC_PY_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "peer(name): needs that program of .ci/peers.txt")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        _demand_peer(marker.args[0])
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("Needs root")
    if item.get_closest_marker("native"):
        from casync_py import native

        if native.KERNEL != "native":
            pytest.skip("Needs the native kernel")


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """The path of a program of .ci/peers.txt; skips, or fails where peers are demanded, if it is not there."""
    return _demand_peer


@pytest.fixture(scope="session")
def casync() -> str:
    """The path of Debian's casync."""
    return _demand_peer("casync")


@pytest.fixture(scope="session")
def cli() -> RunCli:
    """Runs casync-py with arguments as a user would, in a process of its own; stdout and stderr are captured."""

    def run(
        *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "casync_py", *map(str, arguments)]
        environment = {**os.environ, **(env or {})}
        return subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    return run


@pytest.fixture(scope="session")
def far_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to stand first in a remote end's PATH: the casync-py of these tests is in it."""
    return write_programs(tmp_path_factory.mktemp("far") / "programs")


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program for CASYNC_SSH_PATH that runs the command on this machine, with this process's PATH."""
    return write_stand_in(tmp_path_factory.mktemp("stand-in") / "ssh")


@pytest.fixture(scope="session")
def relay() -> Path:
    """A program that runs a command and passes its input and output through: later, recorded, or cut off."""
    return ROOT / "tests/bench/relay.py"


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory, far_programs: Path) -> Iterator[Sshd]:
    """OpenSSH's server on loopback; `sshd.ssh` is for CASYNC_SSH_PATH. `far_programs` is first in its PATH."""
    server = Sshd(tmp_path_factory.mktemp("sshd"), _demand_peer("sshd"), far_programs)
    yield server
    server.stop()


@pytest.fixture
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Nginx]]:
    """Starts an nginx that serves a directory: `start_nginx(root, ...)`, options as of `Nginx`."""
    program = _demand_peer("nginx")
    with contextlib.ExitStack() as started:
        yield lambda root, **options: started.enter_context(
            Nginx(tmp_path_factory.mktemp("nginx"), program, root, **options)
        )


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line in this process that has to fail; returns its message.

    It has to end with status 1 and one line on stderr, without a traceback, that contains the argument `says`.
    """
    from casync_py.cli import main

    def run(*arguments: str | Path, says: str = "") -> str:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        message = capfd.readouterr().err
        assert status == 1, message
        assert message.strip()
        assert message.count("\n") == 1, message
        assert "Traceback" not in message
        assert says in message
        return message

    return run


@pytest.fixture
def open_tmp_path(tmp_path: Path) -> Path:
    """`tmp_path`, which other users can reach."""
    for path in (tmp_path, *tmp_path.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)
    return tmp_path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"Cannot mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """The test leaves no descriptor, no child, not even a zombie, and no thread behind."""
    before = _descriptors(), _children(), set(threading.enumerate())
    yield
    assert _descriptors() == before[0]
    assert _children() <= before[1]
    assert set(threading.enumerate()) <= before[2]


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed the directory
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _children() -> set[int]:
    found = set()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # gone by now
            status = Path("/proc", name, "stat").read_text(errors="replace")
            if int(status.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(name))
    return found
