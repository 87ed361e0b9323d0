"""A connection killed at random instants, at either end or in between: both ends stay right, and the next run goes on.

What a store or a partial file has is right whatever happened; no index is there before its chunks; the same command
finishes the work and asks only for what is missing. A few tries by default; CASYNC_PY_SOAK=100 is the soak, each way,
which writes a line for each try to build/soak-ssh-kill.log. Each try prints (and logs) the seed that made its choices;
CASYNC_PY_SOAK_SEED repeats a run with the same ones.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_faults, index_ids, index_rows, store_faults
from casync_py.testing.compare import tree_differences
from casync_py.testing.ssh import relayed, write_script
from casync_py.testing.transcripts import TO_CLIENT, TO_SERVER, read_transcript, requested_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "3"))
SEED = int(os.environ.get("CASYNC_PY_SOAK_SEED", secrets.randbits(32)))
LOG = Path(__file__).parents[2] / "build/soak-ssh-kill.log"
LIMIT_S = 60.0

CHUNKS = "--chunk-size=2K:8K:32K"  # many instants in a short run
SUFFIXES = {"tree": "caidx", "blob": "caibx"}


@dataclass(slots=True)
class Job:
    """One way of one kind, against one server; how long it takes, and how much goes over the wire."""

    way: str
    kind: str
    server: str
    folder: Path
    stand_in: Path
    relay: Path
    alive_fd: int = -1
    seconds: float = 0.0
    passed: int = 0

    @property
    def source(self) -> Path:
        return self.folder / self.kind

    @property
    def reference(self) -> Path:
        """The index as casync makes it; the far one of a pull."""
        return self.folder / f"{self.kind}.{SUFFIXES[self.kind]}"

    @property
    def far_store(self) -> Path:
        return self.folder / ("default.castr" if self.way == "pull" else "pushed.castr")

    @property
    def target(self) -> Path:
        """What the work is done for: a copy here, or an index there."""
        return self.folder / (f"{self.kind}.out" if self.way == "pull" else f"pushed.{SUFFIXES[self.kind]}")

    @property
    def cache(self) -> Path:
        return self.folder / "cache.castr"

    @property
    def partial(self) -> Path:
        return self.folder / f".{self.target.name}.partial"

    def start(self, *relay_options: str) -> subprocess.Popen[str]:
        """Start the client, in a session of its own as far as the kernel goes; all its processes hold `alive`."""
        command = [sys.executable, "-m", "casync_py", "--timeout=20", f"--store=far:{self.far_store}"]
        if self.way == "push":
            command += ["make", CHUNKS, f"far:{self.target}", str(self.source)]
        else:
            cached = [f"--cache-store={self.cache}"] if self.kind == "tree" else []
            command += ["extract", *cached, f"far:{self.reference}", str(self.target)]
        holding = write_script(self.folder / "holding", f'#!/bin/sh\nexec {self.stand_in} "$@" 9>{self.folder}/alive\n')
        ssh = relayed(self.folder / "ssh", holding, self.relay, relay_options)
        environment = {**os.environ, "CASYNC_SSH_PATH": str(ssh), "CASYNC_REMOTE_PATH": self.server}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def wait_for_the_far_end(self) -> None:
        """Until no process of the last session lives any more."""
        poll = select.poll()
        poll.register(self.alive_fd, 0)  # the end of the last writer
        os.close(os.open(self.folder / "alive", os.O_WRONLY))  # there was one, even if the server never started
        assert poll.poll(LIMIT_S * 1000), "The server did not end"

    def finish(self) -> tuple[set[str], int]:
        """Run to the end and check everything; which chunks were asked for, and how many bytes passed."""
        record = self.folder / "record"
        start = time.monotonic()
        process = self.start(f"--record={record}")
        _stdout, stderr = process.communicate(timeout=LIMIT_S)
        self.seconds = time.monotonic() - start
        assert process.returncode == 0, stderr
        self.wait_for_the_far_end()
        transcript = read_transcript(record)
        passed = [transcript.sent(direction) for direction in (TO_SERVER, TO_CLIENT)]
        asking = passed[TO_SERVER if self.way == "pull" else TO_CLIENT]
        self.assert_done()
        return {chunk_id.hex() for chunk_id in requested_ids(asking)}, sum(map(len, passed))

    def assert_done(self) -> None:
        if self.way == "push":
            assert self.target.read_bytes() == self.reference.read_bytes()
            assert store_faults(self.far_store) == []
            assert index_faults(self.target, self.far_store) == []
        elif self.kind == "blob":
            assert self.target.read_bytes() == self.source.read_bytes()
            assert not self.partial.exists()
        else:
            assert tree_differences(self.source, self.target) == []

    def assert_sound(self) -> None:
        """What has to hold at any instant."""
        if self.way == "push":
            if self.far_store.exists():
                assert store_faults(self.far_store) == []
            if self.target.exists():
                self.assert_done()
        elif self.kind == "blob":
            if self.target.exists():
                self.assert_done()
        elif self.cache.exists():
            assert store_faults(self.cache) == []

    def missing(self) -> set[str]:
        """The chunks that the next run may ask for."""
        wanted = set(index_ids(self.reference))
        if self.kind == "blob" and self.way == "pull":
            return wanted - self._ids_in_place()
        there = self.far_store if self.way == "push" else self.cache
        return wanted - {path.stem for path in there.glob("????/*.cacnk")}

    def _ids_in_place(self) -> set[str]:
        """Chunks all places of which are right in the partial file; the others may have to be fetched."""
        if not self.partial.exists():
            return set()
        content = self.partial.read_bytes()
        start = 0
        right: set[str] = set()
        wrong: set[str] = set()
        for end, name in index_rows(self.reference):
            found = hashlib.new("sha512_256", content[start:end]).hexdigest() == name and end <= len(content)
            (right if found else wrong).add(name)
            start = end
        return right - wrong


def _text(rng: random.Random, size: int) -> bytes:
    return b"%d " % rng.getrandbits(64) + rng.randbytes(size // 2).hex().encode()[: max(0, size - 20)]


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A directory with a FIFO whose writers are the far ends that live."""
    folder = tmp_path_factory.mktemp("kill")
    os.mkfifo(folder / "alive")
    fd = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
    yield folder, fd
    os.close(fd)


@pytest.fixture(params=["pull", "push"])
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["casync-py", "casync"])
def server(request: pytest.FixtureRequest, casync: str, far_programs: Path) -> str:
    return casync if request.param == "casync" else str(far_programs / "casync-py")


@pytest.fixture(params=["blob", "tree"])
def job(
    request: pytest.FixtureRequest,
    way: str,
    server: str,
    alive: tuple[Path, int],
    stand_in: Path,
    relay: Path,
    casync: str,
) -> Job:
    folder, fd = alive
    job = Job(way, request.param, server, folder, stand_in, relay, fd)
    if not job.reference.exists():
        rng = random.Random(2)
        if job.kind == "blob":
            job.source.write_bytes(_text(rng, 12 << 20))
        else:
            for number in range(400):
                file = job.source / f"d{number % 17}" / f"file {number}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_text(rng, rng.randrange(1 << rng.randrange(19))))
        subprocess.run([casync, "make", CHUNKS, job.reference, job.source], check=True, capture_output=True)
    _forget(job)
    asked, job.passed = job.finish()
    assert asked == set(index_ids(job.reference))
    return job


def _forget(job: Job) -> None:
    """Begin with nothing."""
    for path in (job.target, job.partial, job.cache, *([job.far_store] if job.way == "push" else [])):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _prepare(job: Job, rng: random.Random) -> str:
    """What the killed run finds: nothing, half of the chunks where that is possible, or what is there by now."""
    start = rng.choice(["empty", "half", "leftover"])
    if start == "empty":
        _forget(job)
        return start
    if job.target.is_dir():
        shutil.rmtree(job.target)
    else:
        job.target.unlink(missing_ok=True)
    store = job.far_store if job.way == "push" else job.cache
    if start == "half" and store.exists():
        chunks = sorted(store.glob("????/*.cacnk"))
        for chunk in rng.sample(chunks, len(chunks) // 2):
            chunk.unlink()
    return start


def _children(pid: int) -> list[int]:
    """The processes that a process has started, by any of its threads."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += list(map(int, task.read_text().split()))
    return found


def _kill_once(job: Job, rng: random.Random, longest: float) -> str:
    """Run and kill something on the way; what was killed and when, empty if the run was done before."""
    victim = rng.choice(["client", "connection", "server"])
    if victim == "server":  # and the connection with it, after a number of bytes
        size = rng.randrange(1, job.passed)
        process = job.start(f"--cut-after={size}")
        when = f"after {size} bytes"
        process.communicate(timeout=LIMIT_S)
        killed = process.returncode != 0
    else:
        delay_s = rng.uniform(0, longest)
        when = f"after {delay_s:.3f} s"
        process = job.start()
        killed = False
        try:
            process.communicate(timeout=delay_s)
        except subprocess.TimeoutExpired:
            victims = [process.pid] if victim == "client" else _children(process.pid)
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            _stdout, stderr = process.communicate(timeout=LIMIT_S)
            killed = process.returncode != 0
            assert process.returncode in {0, 1, -signal.SIGKILL}, stderr
            assert "Traceback" not in stderr
    job.wait_for_the_far_end()
    return f"{victim} {when}" if killed else ""


def _one_try(job: Job, seed: int) -> str:
    """Kill once, verify what is left, run to the end; a line that says how it went."""
    rng = random.Random(seed)
    longest = 1.05 * job.seconds
    while True:
        start = _prepare(job, rng)
        if killed := _kill_once(job, rng, longest):
            break
        longest *= 0.8
    head = f"{job.way} {job.kind} {Path(job.server).name} seed={seed} start={start} killed {killed}"
    print(head, flush=True)
    job.assert_sound()
    missing = job.missing()
    asked, _passed = job.finish()
    assert asked <= missing
    if job.way == "push":
        assert asked == missing
    total = len(set(index_ids(job.reference)))
    return f"{head}: {len(missing)} of {total} missing, {len(asked)} asked for"


@pytest.mark.peer("casync")
@pytest.mark.timeout(60 + 30 * TRIES)
def test_killed_sessions_leave_nothing_invalid_and_go_on(job: Job) -> None:
    rng = random.Random(f"{SEED} {job.way} {job.kind} {job.server}")
    soak = "CASYNC_PY_SOAK" in os.environ
    tries = (TRIES + 3) // 4  # each way has two kinds and two servers
    for number in range(1, tries + 1):
        line = _one_try(job, rng.getrandbits(32))
        print(line)
        if soak:
            LOG.parent.mkdir(exist_ok=True)
            with LOG.open("a") as log:
                print(f"{number}/{tries} run={SEED} {line}", file=log)
