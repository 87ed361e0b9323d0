"""Killed with SIGKILL at random instants, the extraction of a blob goes on where it was, and fetches only the rest.

A few tries by default; CASYNC_PY_SOAK=200 is the soak, which writes a line for each try to build/soak-extract-kill.log.
Each try prints (and logs) the seed that made its choices; CASYNC_PY_SOAK_SEED repeats a run with the same ones.
"""

from __future__ import annotations

import hashlib
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

import pytest

from casync_py.api import make
from casync_py.digest import SHA256
from casync_py.format.index import Index
from casync_py.monitor import Monitor
from casync_py.options import Resources, Settings
from casync_py.store.local import LocalStore
from casync_py.store.verify import Verified
from casync_py.sync.blob import FileTarget
from casync_py.sync.extract import extract_blob
from casync_py.sync.stream import IndexStream
from casync_py.testing.castr import store_faults
from casync_py.testing.recording import RecordingStore

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "6"))
SEED = int(os.environ.get("CASYNC_PY_SOAK_SEED", secrets.randbits(32)))
LOG = Path(__file__).parents[2] / "build/soak-extract-kill.log"

# A small batch puts many renames of the store cache into a short run.
EXTRACT = """
import sys
from casync_py.store import batch
batch.BATCH_CHUNKS = 40
from casync_py.cli import main
sys.exit(main())
"""


@dataclass(slots=True)
class Job:
    """One extraction: the blob, its index and store, and where it goes."""

    kind: str
    folder: Path
    data: bytes
    seconds: float = 0.0

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def partial(self) -> Path:
        return self.folder / ".out.partial"

    @property
    def cache(self) -> Path:
        return self.folder / "cache.castr"

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", EXTRACT, "extract", f"--store={self.folder}/store.castr"]
        if self.kind == "cache":
            command.append(f"--cache-store={self.cache}")
        pipe = subprocess.PIPE
        command += [str(self.folder / "blob.caibx"), str(self.out)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    def clear(self) -> None:
        for path in self.out, self.partial:
            path.unlink(missing_ok=True)
        shutil.rmtree(self.cache, ignore_errors=True)
        if self.kind == "in place":
            self.out.write_bytes(self.data[::-1])


@pytest.fixture(params=["new file", "in place", "cache"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    from casync_py import native

    rng = random.Random(3)
    size = (24 if native.KERNEL == "native" else 2) << 20
    data = rng.randbytes(size // 4) + bytes(size // 8) + rng.randbytes(size // 4).hex().encode() + bytes(size // 8)
    (tmp_path / "blob").write_bytes(data)
    settings = Settings(store=str(tmp_path / "store.castr"), chunk_size=(0, 16384, 0), digest=SHA256)
    make(str(tmp_path / "blob.caibx"), str(tmp_path / "blob"), settings)
    job = Job(request.param, tmp_path, data)
    job.clear()
    start = time.monotonic()
    process = job.start()
    _stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    job.seconds = time.monotonic() - start
    return job


def _kill(job: Job, rng: random.Random) -> float:
    """Start and kill after a while; so long that something is left as a rule, so short that it is not done."""
    longest = 1.05 * job.seconds
    while True:
        job.clear()
        delay_s = rng.uniform(longest / 4, longest)
        process = job.start()
        try:
            process.communicate(timeout=delay_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return delay_s
        assert process.returncode in (0, -signal.SIGKILL)
        longest *= 0.8  # too late


def _finish(job: Job) -> str:
    """Extract what is lacking, here, where the chunks that are fetched can be counted."""
    fetched = RecordingStore(LocalStore(job.folder / "store.castr"))
    left = job.partial if job.partial.exists() else job.out
    there = left.read_bytes() if left.exists() else b""
    with Index.open(job.folder / "blob.caibx") as index:
        lacking = [row.chunk_id for row in index if hashlib.sha256(there[row.start : row.end]).digest() != row.chunk_id]
        stream = IndexStream(index, Verified(fetched, [SHA256], jobs=1), 1 << 30, Monitor())
        extract_blob(stream, FileTarget(str(job.out), index.size), Resources())
        total = len(index)
    fetched.close()
    assert job.out.read_bytes() == job.data
    assert not job.partial.exists()
    assert fetched.gets == lacking
    return f"{len(lacking)} of {total} chunks were lacking"


@pytest.mark.timeout(60 + 30 * TRIES)
def test_a_killed_extraction_goes_on(job: Job) -> None:
    soak = "CASYNC_PY_SOAK" in os.environ
    rng = random.Random(f"{SEED} {job.kind}")
    tries = (TRIES + 2) // 3
    for number in range(1, tries + 1):
        seed = rng.getrandbits(32)
        delay_s = _kill(job, random.Random(seed))
        if job.kind != "in place" and job.out.exists():  # killed between the renaming and the end
            assert job.out.read_bytes() == job.data
        if job.cache.exists():
            assert store_faults(job.cache, SHA256) == []
        line = f"{job.kind} seed={seed} killed after {delay_s:.3f} s: {_finish(job)}"
        print(line)
        if soak:
            LOG.parent.mkdir(exist_ok=True)
            with LOG.open("a") as log:
                print(f"{number}/{tries} run={SEED} {line}", file=log)
