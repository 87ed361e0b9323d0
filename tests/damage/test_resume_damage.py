"""The command line where a partial file or a store cache is not what it should be."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from casync_py.cli import main
from casync_py.sync.blob import FileTarget
from casync_py.testing.castr import store_faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 300_000


class Made:
    """A blob, its index and store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = random.Random(9).randbytes(SIZE)
        self.blob, self.index, self.store = folder / "blob", folder / "blob.caibx", folder / "default.castr"
        self.out, self.partial, self.cache = folder / "out", folder / ".out.partial", folder / "cache"
        self.blob.write_bytes(self.data)
        assert main(["make", "--chunk-size=4096", str(self.index), str(self.blob)]) == 0

    def extract(self, *options: str) -> None:
        assert main(["extract", *options, str(self.index), str(self.out)]) == 0
        assert self.out.read_bytes() == self.data
        assert not self.partial.exists()
        self.out.unlink()


@pytest.fixture
def made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Made:
    made = Made(tmp_path)
    capfd.readouterr()
    return made


@pytest.fixture
def notices(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    def read() -> list[str]:
        return capfd.readouterr().err.splitlines()

    return read


def _flipped(made: Made) -> bytes:
    there = bytearray(made.data)
    for at in range(0, SIZE, 50_000):
        there[at] ^= 1
    return bytes(there)


STATES: dict[str, Callable[[Made], bytes]] = {
    "flipped bits": _flipped,
    "cut": lambda made: made.data[: SIZE // 2],
    "too long": lambda made: made.data + made.data,
    "shifted": lambda made: b"x" + made.data,
    "zeros": lambda made: bytes(2 * len(made.data)),
    "an index": lambda made: made.index.read_bytes(),
}


@pytest.mark.parametrize("state", STATES)
def test_whatever_a_partial_file_has_in_it(made: Made, notices: Callable[[], list[str]], state: str) -> None:
    made.partial.write_bytes(STATES[state](made))
    made.extract()
    assert notices() == []


def test_a_full_disk_leaves_what_a_larger_one_finishes(made: Made, refused: Callable[..., str]) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2}, {SIZE // 2}))"
    command = f"{limit}; import sys; from casync_py.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, "extract", str(made.index), str(made.out)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"casync-py: {made.out}: What arrived is kept in {made.partial}, and the same command goes on from there",
        f"casync-py: {made.out}: File too large",
    ]
    shutil.rmtree(made.store / min(os.listdir(made.store)))
    refused("-lerr", "extract", made.index, made.out, says="missing")
    made.partial.write_bytes(made.data)  # as if it had come from elsewhere
    made.extract()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_partial_file_is_refused_by_name(made: Made, refused: Callable[..., str], kind: str) -> None:
    if kind == "link":
        made.partial.symlink_to(made.blob)
    elif kind == "pipe":
        os.mkfifo(made.partial)
    else:
        made.partial.mkdir()
    message = refused("extract", made.index, made.out, says=f"{made.partial}: In the way")
    assert "remove it" in message
    assert not made.out.exists()
    assert made.blob.read_bytes() == made.data


@pytest.mark.parametrize("exists", [False, True])
def test_two_runs_at_once(made: Made, refused: Callable[..., str], exists: bool) -> None:
    if exists:
        made.out.write_bytes(b"old")
    first = FileTarget(str(made.out), SIZE)
    refused("extract", made.index, made.out, says=f"{made.out}: Another run is extracting to it")
    first.abort()
    made.extract()


def test_ctrl_c_keeps_what_arrived(made: Made) -> None:
    command = """
import os, signal, sys
from casync_py.cli import main
from casync_py.sync.blob import FileTarget
real, written = FileTarget.write_at, 0
def write_at(target, offset, data):
    global written
    real(target, offset, data)
    written += len(data)
    if written > 100_000:
        os.kill(os.getpid(), signal.SIGINT)
FileTarget.write_at = write_at
sys.exit(main())
"""
    words = ["extract", f"--cache-store={made.cache}", str(made.index), str(made.out)]
    done = subprocess.run([sys.executable, "-c", command, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["casync-py: Interrupted"]
    assert made.partial.stat().st_size > 100_000
    assert store_faults(made.cache) == []
    kept = sum(path.stat().st_size for path in made.cache.rglob("*.cacnk"))
    assert kept >= 100_000
    assert not list(made.cache.rglob("*.tmp"))
    made.extract(f"--cache-store={made.cache}")


def test_a_second_ctrl_c_and_a_kill_lose_only_the_last_of_the_cache(made: Made) -> None:
    command = "import os, signal, sys; from casync_py.cli import main; from casync_py.store import batch\n"
    command += "batch.BATCH_CHUNKS = 10\nfrom casync_py.store.cache import CacheStore\n"
    command += "CacheStore.close = lambda self: os.kill(os.getpid(), signal.SIGKILL)\nsys.exit(main())"
    words = ["extract", f"--cache-store={made.cache}", str(made.index), str(made.out)]
    done = subprocess.run([sys.executable, "-c", command, *words], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert made.out.read_bytes() == made.data
    total = len(list(made.store.rglob("*.cacnk")))
    assert total - 10 <= len(list(made.cache.rglob("*.cacnk"))) <= total
    assert store_faults(made.cache) == []
    made.out.unlink()
    made.extract(f"--cache-store={made.cache}")
    assert len(list(made.cache.rglob("*.cacnk"))) == total


@pytest.mark.root
def test_a_full_cache_costs_a_notice(made: Made, small_disk: Path, notices: Callable[[], list[str]]) -> None:
    cache = small_disk / "cache"
    made.extract(f"--cache-store={cache}")
    text = f"casync-py: {cache}: Nothing more is kept in this store cache (No space left on device)"
    assert notices() == [text]
    assert store_faults(cache) == []
    kept = len(list(cache.rglob("*.cacnk")))
    assert kept > 0
    made.extract(f"--cache-store={cache}")
    assert notices() == [text]


@pytest.mark.root
def test_a_read_only_cache_is_read(made: Made, small_disk: Path, notices: Callable[[], list[str]]) -> None:
    cache = small_disk / "cache"
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    shutil.copytree(made.store, cache)
    directories = sorted(cache.iterdir())
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    shutil.rmtree(made.store)
    made.store.mkdir()
    made.extract(f"--cache-store={cache}")
    assert notices() == []
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    for directory in directories[:5]:
        shutil.move(directory, made.store)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    made.extract(f"--cache-store={cache}")
    assert notices() == [f"casync-py: {cache}: Nothing more is kept in this store cache (Read-only file system)"]


def test_a_cache_that_cannot_be_made(made: Made, notices: Callable[[], list[str]]) -> None:
    cache = made.folder / "absent/cache"
    made.extract(f"--cache-store={cache}")
    text = "Nothing more is kept in this store cache (No such file or directory)"
    assert notices() == [f"casync-py: {cache}: {text}"]


@pytest.mark.parametrize(
    ("cache", "says"), [("blob", "Not a directory"), ("", "cannot be empty"), ("host:/x.castr", "this machine")]
)
def test_what_cannot_be_a_cache_is_refused(made: Made, refused: Callable[..., str], cache: str, says: str) -> None:
    place = str(made.folder / cache) if cache == "blob" else cache
    refused("extract", f"--cache-store={place}", made.index, made.out, says=says)
    assert not made.out.exists()


def test_a_cache_that_is_the_store_changes_nothing(made: Made, notices: Callable[[], list[str]]) -> None:
    before = sorted((path, path.stat().st_ino) for path in made.store.rglob("*"))
    made.extract(f"--cache-store={made.store}")
    assert sorted((path, path.stat().st_ino) for path in made.store.rglob("*")) == before
    assert notices() == []
