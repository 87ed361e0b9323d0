"""A client and a server of ours with somebody in between who changes one message, ends, or falls silent at random.

Whatever happens: both end in time, with status 0 or 1 and at most one line of error, in little memory; a client that
reports success has the right result; no store has a bad chunk; no index appears before its chunks. Some dozen tries by
default; CASYNC_PY_SOAK=2000 is the soak, which writes a line for each try to build/soak-fuzz.log. Each try prints what
it did; CASYNC_PY_SOAK_SEED repeats a run with the same choices.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from casync_py.testing.castr import index_faults, store_faults
from casync_py.testing.hostile import PEAK, error_lines
from casync_py.testing.meddling import Between, Close, Cut, End, Ended, Silence, listening, write_bridge
from casync_py.testing.transcripts import NUMBERS, build_message, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "25"))
SEED = int(os.environ.get("CASYNC_PY_SOAK_SEED", secrets.randbits(32)))
LOG = Path(__file__).parents[2] / "build/soak-fuzz.log"

OURS = [sys.executable, "-m", "casync_py"]
TIMEOUT_S = 2
LIMIT_S = 30.0  # a busy machine; a hang is for ever
SIZES = [0, 1, 15, 16, 17, 23, 40, 65536, (1 << 24) + 1, 1 << 63, (1 << 64) - 1]
VERBS = ("pull", "push", "pull-tree", "pull-archive", "push-archive")


# What is done to a message


def flip(rng: random.Random, message: bytes) -> list[bytes]:
    changed = bytearray(message)
    for _ in range(rng.choice([1, 1, 3])):
        changed[rng.randrange(min(len(changed), rng.choice([24, 64, 1 << 20])))] ^= 1 << rng.randrange(8)
    return [bytes(changed)]


def set_size(rng: random.Random, message: bytes) -> list[bytes]:
    return [struct.pack("<Q", rng.choice([*SIZES, len(message) - 1, len(message) + 1])) + message[8:]]


def set_type(rng: random.Random, message: bytes) -> list[bytes]:
    number = rng.choice([*NUMBERS.values(), rng.getrandbits(64)])
    return [message[:8] + struct.pack("<Q", number) + message[16:]]


def drop(rng: random.Random, message: bytes) -> list[bytes]:
    return []


def double(rng: random.Random, message: bytes) -> list[bytes]:
    return [message, message]


def insert(rng: random.Random, message: bytes) -> list[bytes]:
    return [message, anything(rng)] if rng.random() < 0.8 else [anything(rng), message]


def junk(rng: random.Random, message: bytes) -> list[bytes]:
    return [message, rng.randbytes(rng.choice([1, 15, 16, 100, 70_000]))]


def empty(rng: random.Random, message: bytes) -> list[bytes]:
    return [struct.pack("<Q", 16) + message[8:16]]


def other_content(rng: random.Random, message: bytes) -> list[bytes]:
    """A CHUNK with what is not its content; other messages get other bytes."""
    if type_name(message) != "CHUNK":
        return [message[:16] + rng.randbytes(len(message) - 16)]
    plain = rng.choice([b"x" * 1000, rng.randbytes(5000), b""])
    packed = zstandard.compress(plain)
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(300 << 20))
    content = rng.choice([plain, packed, packed[: len(packed) // 2], packed + b"more", bomb, message[56:][:-3]])
    flags = struct.pack("<Q", rng.choice([0, 1, 1, 2, 1 << 63]))
    return [build_message("CHUNK", flags + message[24:56] + content)]


def flood(rng: random.Random, message: bytes) -> list[bytes]:
    """REQUESTs of 2048 ids each, all different: more than may be outstanding."""
    requests = [build_message("REQUEST", bytes(8) + rng.randbytes(32 * 2048)) for _ in range(40)]
    return [message, *requests]


def anything(rng: random.Random) -> bytes:
    """A message of a known type that makes sense by itself."""
    chunk_id = rng.randbytes(32)
    return rng.choice(
        [
            build_message("HELLO", struct.pack("<Q", rng.choice([0, 1, 5, 0xC0, 0xE00, 0x1FFF, (1 << 64) - 1]))),
            build_message("INDEX", rng.randbytes(rng.choice([40, 64, 4000]))),
            build_message("INDEX_EOF"),
            build_message("ARCHIVE", rng.randbytes(1000)),
            build_message("ARCHIVE_EOF"),
            build_message("REQUEST", struct.pack("<Q", rng.choice([0, 1, 2, 4])) + chunk_id * rng.choice([1, 2, 2049])),
            build_message("CHUNK", struct.pack("<Q", rng.choice([0, 1])) + chunk_id + rng.randbytes(3000)),
            build_message("MISSING", chunk_id),
            build_message("GOODBYE"),
            build_message("ABORT", struct.pack("<Q", rng.choice([0, 2, 123])) + b"No more of this\0"),
            build_message("ABORT", struct.pack("<Q", 1 << 40) + b"\x1b[2J\n\xff" * 5000 + b"\0"),
        ]
    )


def close_inside(rng: random.Random, message: bytes) -> list[bytes]:
    """The first bytes of the message, then the end."""
    return [message[: rng.randrange(len(message))]]


CHANGES: list[Callable[[random.Random, bytes], list[bytes]]] = [
    flip,
    flip,
    flip,
    set_size,
    set_type,
    drop,
    double,
    insert,
    insert,
    insert,
    junk,
    empty,
    other_content,
    other_content,
    flood,
]
ENDS: list[type[Exception]] = [Close, Close, Silence, Cut]


@dataclass(slots=True)
class Plan:
    """One thing that is done, in one direction, at one message.

    Attributes:
        done: what was done, once it was.
    """

    rng: random.Random
    at: int
    done: str = ""

    def __call__(self, number: int, message: bytes) -> Sequence[bytes]:
        if self.done.startswith("close_inside"):
            raise Close
        if number != self.at:
            return [message]
        kind = type_name(message)
        choice = self.rng.random()
        if choice < 0.2:
            end = self.rng.choice(ENDS)
            self.done = f"{end.__name__} before {kind}"
            raise end
        if choice < 0.3:
            self.done = f"close_inside {kind}"
            return close_inside(self.rng, message)
        change = self.rng.choice(CHANGES)
        self.done = f"{change.__name__} {kind}"
        return change(self.rng, message)


# Sessions


@dataclass(slots=True)
class Scene:
    """What lies here and there; `work` is emptied before each try."""

    folder: Path
    work: Path
    messages: dict[str, tuple[int, int]] = field(default_factory=dict)  # by verb: to the server, to the client

    @property
    def address(self) -> Path:
        return self.work / "socket"

    def commands(self, verb: str) -> tuple[list[str | Path], list[str | Path]]:
        """Client's and server's command lines."""
        here, work = self.folder, self.work
        option = f"--timeout={TIMEOUT_S}"
        client: list[str | Path]
        server: list[str | Path]
        pull = [*OURS, "pull", "--peer=1", option, "-"]
        push = [*OURS, "push", "--peer=1", option, "-"]
        if verb == "pull":
            client = ["extract", f"--store=far:{here}/default.castr", f"far:{here}/blob.caibx", work / "blob"]
            server = [*pull, "-", here / "blob.caibx", here / "default.castr"]
        elif verb == "pull-tree":
            client = ["extract", f"--store=far:{here}/default.castr", f"far:{here}/tree.caidx", work / "tree"]
            server = [*pull, "-", here / "tree.caidx", here / "default.castr"]
        elif verb == "pull-archive":
            client = ["digest", f"far:{here}/tree.catar"]
            server = [*pull, here / "tree.catar", "-", "-"]
        elif verb == "push":
            options = [f"--store=far:{work}/far.castr", "--chunk-size=1K:4K:16K"]
            client = ["make", *options, f"far:{work}/made.caibx", here / "blob"]
            server = [*push, "-", work / "made.caibx", work / "far.castr"]
        else:
            client = ["make", f"far:{work}/made.catar", here / "tree"]
            server = [*push, work / "made.catar", "-", "-"]
        return [*OURS, client[0], option, *client[1:]], server

    def play(self, verb: str, to_client: Plan | None, to_server: Plan | None) -> tuple[Ended, Ended, Between]:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        client_command, server_command = self.commands(verb)
        bridge = write_bridge(self.work / "ssh", self.address)
        environment = {"CASYNC_SSH_PATH": str(bridge), "CASYNC_REMOTE_PATH": "casync-py", "TMPDIR": str(self.work)}
        with listening(self.address, LIMIT_S) as door:
            client = End(client_command, environment, piped=False)
            link, _address = door.accept()
            link.settimeout(None)
            server = End(server_command, {"TMPDIR": str(self.work)}, piped=True)
            between = Between(link, server, to_client, to_server)
            try:
                client_ended = client.wait(LIMIT_S)
                server_ended = server.wait(LIMIT_S + 5)
            finally:
                between.join()
        return client_ended, server_ended, between

    def verify(self, verb: str, client: Ended, server: Ended, plan: Plan | None) -> None:
        for ended in (client, server):
            allowed = {0, 1, -9} if plan and plan.done.startswith("Cut") and ended is server else {0, 1}
            assert ended.status in allowed, ended.stderr
            assert "Traceback" not in ended.stderr, ended.stderr
            assert len(error_lines(ended)) <= 1, ended.stderr
            assert ended.peak < PEAK
        assert len(error_lines(client)) == client.status, client.stderr
        if verb in {"pull", "pull-tree", "pull-archive"}:
            self._verify_pulled(verb, client, plan)
        else:
            self._verify_pushed(verb, client, plan)

    def _verify_pulled(self, verb: str, client: Ended, plan: Plan | None) -> None:
        if verb == "pull":
            assert (self.work / "blob").exists() == (client.status == 0)
        if client.status == 0 and verb == "pull":
            assert (self.work / "blob").read_bytes() == (self.folder / "blob").read_bytes()
        elif client.status == 0 and verb == "pull-tree":
            for path in (self.folder / "tree").iterdir():
                assert (self.work / "tree" / path.name).read_bytes() == path.read_bytes()
        elif client.status == 0:
            touched = plan is not None and plan.done.endswith("ARCHIVE")  # an archive without an index has no digests
            assert touched or client.stdout == (self.folder / "digest").read_bytes()

    def _verify_pushed(self, verb: str, client: Ended, plan: Plan | None) -> None:
        store, index, archive = self.work / "far.castr", self.work / "made.caibx", self.work / "made.catar"
        if store.exists():
            assert store_faults(store) == []
        touched = plan is not None and plan.done.endswith(("INDEX", "ARCHIVE"))  # nothing signs those
        if verb == "push":
            if index.exists():
                assert index_faults(index, store) == []
                assert touched or index.read_bytes() == (self.folder / "blob.caibx").read_bytes()
            assert index.exists() or client.status == 1
        elif archive.exists():
            assert touched or archive.read_bytes() == (self.folder / "tree.catar").read_bytes()
        else:
            assert client.status == 1


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, casync: str) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    rng = random.Random(9)
    (folder / "blob").write_bytes(rng.randbytes(150_000) + b"text " * 20_000)
    (folder / "tree").mkdir()
    for number in range(8):
        (folder / "tree" / f"file {number}").write_bytes(rng.randbytes(20_000))
    for output, source in (("blob.caibx", "blob"), ("tree.caidx", "tree"), ("tree.catar", "tree")):
        command = [casync, "make", "--chunk-size=1K:4K:16K", output, source]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    digest = subprocess.run([casync, "digest", "tree.catar"], cwd=folder, check=True, capture_output=True).stdout
    (folder / "digest").write_bytes(digest)
    return Scene(folder, tmp_path_factory.mktemp("work") / "w")


@pytest.mark.parametrize("verb", VERBS)
def test_without_meddling(scene: Scene, verb: str) -> None:
    """The sessions themselves: they succeed, and tell how many messages there are to meddle with."""
    client, server, between = scene.play(verb, None, None)
    assert (client.status, server.status) == (0, 0), client.stderr + server.stderr
    scene.verify(verb, client, server, None)
    assert min(between.passed) >= 1
    scene.messages[verb] = (between.passed[0], between.passed[1])


@pytest.mark.timeout(60 + 40 * TRIES)
def test_meddling_at_random(scene: Scene) -> None:
    chance = random.Random(SEED)
    for number in range(1, TRIES + 1):
        seed = chance.getrandbits(32)
        line = one_try(scene, seed)
        print(line)
        if "CASYNC_PY_SOAK" in os.environ:
            LOG.parent.mkdir(exist_ok=True)
            with LOG.open("a") as log:
                print(f"{number}/{TRIES} run={SEED} {line}", file=log)


def one_try(scene: Scene, seed: int) -> str:
    """Meddle once; a line that says how it went."""
    rng = random.Random(seed)
    verb = rng.choice(VERBS)
    way = rng.randrange(2)
    count = scene.messages.get(verb, (4, 6))[way]
    plan = Plan(rng, rng.choice([rng.randrange(count), rng.randrange(min(count, 4))]))
    head = f"{verb} seed={seed} to the {'client' if way else 'server'}, message {plan.at} of {count}"
    print(head, flush=True)
    client, server, _between = scene.play(verb, plan if way else None, None if way else plan)
    print(f"{plan.done}: {client.stderr.strip()!r} {server.stderr.strip()!r}")
    scene.verify(verb, client, server, plan)
    took = f"{client.seconds:.1f} s and {server.seconds:.1f} s, {max(client.peak, server.peak) >> 20} MiB"
    return f"{head}: {plan.done or 'nothing'}: {client.status} {server.status}, {took}"
