"""Killed with SIGKILL at random instants, make leaves a clean store and no index without its chunks, and runs again.

A few tries by default; CASYNC_PY_SOAK=200 is the soak, which writes a line for each try to build/soak-make-kill.log.
Each try prints (and logs) the seed that made its choices; CASYNC_PY_SOAK_SEED repeats a run with the same ones.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_faults, index_ids, store_faults

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "6"))
SEED = int(os.environ.get("CASYNC_PY_SOAK_SEED", secrets.randbits(32)))
LOG = Path(__file__).parents[2] / "build/soak-make-kill.log"

# Chunks take their final names in batches; small ones put many such moments into a short run.
MAKE = """
import sys
from casync_py.store import batch
batch.BATCH_CHUNKS = 40
from casync_py.cli import main
sys.exit(main())
"""


@dataclass(slots=True)
class Job:
    """One make: its input, its store and index, casync's index of the same input, and how long it takes."""

    kind: str
    folder: Path
    source: Path
    expected: bytes
    seconds: float = 0.0

    @property
    def store(self) -> Path:
        return self.folder / "store.castr"

    @property
    def index(self) -> Path:
        return self.folder / f"made.{SUFFIXES[self.kind]}"

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", MAKE, "make", f"--store={self.store}", str(self.index), str(self.source)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    def chunks(self) -> list[Path]:
        return sorted(self.store.glob("????/*.cacnk"))


SUFFIXES = {"tree": "caidx", "blob": "caibx"}


def _text(rng: random.Random, size: int) -> bytes:
    """Bytes that compress a little, none of them twice."""
    return b"%d " % rng.getrandbits(64) + rng.randbytes(size // 2).hex().encode()[: max(0, size - 20)]


def _make_blob(path: Path, rng: random.Random, scale: int) -> None:
    path.write_bytes(_text(rng, scale << 20))


def _make_tree(path: Path, rng: random.Random, scale: int) -> None:
    for number in range(60 * scale):
        file = path / f"d{number % 17}" / f"e{number % 5}" / f"file {number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_text(rng, rng.randrange(1 << rng.randrange(19))))


@pytest.fixture(params=["tree", "blob"])
def job(request: pytest.FixtureRequest, tmp_path: Path, casync: str) -> Job:
    from casync_py import native

    kind = request.param
    source = tmp_path / "source"
    make: Callable[[Path, random.Random, int], None] = _make_tree if kind == "tree" else _make_blob
    make(source, random.Random(2), 24 if native.KERNEL == "native" else 2)
    expected = tmp_path / f"expected.{SUFFIXES[kind]}"
    command = [casync, "make", "--store=expected.castr", str(expected), str(source)]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    job = Job(kind, tmp_path, source, expected.read_bytes())
    _finish(job)
    shutil.rmtree(job.store)
    job.seconds = _finish(job)
    return job


def _finish(job: Job) -> float:
    """Run to the end and check everything that the run leaves behind; how long the run took."""
    start = time.monotonic()
    process = job.start()
    _stdout, stderr = process.communicate()
    seconds = time.monotonic() - start
    assert process.returncode == 0, stderr.decode()
    assert job.index.read_bytes() == job.expected
    assert store_faults(job.store) == []
    assert index_faults(job.index, job.store) == []
    return seconds


def _prepare(job: Job, rng: random.Random) -> str:
    """The state that the killed run finds: nothing, a store that lacks half of its chunks, or what is there by now."""
    start = rng.choice(["empty", "half", "leftover"])
    job.index.unlink(missing_ok=True)
    if start == "empty":
        shutil.rmtree(job.store, ignore_errors=True)
    elif start == "half":
        chunks = job.chunks()
        for chunk in rng.sample(chunks, len(chunks) // 2):
            chunk.unlink()
    return start


def _kill_after(job: Job, delay_s: float) -> bool:
    """Start make and kill it after `delay_s`; False if it was done before."""
    process = job.start()
    try:
        process.communicate(timeout=delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def _kill_when_index_appears(job: Job) -> bool:
    """Start make and kill it at once when the index has its name, an instant that chance seldom finds."""
    process = job.start()
    while process.poll() is None and not job.index.exists():
        pass
    process.kill()
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def _one_try(job: Job, seed: int) -> str:
    """Kill once, verify what is left, run to the end; a line that says how it went."""
    rng = random.Random(seed)
    longest = 1.05 * job.seconds
    at_index = rng.random() < 0.2
    while True:
        start = _prepare(job, rng)
        delay_s = rng.uniform(0, longest)
        if _kill_when_index_appears(job) if at_index else _kill_after(job, delay_s):
            break
        longest *= 0.8  # too late: runs that find chunks, or a quieter machine, take less time
    total = len(set(index_ids(job.folder / f"expected.{SUFFIXES[job.kind]}")))
    when = "at the index" if at_index else f"after {delay_s:.3f} s"
    line = f"{job.kind} seed={seed} start={start} killed {when}: {_left_behind(job)} of {total}"
    print(line)
    _finish(job)
    return line


def _left_behind(job: Job) -> str:
    """What a killed run left, verified."""
    chunks = job.chunks() if job.store.exists() else []
    assert not job.store.exists() or store_faults(job.store) == []
    if job.index.exists():
        assert index_faults(job.index, job.store) == []
        assert job.index.read_bytes() == job.expected
    return f"index {'there' if job.index.exists() else 'absent'}, chunks {len(chunks)}"


@pytest.mark.timeout(60 + 30 * TRIES)
def test_killed_make_leaves_nothing_invalid_and_runs_again(job: Job) -> None:
    soak = "CASYNC_PY_SOAK" in os.environ
    rng = random.Random(f"{SEED} {job.kind}")
    tries = (TRIES + 1) // 2  # the other half belongs to the other kind
    for number in range(1, tries + 1):
        line = _one_try(job, rng.getrandbits(32))
        if soak:
            LOG.parent.mkdir(exist_ok=True)
            with LOG.open("a") as log:
                print(f"{number}/{tries} run={SEED} {line}; clean, and the same index after running again", file=log)
