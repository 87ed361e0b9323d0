"""Each of casync and casync-py as client of each as server, over sshd and a stand-in for ssh: the same results."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_faults, store_faults
from casync_py.testing.compare import tree_differences
from casync_py.testing.published import write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from casync_py.testing.ssh import Sshd

pytestmark = pytest.mark.peer("casync")

OURS = [sys.executable, "-m", "casync_py"]
PAIRS = [(client, server) for client in ("casync", "casync-py") for server in ("casync", "casync-py")]


@dataclass(frozen=True, slots=True)
class Pair:
    """A client, and how it gets to a server."""

    client: list[str]
    environment: dict[str, str]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the client; it must not hang, and has to succeed."""
        command = [*self.client, *map(str, arguments)]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture(params=PAIRS, ids=[f"{client}-and-{server}" for client, server in PAIRS])
def programs(request: pytest.FixtureRequest) -> tuple[str, str]:
    pair: tuple[str, str] = request.param
    return pair


@pytest.fixture(params=["stand-in", pytest.param("sshd", marks=pytest.mark.peer("sshd"))])
def ssh(request: pytest.FixtureRequest) -> Path:
    if request.param == "sshd":
        server: Sshd = request.getfixturevalue("sshd")
        return server.ssh
    stand_in: Path = request.getfixturevalue("stand_in")
    return stand_in


@pytest.fixture
def pair(ssh: Path, programs: tuple[str, str], far_programs: Path, casync: str) -> Pair:
    """Between ours nothing names the remote program: ours is found there, and the two speak their dialect."""
    client, server = programs
    environment = {"CASYNC_SSH_PATH": str(ssh), "PATH": f"{far_programs}:{os.environ['PATH']}"}
    if server == "casync":
        environment["CASYNC_REMOTE_PATH"] = casync
    elif client == "casync":
        environment["CASYNC_REMOTE_PATH"] = str(far_programs / "casync-py")
    return Pair([casync] if client == "casync" else OURS, environment)


@dataclass(frozen=True, slots=True)
class Far:
    """What lies at the remote end, made by casync there: indexes, archive and store of a tree and a blob."""

    folder: Path
    tree: Path
    blob: Path

    def at(self, name: str) -> str:
        return f"far:{self.folder / name}"

    def local(self, casync: str, *arguments: str) -> str:
        """What casync prints in the same directory, nothing being remote."""
        return subprocess.run([casync, *arguments], cwd=self.folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, casync: str) -> Far:
    folder = tmp_path_factory.mktemp("far")
    rng = random.Random(6)
    repeated = rng.randbytes(200_000)
    blob = folder / "blob"
    blob.write_bytes(rng.randbytes(900_000) + repeated + bytes(700_000) + repeated + b"text\n" * 100_000)
    far = Far(folder, folder / "tree", blob)
    write_tree(far.tree)
    far.local(casync, "make", "tree.caidx", "tree")
    far.local(casync, "make", "blob.caibx", "blob")
    far.local(casync, "make", "tree.catar", "tree")
    return far


def test_extract(pair: Pair, far: Far, tmp_path: Path) -> None:
    pair.run("extract", far.at("tree.caidx"), tmp_path / "tree")
    assert tree_differences(far.tree, tmp_path / "tree") == []
    pair.run("extract", far.at("blob.caibx"), tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == far.blob.read_bytes()
    pair.run("extract", far.at("tree.catar"), tmp_path / "archive")
    assert tree_differences(far.tree, tmp_path / "archive") == []


@pytest.mark.parametrize("name", ["tree.caidx", "tree.catar"])
@pytest.mark.parametrize("verb", ["list", "mtree", "digest"])
def test_read(pair: Pair, far: Far, casync: str, verb: str, name: str) -> None:
    assert pair.run(verb, far.at(name)).stdout == far.local(casync, verb, name)


def test_digest_of_a_blob(pair: Pair, far: Far, casync: str) -> None:
    assert pair.run("digest", far.at("blob.caibx")).stdout == far.local(casync, "digest", "blob.caibx")


def test_index_or_store_alone_is_remote(pair: Pair, far: Far, tmp_path: Path) -> None:
    """Both kinds of session in which one of them is missing, against both kinds of server."""
    pair.run("extract", f"--store={far.at('default.castr')}", far.folder / "blob.caibx", tmp_path / "by-store")
    pair.run("extract", f"--store={far.folder / 'default.castr'}", far.at("blob.caibx"), tmp_path / "by-index")
    content = far.blob.read_bytes()
    assert (tmp_path / "by-store").read_bytes() == content
    assert (tmp_path / "by-index").read_bytes() == content


@pytest.mark.parametrize("source", ["tree", "blob"])
def test_make(pair: Pair, far: Far, tmp_path: Path, casync: str, source: str) -> None:
    """Into an empty store, and again into one that has everything."""
    suffix = "caidx" if source == "tree" else "caibx"
    store = tmp_path / "made.castr"
    expected = far.local(casync, "make", f"--store={tmp_path}/local.castr", str(tmp_path / f"local.{suffix}"), source)
    for name in ("first", "second"):
        index = tmp_path / f"{name}.{suffix}"
        made = pair.run("make", f"--store=far:{store}", f"far:{index}", far.folder / source)
        assert made.stdout == expected
        assert index.read_bytes() == (far.folder / f"{source}.{suffix}").read_bytes()
        assert store_faults(store) == []
        assert index_faults(index, store) == []
    assert chunk_names(store) == chunk_names(tmp_path / "local.castr")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"first.{suffix}", f"local.{suffix}", "local.castr", "made.castr", f"second.{suffix}"]
    )


def test_make_archive(pair: Pair, far: Far, tmp_path: Path) -> None:
    pair.run("make", f"far:{tmp_path}/made.catar", far.tree)
    assert (tmp_path / "made.catar").read_bytes() == (far.folder / "tree.catar").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["made.catar"]


@pytest.mark.parametrize("ssh", ["stand-in"], indirect=True)
@pytest.mark.parametrize("compression", ["xz", "gzip"])
def test_other_compressions_travel(pair: Pair, far: Far, tmp_path: Path, compression: str) -> None:
    store = tmp_path / "s.castr"
    pair.run("make", f"--compression={compression}", f"--store=far:{store}", f"far:{tmp_path}/b.caibx", far.blob)
    assert store_faults(store) == []
    pair.run("extract", f"--store=far:{store}", f"far:{tmp_path}/b.caibx", tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == far.blob.read_bytes()


def chunk_names(store: Path) -> list[str]:
    return sorted(path.name for path in store.rglob("*.cacnk"))
