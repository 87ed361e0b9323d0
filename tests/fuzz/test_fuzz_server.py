"""A peer that never was one, against our server: random bytes, sizes, floods, silence, wrong content, its death.

Each server has to end within its timeout, with status 1 and one line that says why, in little memory, and to leave
nothing behind that is not right. CASYNC_PY_SOAK makes the lists longer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from casync_py.testing.castr import store_faults
from casync_py.testing.hostile import (
    ID_ONE,
    ID_TWO,
    INDEX,
    LIMIT_S,
    PACKED_ONE,
    PEAK,
    RIGHT_ANSWER,
    SIZES,
    WRONG_ANSWERS,
    assert_refused,
    chunk,
    hello,
    index_of,
    request,
    size_lies,
)
from casync_py.testing.meddling import End, Ended, receive, send_all, wait_for
from casync_py.testing.transcripts import TO_SERVER, build_message, read_transcript, split_messages, type_name

VECTORS = Path(__file__).parents[1] / "vectors/transcripts"
SOAK = "CASYNC_PY_SOAK" in os.environ
TYPES_AT_RISK = ["HELLO", "INDEX", "ARCHIVE", "REQUEST", "CHUNK", "MISSING", "GOODBYE", "ABORT"]


@dataclass(frozen=True, slots=True)
class Server:
    """A directory with what a server serves, and where it writes to."""

    folder: Path

    def start(self, verb: str) -> End:
        archive = self.folder / f"{verb}.catar" if verb.endswith("archive") else Path("-")
        index = self.folder / f"{verb}.caibx" if archive == Path("-") else Path("-")
        store = self.folder / f"{verb}.castr" if archive == Path("-") else Path("-")
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "casync_py",
            verb.split("-", maxsplit=1)[0],
            "--timeout=1",
            "-",
            archive,
            index,
            store,
        ]
        return End(command, {"TMPDIR": str(self.folder)}, piped=True)

    def unchanged(self) -> None:
        """Nothing was stored that is wrong, and nothing was installed."""
        for store in self.folder.glob("*.castr"):
            assert store_faults(store) == []
        assert not (self.folder / "push.caibx").exists()
        assert not (self.folder / "push-archive.catar").exists()
        assert [name for name in os.listdir(self.folder) if name.startswith(".")] == []


@pytest.fixture
def server(tmp_path: Path, casync: str) -> Server:
    (tmp_path / "blob").write_bytes(random.Random(4).randbytes(300_000))
    options = ["--chunk-size=1K:2K:4K", f"--store={tmp_path}/pull.castr"]
    subprocess.run(
        [casync, "make", *options, tmp_path / "pull.caibx", tmp_path / "blob"], check=True, capture_output=True
    )
    (tmp_path / "tree").mkdir()
    subprocess.run(
        [casync, "make", tmp_path / "pull-archive.catar", tmp_path / "tree"], check=True, capture_output=True
    )
    return Server(tmp_path)


FLAGS = {"pull": 0xC0, "pull-archive": 0x100, "push": 0xE00, "push-archive": 0x1000}
VERBS = list(FLAGS)


def drained(fd: int) -> threading.Thread:
    """Read until the end, in the background."""

    def drain() -> None:
        while receive(fd):
            pass

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    return thread


def ask(server: Server, verb: str, *parts: bytes, close: bool = True) -> Ended:
    """Say all that to a server, read what it answers, and close our end or keep it open."""
    end = server.start(verb)
    reader = drained(end.read_fd)
    for part in parts:
        if not send_all(end.write_fd, part):
            break
    if close:
        os.close(end.write_fd)
    try:
        return end.wait(LIMIT_S)
    finally:
        reader.join()
        os.close(end.read_fd)
        if not close:
            os.close(end.write_fd)


@pytest.mark.parametrize("verb", ["pull", "push"])
@pytest.mark.parametrize("size", [1, 15, 16, 24, 100, 100_000])
def test_random_bytes_to_a_server(server: Server, verb: str, size: int) -> None:
    rng = random.Random(size)
    assert_refused(ask(server, verb, rng.randbytes(size)))
    assert_refused(ask(server, verb, hello(FLAGS[verb]), rng.randbytes(size)))
    server.unchanged()


@pytest.mark.parametrize("verb", ["pull", "push", "push-archive"])
@pytest.mark.parametrize("size", SIZES)
def test_sizes_to_a_server(server: Server, verb: str, size: int) -> None:
    """The sender stays and says no more: a size that cannot be is refused before anything is awaited for it."""
    for name in TYPES_AT_RISK if SOAK else TYPES_AT_RISK[SIZES.index(size) % 3 :: 3]:
        says = size_lies(name).get(size)
        if says is not None:
            first = hello(FLAGS[verb]) if name != "HELLO" else b""
            assert_refused(ask(server, verb, first, build_message(name, size=size), close=False), says=says)
    server.unchanged()


@pytest.mark.parametrize("flags", [0, (1 << 64) - 1, 1 << 13, 1 << 62, 0x800, 0x200, 0x40, 0x1, 0x3FFF])
def test_hellos_to_a_server(server: Server, flags: int) -> None:
    assert_refused(ask(server, "push-archive", hello(flags)), says="hello" if flags not in {0x200, 0x40, 0x1} else "")
    server.unchanged()


@pytest.mark.parametrize("verb", VERBS)
def test_silence_to_a_server(server: Server, verb: str) -> None:
    """Before HELLO, after it, and in the middle of something."""
    assert_refused(ask(server, verb, close=False))
    assert_refused(ask(server, verb, hello(FLAGS[verb]), close=False))
    if verb.startswith("push"):
        assert_refused(ask(server, verb, hello(FLAGS[verb]), INDEX[:100] if verb == "push" else b"", close=False))
        if verb == "push":
            assert_refused(ask(server, verb, hello(FLAGS[verb]), INDEX, close=False))
    server.unchanged()


@pytest.mark.parametrize("name", ["pull-blob", "pull-archive", "push-blob", "push-archive"])
def test_death_of_a_client_at_every_message(server: Server, name: str) -> None:
    """After each message of a recorded client and inside each; a pull may end after any, and nowhere inside one."""
    verb = name.removesuffix("-blob")
    messages = split_messages(read_transcript(VECTORS / f"{name}.transcript").sent(TO_SERVER))
    if not SOAK:
        messages = messages[:4]
    for number in range(len(messages)):
        before = [message for message in messages[:number] if type_name(message) != "CHUNK"]
        if number and verb.startswith("pull"):
            assert ask(server, verb, *before).status == 0
        else:
            assert_refused(ask(server, verb, *before))
        assert_refused(ask(server, verb, *before, messages[number][:-1]))
    server.unchanged()


def leave_unread(server: Server, *parts: bytes, stays: bool = False) -> Ended:
    """Say all that, or as much as is taken, to a pull server without reading what it says; then leave, or just stay."""
    end = server.start("pull")
    os.set_blocking(end.write_fd, False)
    room = select.poll()
    room.register(end.write_fd, select.POLLOUT)
    with contextlib.suppress(BrokenPipeError):
        data = memoryview(b"".join(parts))
        while data and room.poll(1000):
            data = data[os.write(end.write_fd, data) :]
    ended = end.wait(LIMIT_S) if stays else None
    os.close(end.write_fd)
    os.close(end.read_fd)
    return ended or end.wait(LIMIT_S)


def test_a_flood_of_requests(server: Server) -> None:
    """More ids than may be outstanding, while nobody reads the answers; and as many while they are read."""
    rng = random.Random(1)
    floods = [request(*(rng.randbytes(32) for _ in range(2048))) for _ in range(40)]
    for ended in (leave_unread(server, hello(0xC0), *floods), ask(server, "pull", hello(0xC0), *floods)):
        assert ended.status in {0, 1}
        assert ended.stderr.count("\n") <= 1, ended.stderr
        assert ended.peak < PEAK


@pytest.mark.parametrize("stays", [False, True])
def test_a_client_that_does_not_read(server: Server, stays: bool) -> None:
    ids = [bytes.fromhex(path.stem) for path in (server.folder / "pull.castr").rglob("*.cacnk")]
    ended = leave_unread(server, hello(0xC0) + request(*ids), stays=stays)
    assert ended.status in ({1} if stays else {0, 1})
    assert ended.peak < PEAK


@pytest.mark.parametrize("when", ["at once", "before the index ended", "after an answer"])
def test_chunks_never_asked_for(server: Server, when: str) -> None:
    stranger = chunk(hashlib.new("sha512_256", b"x").digest(), zstandard.compress(b"x"))
    if when == "at once":
        ended = ask(server, "push", hello(0xE00), stranger)
    elif when == "before the index ended":
        ended = ask(server, "push", hello(0xE00), INDEX[:-16], stranger)
    else:
        ended = answering(server, chunk(ID_ONE, PACKED_ONE), stranger)
    assert_refused(ended, says="without being requested")
    server.unchanged()


def answering(server: Server, *answers: bytes) -> Ended:
    """Push an index, wait for the REQUEST, answer, and stay."""
    end = server.start("push")
    send_all(end.write_fd, hello(0xE00) + INDEX)
    assert wait_for(end.read_fd, "REQUEST")
    reader = drained(end.read_fd)
    for answer in answers:
        send_all(end.write_fd, answer)
    try:
        return end.wait(LIMIT_S)
    finally:
        reader.join()
        os.close(end.read_fd)
        os.close(end.write_fd)


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_wrong_answers_to_a_server(server: Server, name: str) -> None:
    assert_refused(answering(server, WRONG_ANSWERS[name](), RIGHT_ANSWER))
    server.unchanged()
    stored = [path.stem for path in (server.folder / "push.castr").rglob("*.cacnk")]
    assert set(stored) <= {ID_ONE.hex(), ID_TWO.hex()}


def test_an_index_that_never_ends(server: Server) -> None:
    """Rows without end go to a file, until that is too much; memory stays small."""
    rows = bytearray(index_of()[:64])
    for number in range(1, 50_000):
        rows += struct.pack("<Q", number) + hashlib.sha256(b"%d" % number).digest()
    end = server.start("push")
    reader = drained(end.read_fd)
    send_all(end.write_fd, hello(0xE00) + build_message("INDEX", bytes(rows)))
    os.close(end.write_fd)
    ended = end.wait(LIMIT_S)
    reader.join()
    os.close(end.read_fd)
    assert_refused(ended)
    server.unchanged()
