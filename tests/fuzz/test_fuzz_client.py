"""A peer that never was one, against our client: random bytes, sizes, silence, lies, wrong content, its death.

Each client has to end within its timeout, with status 1 and one line that says why, in little memory, and to leave
nothing behind but what it may go on from. CASYNC_PY_SOAK makes the lists longer.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.hostile import (
    INDEX,
    LIMIT_S,
    RIGHT_ANSWER,
    SIZES,
    WRONG_ANSWERS,
    assert_refused,
    hello,
    index_of,
    request,
    size_lies,
)
from casync_py.testing.meddling import End, Ended, iter_messages, listening, receive, send_all, wait_for, write_bridge
from casync_py.testing.transcripts import TO_CLIENT, build_message, read_transcript, split_messages

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parents[1] / "vectors/transcripts"
SOAK = "CASYNC_PY_SOAK" in os.environ
TYPES_AT_RISK = ["HELLO", "INDEX", "ARCHIVE", "REQUEST", "CHUNK", "MISSING", "GOODBYE", "ABORT"]
SERVER_FLAGS = {"pull": 5, "pull-archive": 0x10, "push": 0xA}


@dataclass(frozen=True, slots=True)
class Client:
    folder: Path

    def run(self, verb: str, serve: Callable[[int], None]) -> Ended:
        """Run a client against a server that is a function of its connection, which is closed when that returns."""
        folder = self.folder
        if verb == "pull":
            arguments = ["extract", f"--store=far:{folder}/s.castr", f"far:{folder}/x.caibx", str(folder / "out")]
        elif verb == "pull-archive":
            arguments = ["list", f"far:{folder}/x.catar"]
        else:
            arguments = ["make", f"--store=far:{folder}/s.castr", f"far:{folder}/x.caibx", str(folder / "blob")]
        address = folder / "socket"
        address.unlink(missing_ok=True)
        bridge = write_bridge(folder / "ssh", address)
        environment = {"CASYNC_SSH_PATH": str(bridge), "CASYNC_REMOTE_PATH": "casync", "TMPDIR": str(folder)}
        with listening(address, LIMIT_S) as door:
            end = End(
                [sys.executable, "-m", "casync_py", arguments[0], "--timeout=1", *arguments[1:]],
                environment,
                piped=False,
            )
            link, _address = door.accept()
            link.settimeout(None)
            with link, contextlib.suppress(OSError):
                serve(link.fileno())
            return end.wait(LIMIT_S)

    def unchanged(self) -> None:
        assert sorted(set(os.listdir(self.folder)) - {".out.partial"}) == ["blob", "socket", "ssh"]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    (tmp_path / "blob").write_bytes(random.Random(5).randbytes(300_000))
    return Client(tmp_path)


def drained(fd: int) -> None:
    """Read until the end, in the background."""

    def drain() -> None:
        while receive(fd):
            pass

    threading.Thread(target=drain, daemon=True).start()


def saying(*parts: bytes, stay: bool = False) -> Callable[[int], None]:
    """A server that says that and ends, or stays until its client leaves."""

    def serve(fd: int) -> None:
        for part in parts:
            if not send_all(fd, part):
                return
        if stay:
            for _message in iter_messages(fd):
                pass

    return serve


@pytest.mark.parametrize("verb", SERVER_FLAGS)
@pytest.mark.parametrize("size", [1, 16, 100, 100_000])
def test_random_bytes_to_a_client(client: Client, verb: str, size: int) -> None:
    rng = random.Random(size)
    assert_refused(client.run(verb, saying(rng.randbytes(size))))
    assert_refused(client.run(verb, saying(hello(SERVER_FLAGS[verb]), rng.randbytes(size))))
    client.unchanged()


@pytest.mark.parametrize("verb", SERVER_FLAGS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_to_a_client(client: Client, verb: str, size: int) -> None:
    for name in TYPES_AT_RISK if SOAK else TYPES_AT_RISK[SIZES.index(size) % 4 :: 4]:
        says = size_lies(name).get(size)
        if says is not None:
            said = hello(SERVER_FLAGS[verb]) if name != "HELLO" else b""
            assert_refused(client.run(verb, saying(said, build_message(name, size=size), stay=True)), says=says)
    client.unchanged()


@pytest.mark.parametrize("verb", SERVER_FLAGS)
def test_silence_to_a_client(client: Client, verb: str) -> None:
    assert_refused(client.run(verb, saying(stay=True)))
    assert_refused(client.run(verb, saying(hello(SERVER_FLAGS[verb]), stay=True)))
    if verb == "pull":
        assert_refused(client.run(verb, saying(hello(5), INDEX[:-16], stay=True)))
        assert_refused(client.run(verb, saying(hello(5), INDEX, stay=True)))
    client.unchanged()


@pytest.mark.parametrize("verb", SERVER_FLAGS)
def test_goodbye_is_no_success(client: Client, verb: str) -> None:
    """casync's client reports success after it, with nothing pulled."""
    assert_refused(client.run(verb, saying(hello(SERVER_FLAGS[verb]) + build_message("GOODBYE"), stay=True)))
    client.unchanged()


def test_abort_says_why(client: Client) -> None:
    body = struct.pack("<Q", 28) + b"The disk over there is full\0"
    assert_refused(
        client.run("push", saying(hello(0xA), build_message("ABORT", body), stay=True)), says="disk over there"
    )
    evil = struct.pack("<Q", 28) + b"\x1b]0;title\x07 two\nlines\0"
    assert_refused(client.run("pull", saying(hello(5), build_message("ABORT", evil), stay=True)))
    client.unchanged()


@pytest.mark.parametrize("name", ["pull-blob", "pull-archive", "push-blob"])
def test_death_of_a_server_at_every_message(client: Client, name: str) -> None:
    messages = split_messages(read_transcript(VECTORS / f"{name}.transcript").sent(TO_CLIENT))
    if not SOAK:
        messages = messages[:3]
    for number in range(len(messages)):
        before = messages[:number]
        assert_refused(client.run(name.removesuffix("-blob"), saying(*before)))
        assert_refused(client.run(name.removesuffix("-blob"), saying(*before, messages[number][:-1])))
    client.unchanged()


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_wrong_answers_to_a_client(client: Client, name: str) -> None:
    def serve(fd: int) -> None:
        send_all(fd, hello(5) + INDEX)
        wait_for(fd, "REQUEST")
        send_all(fd, WRONG_ANSWERS[name]() + RIGHT_ANSWER)
        for _message in iter_messages(fd):
            pass

    assert_refused(client.run("pull", serve))
    client.unchanged()


@pytest.mark.parametrize("asked", ["strangers", "the same again", "without end"])
def test_requests_to_a_pushing_client(client: Client, asked: str) -> None:
    """For chunks that it does not have, for the same chunk for ever, for more than there can be."""
    rng = random.Random(3)

    def serve(fd: int) -> None:
        send_all(fd, hello(0xA))
        drained(fd)
        first = request(*(rng.randbytes(32) for _ in range(10)))
        while send_all(fd, first if asked == "the same again" else request(*(rng.randbytes(32) for _ in range(2048)))):
            if asked == "strangers":
                break
        threading.Event().wait(3 * int(asked == "strangers"))

    assert_refused(client.run("push", serve))
    client.unchanged()


def test_an_index_of_a_terabyte(client: Client) -> None:
    """INDEX messages without end: refused at a bound, which is above what any real index needs."""

    def serve(fd: int) -> None:
        send_all(fd, hello(5) + build_message("INDEX", index_of()[:64]))
        piece = bytes(1 << 20)
        while send_all(fd, build_message("INDEX", piece)):
            pass

    assert_refused(client.run("pull", serve))
    client.unchanged()
