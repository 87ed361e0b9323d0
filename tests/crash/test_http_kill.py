"""A server killed at random instants under clients that write: what it confirmed is there, and clients finish.

Some clients put single chunks and indexes and remember each answer, others are `casync-py make`, which retries. The
server dies with SIGKILL; then every chunk and index that it confirmed has to be there, no chunk may be wrong, no index
may be there without its chunks. A new server takes its place, and all clients have to finish. A few tries by default;
CASYNC_PY_SOAK=50 is the soak, which writes a line for each try to build/soak-http-kill.log. Each try prints (and logs)
the seed that made its choices; CASYNC_PY_SOAK_SEED repeats a run with the same ones.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import secrets
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from casync_py.testing.castr import index_faults, index_rows, store_faults
from casync_py.testing.serve_process import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "3"))
SEED = int(os.environ.get("CASYNC_PY_SOAK_SEED", secrets.randbits(32)))
LOG = Path(__file__).parents[2] / "build/soak-http-kill.log"
LIMIT_S = 90.0

PUTTERS = 3
CHUNKS_EACH = 120
SUFFIXES = {"tree": "caidx", "blob": "caibx"}
SMALL = "--chunk-size=2K:8K:32K"  # many instants in a short run

# Chunks take their final names in batches; small ones put many such moments into a short run.
SERVER = """
import sys
from casync_py.store import batch
batch.BATCH_CHUNKS = 40
from casync_py.cli import main
sys.exit(main())
"""
COMMAND = [sys.executable, "-c", SERVER]


@dataclass(slots=True)
class Place:
    """The served directory, the sources that are pushed to it, and the server that is there at present."""

    folder: Path
    sources: Path
    seconds: float = 1.0
    server: ServeProcess | None = None
    port: int = 0
    served: threading.Event = field(default_factory=threading.Event)

    @property
    def store(self) -> Path:
        return self.folder / "pushed.castr"

    def start(self) -> None:
        """Serve, where the last server was."""
        self.server = ServeProcess(self.sources / "log", "--writable", self.folder, port=self.port, command=COMMAND)
        self.port = self.server.port
        self.served.set()

    def kill(self) -> None:
        assert self.server
        self.served.clear()
        self.server.kill()

    def index(self, kind: str) -> Path:
        return self.folder / f"pushed.{SUFFIXES[kind]}"

    def reference(self, kind: str) -> Path:
        return self.sources / f"{kind}.{SUFFIXES[kind]}"

    def push(self, kind: str) -> subprocess.Popen[str]:
        """A client as people start it."""
        url = f"http://127.0.0.1:{self.port}"
        arguments = [f"--store={url}/{self.store.name}", f"{url}/{self.index(kind).name}", str(self.sources / kind)]
        return subprocess.Popen(
            [sys.executable, "-m", "casync_py", "make", "--retries=12", "--timeout=20", SMALL, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class Putter(threading.Thread):
    """Puts chunks one by one, then an index of them, each until the server says that it has it.

    Attributes:
        confirmed: ids, as hex, of chunks that the server has confirmed.
        index_confirmed: it has confirmed the index.
        failed: what ended this client early.
    """

    def __init__(self, place: Place, name: str, rng: random.Random) -> None:
        super().__init__(name=name)
        self.confirmed: set[str] = set()
        self.index_confirmed = False
        self.failed: BaseException | None = None
        self._place = place
        self._contents = [
            b"%s %d " % (name.encode(), number) + rng.randbytes(3000) * 3 for number in range(CHUNKS_EACH)
        ]
        self.index_path = place.folder / f"{name}.caibx"

    def run(self) -> None:
        try:
            for content in self._contents:
                name = hashlib.new("sha512_256", content).hexdigest()
                self._put(f"/{self._place.store.name}/{name[:4]}/{name}.cacnk", zstandard.compress(content))
                self.confirmed.add(name)
            self._put(f"/{self.index_path.name}", self._index(), {"Casync-Store": f"/{self._place.store.name}"})
            self.index_confirmed = True
        except BaseException as error:
            self.failed = error

    def _put(self, path: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        while True:
            assert self._place.served.wait(LIMIT_S)
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._place.port, timeout=LIMIT_S)
                connection.request("PUT", path, data, headers or {})
                answer = connection.getresponse()
                said = answer.read()
                connection.close()
            except (OSError, http.client.HTTPException):
                continue  # it died; a new one comes
            assert answer.status in {201, 204}, (answer.status, said)
            return

    def _index(self) -> bytes:
        from casync_py.testing.hostile import index_of

        return index_of(*self._contents)


def _text(rng: random.Random, size: int) -> bytes:
    """Bytes that compress a little, none of them twice."""
    return b"%d " % rng.getrandbits(64) + rng.randbytes(size // 2).hex().encode()[: max(0, size - 20)]


@pytest.fixture
def place(tmp_path: Path, casync: str) -> Iterator[Place]:
    sources, folder = tmp_path / "sources", tmp_path / "served"
    sources.mkdir()
    folder.mkdir()
    rng = random.Random(2)
    (sources / "blob").write_bytes(_text(rng, 8 << 20))
    for number in range(300):
        file = sources / "tree" / f"d{number % 17}" / f"file {number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_text(rng, rng.randrange(1 << rng.randrange(18))))
    place = Place(folder, sources)
    for kind in SUFFIXES:
        command = [casync, "make", SMALL, str(place.reference(kind)), str(sources / kind)]
        subprocess.run(command, cwd=sources, check=True, capture_output=True)
    place.start()
    place.seconds = _undisturbed(place)
    yield place
    assert place.server
    place.server.kill()


def _undisturbed(place: Place) -> float:
    """How long all clients together take."""
    start = time.monotonic()
    putters, pushes = _begin(place, random.Random(1))
    _await_clients(putters, pushes)
    return time.monotonic() - start


def _begin(place: Place, rng: random.Random) -> tuple[list[Putter], list[subprocess.Popen[str]]]:
    pushes = [place.push(kind) for kind in SUFFIXES]
    putters = [Putter(place, f"putter-{number}", random.Random(rng.getrandbits(32))) for number in range(PUTTERS)]
    for putter in putters:
        putter.start()
    return putters, pushes


def _await_clients(putters: list[Putter], pushes: list[subprocess.Popen[str]]) -> None:
    for push in pushes:
        _stdout, stderr = push.communicate(timeout=LIMIT_S)
        assert push.returncode == 0, stderr
        assert "Traceback" not in stderr
    for putter in putters:
        putter.join(LIMIT_S)
        assert not putter.is_alive()
        if putter.failed:
            raise putter.failed


def _assert_sound(place: Place, confirmed: set[str], indexes: list[Path]) -> None:
    """What has to hold at any instant, given what was confirmed before it."""
    if place.store.exists():
        assert store_faults(place.store) == []
    for name in confirmed:
        assert (place.store / name[:4] / f"{name}.cacnk").exists(), f"{name} was confirmed"
    for index in indexes:
        assert index.exists(), f"{index} was confirmed"
    for index in [path for path in place.folder.iterdir() if path.suffix in {".caibx", ".caidx"}]:
        assert index_rows(index)
        assert index_faults(index, place.store) == []


def _prepare(place: Place, rng: random.Random) -> str:
    """What the server finds: nothing, half of the chunks, or what is there by now."""
    start = rng.choice(["empty", "half", "leftover"])
    for path in place.folder.iterdir():
        if path.is_file():
            path.unlink()
    if start == "empty":
        shutil.rmtree(place.store, ignore_errors=True)
    elif start == "half" and place.store.exists():
        chunks = sorted(place.store.glob("????/*.cacnk"))
        for chunk in rng.sample(chunks, len(chunks) // 2):
            chunk.unlink()
    return start


def _one_try(place: Place, seed: int) -> str:
    rng = random.Random(seed)
    place.kill()
    start = _prepare(place, rng)
    place.start()
    delay_s = rng.uniform(0, place.seconds)
    line = f"seed={seed} start={start} killed after {delay_s:.3f} s"
    print(line, flush=True)
    putters, pushes = _begin(place, rng)
    try:
        time.sleep(delay_s)  # the instant is the test
        confirmed = [(set(putter.confirmed), putter.index_confirmed) for putter in putters]
        place.kill()
        names = set().union(*(names for names, _index in confirmed))
        indexes = [putter.index_path for putter, (_names, index) in zip(putters, confirmed, strict=True) if index]
        there = [kind for kind in SUFFIXES if place.index(kind).exists()]
        _assert_sound(place, names, indexes)
        place.start()
        _await_clients(putters, pushes)
    finally:
        place.served.set()
        for push in pushes:
            push.kill()
            push.communicate()
    names = set().union(*(putter.confirmed for putter in putters))
    _assert_sound(place, names, [putter.index_path for putter in putters])
    for kind in SUFFIXES:
        assert place.index(kind).read_bytes() == place.reference(kind).read_bytes()
    return f"{line}: {len(confirmed[0][0])} and more confirmed, indexes {there or 'absent'}; all finished"


@pytest.mark.peer("casync")
@pytest.mark.timeout(60 + 60 * TRIES)
def test_killed_servers_keep_what_they_confirmed_and_clients_finish(place: Place) -> None:
    rng = random.Random(f"{SEED}")
    soak = "CASYNC_PY_SOAK" in os.environ
    for number in range(1, TRIES + 1):
        line = _one_try(place, rng.getrandbits(32))
        print(line)
        if soak:
            LOG.parent.mkdir(exist_ok=True)
            with LOG.open("a") as log:
                print(f"{number}/{TRIES} run={SEED} {line}", file=log)
