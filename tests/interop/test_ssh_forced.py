"""serve-stdio as the forced command of a key, over a real sshd: both clients may do what it allows and nothing else."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_faults, store_faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casync_py.testing.ssh import Sshd

    Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.peer("casync"), pytest.mark.peer("sshd")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to serve, a blob and its index in it, and a second directory beside it that is not served."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("open", "closed"):
        (folder / name).mkdir()
        (folder / name / "blob").write_bytes(name.encode() * 100_000)
        subprocess.run(["casync", "make", "blob.caibx", "blob"], cwd=folder / name, check=True, capture_output=True)
    (folder / "open/link.caibx").symlink_to(folder / "closed/blob.caibx")
    return folder / "open"


@pytest.fixture(params=["casync", "casync-py"])
def client(request: pytest.FixtureRequest, casync: str, far_programs: Path) -> Callable[[Path], Run]:
    """A client that uses an ssh; casync's asks for casync-py as the remote program, or for its own."""
    program = [casync] if request.param == "casync" else [sys.executable, "-m", "casync_py"]

    def through(ssh: Path) -> Run:
        environment = {**os.environ, "CASYNC_SSH_PATH": str(ssh)}

        def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
            command = [*program, *map(str, arguments)]
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=60
            )

        return run

    return through


@pytest.fixture(scope="module")
def writable(sshd: Sshd, root: Path, far_programs: Path) -> Path:
    command = shlex.join([str(far_programs / "casync-py"), "serve-stdio", f"--root={root}"])
    return sshd.admit("writable", f'restrict,command="{command}"')


@pytest.fixture(scope="module")
def read_only(sshd: Sshd, root: Path, far_programs: Path) -> Path:
    command = shlex.join([str(far_programs / "casync-py"), "serve-stdio", "--root", str(root), "--read-only"])
    return sshd.admit("read-only", f'restrict,command="{command}"')


def test_pull_and_push_below_the_root(
    client: Callable[[Path], Run], writable: Path, root: Path, tmp_path: Path
) -> None:
    run = client(writable)
    pulled = run("extract", f"far:{root}/blob.caibx", tmp_path / "out")
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "out").read_bytes() == (root / "blob").read_bytes()
    pushed = run("make", f"--store=far:{root}/new.castr", f"far:{root}/new.caibx", root / "blob")
    assert pushed.returncode == 0, pushed.stderr
    assert (root / "new.caibx").read_bytes() == (root / "blob.caibx").read_bytes()
    assert store_faults(root / "new.castr") == []
    assert index_faults(root / "new.caibx", root / "new.castr") == []
    (root / "new.caibx").unlink()


@pytest.mark.parametrize("name", ["../closed/blob.caibx", "link.caibx", "/etc/passwd"])
def test_nothing_outside_the_root(
    client: Callable[[Path], Run], writable: Path, root: Path, tmp_path: Path, name: str
) -> None:
    run = client(writable)
    done = run("extract", f"--store=far:{root}/default.castr", f"far:{os.path.join(root, name)}", tmp_path / "out")
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()


def test_no_push_where_only_reading_is_allowed(
    client: Callable[[Path], Run], read_only: Path, root: Path, tmp_path: Path
) -> None:
    run = client(read_only)
    assert run("extract", f"far:{root}/blob.caibx", tmp_path / "out").returncode == 0
    done = run("make", f"--store=far:{root}/no.castr", f"far:{root}/no.caibx", root / "blob")
    assert done.returncode == 1
    assert not {"no.castr", "no.caibx"} & set(os.listdir(root))


@pytest.mark.parametrize("command", ["rm -rf /", "casync-py list /", "scp -f /etc/passwd", "", "sh -c 'id'"])
def test_no_other_command(writable: Path, root: Path, command: str) -> None:
    done = subprocess.run(
        [writable, "far", *([command] if command else [])], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
