"""`casync-py extract` from web servers that are broken or mean: it ends, in bounded memory, with all or an error.

The server has what casync-py has made and answers as nginx would, or as our own does where it speaks of exchanges,
except for what a case makes of some answers. Whatever it does, no output is wrong, and what is said is one line.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from casync_py.ids import ChunkId
from casync_py.protocol.messages import ChunkData, Message, Missing, Request
from casync_py.protocol.posted import FAREWELL, MEDIA_TYPE, BodyReader, Exchange, Side, body, greeting
from casync_py.testing.castr import index_ids
from casync_py.testing.hostile import bomb
from casync_py.testing.peak import wait_and_measure
from casync_py.testing.web import CLOSE, RESET, Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

PEAK = 200 << 20
LIMIT_S = 40.0
ENDLESS = 1 << 40
PIECE = bytes(1 << 16)
BOMB = bomb()


@dataclass(frozen=True, slots=True)
class Made:
    """What is served, and what it was made of."""

    served: Path
    source: Path

    @property
    def ids(self) -> list[str]:
        return index_ids(self.served / "blob.caibx")

    def chunk(self, name: str) -> bytes:
        return (self.served / "default.castr" / name[:4] / f"{name}.cacnk").read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    (folder / "served").mkdir()
    rng = random.Random(3)
    (folder / "blob").write_bytes(b"".join(rng.randbytes(6000).hex().encode() for _ in range(60)))
    command = [sys.executable, "-m", "casync_py", "make", "--chunk-size=4K:16K:64K", "blob.caibx", "../blob"]
    subprocess.run(command, cwd=folder / "served", check=True, capture_output=True)
    subprocess.run(
        [*command[:4], "tree.catar", str(folder / "served/default.castr")], cwd=folder / "served", check=True
    )
    return Made(folder / "served", folder / "blob")


# Honest servers


def plain(made: Made) -> Callable[[Asked], Iterable[Step]]:
    """Files, as any web server gives them; it knows nothing of casync."""

    def script(asked: Asked) -> Iterator[Step]:
        path = made.served / asked.target.partition("?")[0].lstrip("/")
        if asked.method not in {"GET", "HEAD"}:
            yield answer(405)
        elif not path.is_file():
            yield answer(404)
        else:
            yield answer(200, path.read_bytes(), 'ETag: "1"')

    return script


def speaking(made: Made) -> Callable[[Asked], Iterable[Step]]:
    """The same, and chunks by POST."""
    files = plain(made)

    def script(asked: Asked) -> Iterator[Step]:
        if asked.method == "OPTIONS":
            yield answer(204, b"", "Casync-Protocol: pull, has", length=-1)
        elif asked.method == "POST":
            yield answer(200, pulled(made, asked), f"Content-Type: {MEDIA_TYPE}")
        else:
            yield from files(asked)

    return script


def requested(asked: Asked) -> list[str]:
    reader = BodyReader(Exchange.PULL, Side.CLIENT)
    return [name.hex() for message in reader.feed(asked.body) if isinstance(message, Request) for name in message.ids]


def pulled(made: Made, asked: Asked) -> bytes:
    chunks = [ChunkData(to_id(name), made.chunk(name), True) for name in requested(asked)]
    return body(Exchange.PULL, Side.SERVER, chunks)


def to_id(name: str) -> ChunkId:
    return ChunkId(bytes.fromhex(name))


# The command


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    status: int
    said: str


class Run(Protocol):
    """Runs `extract` against a server. Measured, it is a process of its own, with a bound for its memory."""

    def __call__(
        self, server: ScriptedServer, output: Path, *options: str, name: str = "blob.caibx", measured: bool = False
    ) -> Ended: ...


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    from casync_py.cli import main
    from casync_py.transport.retry import Retry

    monkeypatch.setattr(Retry, "pause_s", lambda _self, _failures: 0.02)

    def run(
        server: ScriptedServer, output: Path, *options: str, name: str = "blob.caibx", measured: bool = False
    ) -> Ended:
        arguments = ["extract", "--retries=1", "--timeout=1", *options, server.url(f"/{name}"), str(output)]
        if measured:
            status, said = _measured(arguments)
        else:
            capfd.readouterr()
            status = main(arguments)
            said = capfd.readouterr().err
        assert "Traceback" not in said
        assert "Internal error" not in said
        return Ended(status, said)

    return run


def _measured(arguments: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "casync_py", *arguments]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        ended, peak = wait_and_measure(process, LIMIT_S)
        said.seek(0)
        text = said.read().decode(errors="replace")
    assert ended, f"It did not end: {text}"
    assert peak < PEAK
    return process.returncode, text


def assert_refused(ended: Ended, server: ScriptedServer, output: Path) -> None:
    """An error that says where, and nothing wrong in place."""
    assert ended.status == 1, ended.said
    assert not output.exists()
    last = ended.said.splitlines()[-1]
    assert server.origin.partition("://")[2] in last or re.search("[0-9a-f]{64}", last), ended.said
    assert len(ended.said) < 1500


def assert_done(ended: Ended, made: Made, output: Path) -> None:
    assert ended.status == 0, ended.said
    assert output.read_bytes() == made.source.read_bytes()


def meddled(
    honest: Callable[[Asked], Iterable[Step]],
    concerns: Callable[[Asked], bool],
    make: Callable[[Asked, bytes], Iterable[Step]],
) -> Callable[[Asked], Iterable[Step]]:
    """An honest server that makes something else of its answers to some requests: `make(asked, honest body)`."""

    def script(asked: Asked) -> Iterator[Step]:
        steps = honest(asked)
        if not concerns(asked):
            yield from steps
            return
        whole = b"".join(step for step in steps if isinstance(step, bytes))
        yield from make(asked, whole.partition(b"\r\n\r\n")[2])

    return script


def endless(head: bytes) -> Iterator[Step]:
    yield head
    for _ in range(ENDLESS // len(PIECE)):
        yield PIECE


def endless_chunked(head: bytes) -> Iterator[Step]:
    yield head
    for _ in range(ENDLESS // len(PIECE)):
        yield b"10000\r\n" + PIECE + b"\r\n"


def drip(data: bytes) -> Iterator[Step]:
    """A byte now and then: never silent for as long as the timeout, and never done."""
    yield answer(200, b"", f"Content-Type: {MEDIA_TYPE}", length=len(data))
    for position in range(len(data)):
        yield data[position : position + 1]
        yield 0.3


def endless_head() -> Iterator[Step]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(1 << 30):
        yield b"X-Header-%d: %s\r\n" % (number, b"a" * 4000)


def endless_interim() -> Iterator[Step]:
    for _ in range(1 << 30):
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100


TYPE = f"Content-Type: {MEDIA_TYPE}"

# What is made of the honest body of an answer. Each leads to an error, wherever it is done.
MALICE: dict[str, Callable[[bytes], Iterable[Step]]] = {
    "nothing": lambda _data: [answer(200, b"", TYPE)],
    "garbage": lambda data: [answer(200, random.Random(1).randbytes(len(data)), TYPE)],
    "a page for people": lambda _data: [answer(200, b"<html>Please log in</html>", "Content-Type: text/html")],
    "cut short, and said so": lambda data: [answer(200, data[: len(data) // 2], TYPE)],
    "cut short": lambda data: [answer(200, data[: len(data) // 2], TYPE, length=len(data)), CLOSE],
    "reset": lambda data: [answer(200, data[: len(data) // 2], TYPE, length=len(data)), RESET],
    "more than is there": lambda data: [answer(200, data, TYPE, length=len(data) + 1), CLOSE],
    "less than is there": lambda data: [answer(200, data, TYPE, length=len(data) - 1), CLOSE],
    "two lengths": lambda data: [answer(200, data, TYPE, f"Content-Length: {len(data) + 1}"), CLOSE],
    "no number": lambda data: [answer(200, data, TYPE, "Content-Length: many", length=-1), CLOSE],
    "a negative length": lambda data: [answer(200, data, TYPE, "Content-Length: -7", length=-1), CLOSE],
    "the largest length": lambda data: [answer(200, data, TYPE, length=(1 << 64) - 1), CLOSE],
    "chunked and never closed": lambda data: [
        answer(200, b"", TYPE, "Transfer-Encoding: chunked", length=-1) + b"%x\r\n%s\r\n" % (len(data), data),
        CLOSE,
    ],
    "a wrong chunk size": lambda data: [
        answer(200, b"", TYPE, "Transfer-Encoding: chunked", length=-1) + b"zz\r\n" + data,
        CLOSE,
    ],
    "an endless body": lambda _data: endless(answer(200, b"", TYPE, length=-1)),
    "a body without measure": lambda _data: endless(answer(200, b"", TYPE, length=ENDLESS)),
    "endless chunks": lambda _data: endless_chunked(answer(200, b"", TYPE, "Transfer-Encoding: chunked", length=-1)),
    "an endless head": lambda _data: endless_head(),
    "endless interim answers": lambda _data: endless_interim(),
    "silence": lambda _data: [LIMIT_S * 2],
    "a slow drip": drip,
    "no HTTP": lambda _data: [b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", CLOSE],
    "nothing at all": lambda _data: [CLOSE],
    "a bomb": lambda _data: [answer(200, BOMB, TYPE)],
    "gzip that nobody asked for": lambda data: [answer(200, data, TYPE, "Content-Encoding: gzip")],
    "500 for ever": lambda _data: [answer(500, b"<html>no</html>" * 100)],
    "401": lambda _data: [answer(401, b"no", 'WWW-Authenticate: Basic realm="x"')],
    "403": lambda _data: [answer(403, b"no")],
    "418": lambda _data: [answer(418, b"no\r\n\x1b[31mred")],
    "a redirect to itself": lambda _data: [answer(302, b"", "Location: ?again")],
    "a redirect to nowhere": lambda _data: [answer(302, b"")],
    "a redirect to a file": lambda _data: [answer(302, b"", "Location: file:///etc/passwd")],
    "a redirect to nobody": lambda _data: [answer(307, b"", "Location: http://127.0.0.1:1/x")],
}


HUNGRY = {
    "an endless body",
    "a body without measure",
    "endless chunks",
    "an endless head",
    "endless interim answers",
    "a bomb",
    "the largest length",
}
SLOW = {"silence", "a slow drip", "endless interim answers"}
ALL_THERE = {"more than is there", "less than is there", "the largest length", "chunked and never closed"}
"""An exchange ends with its GOODBYE: who got there has everything, verified."""


@pytest.mark.parametrize("malice", MALICE)
@pytest.mark.parametrize("where", ["index", "chunk", "exchange"])
def test_one_kind_of_answer_is_wrong(made: Made, run: Run, tmp_path: Path, where: str, malice: str) -> None:
    def concerns(asked: Asked) -> bool:
        if where == "index":
            return asked.target.partition("?")[0] == "/blob.caibx"
        return asked.method == "POST" if where == "exchange" else made.ids[2] in asked.target

    honest = speaking(made) if where == "exchange" else plain(made)
    script = meddled(honest, concerns, lambda _asked, data: MALICE[malice](data))
    options = ["--retries=0"] if malice in SLOW else []
    with ScriptedServer(script) as server:
        ended = run(server, tmp_path / "out", *options, measured=malice in HUNGRY)
        if where == "exchange" and malice in ALL_THERE and ended.status == 0:
            assert_done(ended, made, tmp_path / "out")
        else:
            assert_refused(ended, server, tmp_path / "out")


@pytest.mark.parametrize("malice", ["cut short", "an endless body", "garbage", "a slow drip", "500 for ever"])
def test_the_archive_is_wrong(made: Made, run: Run, tmp_path: Path, malice: str) -> None:
    script = meddled(plain(made), lambda _asked: True, lambda _asked, data: MALICE[malice](data))
    with ScriptedServer(script) as server:
        ended = run(server, tmp_path / "out", name="tree.catar", measured=malice in HUNGRY)
    assert ended.status == 1
    assert server.origin in ended.said


@pytest.mark.parametrize("way", ["plain", "speaking"])
def test_content_of_another_chunk(made: Made, run: Run, tmp_path: Path, way: str) -> None:
    """It verifies as a chunk, only not as this one."""
    other = made.chunk(made.ids[3])
    chunks = [ChunkData(to_id(made.ids[2]), other, True)]
    honest = plain(made) if way == "plain" else speaking(made)

    def make(asked: Asked, _data: bytes) -> Iterable[Step]:
        if way == "plain":
            return [answer(200, other)]
        names = requested(asked)
        right = [ChunkData(to_id(name), made.chunk(name), True) for name in names if name != made.ids[2]]
        wrong = chunks if made.ids[2] in names else []
        return [answer(200, body(Exchange.PULL, Side.SERVER, [*right, *wrong]), TYPE)]

    def concerns(asked: Asked) -> bool:
        return made.ids[2] in asked.target if way == "plain" else asked.method == "POST"

    with ScriptedServer(meddled(honest, concerns, make)) as server:
        ended = run(server, tmp_path / "out")
        assert_refused(ended, server, tmp_path / "out")
        assert made.ids[2] in ended.said


def answered(*messages: Message) -> bytes:
    return body(Exchange.PULL, Side.SERVER, messages)


# What is made of the honest answers to an exchange.
LIES: dict[str, Callable[[list[ChunkData]], bytes]] = {
    "missing": lambda right: answered(*(Missing(chunk.chunk_id) for chunk in right)),
    "not asked for": lambda right: answered(ChunkData(to_id("ab" * 32), right[0].data, True)),
    "some left out": lambda right: answered(*right[1:]),
    "twice": lambda right: answered(right[0], right[0]),
    "no end": lambda _right: greeting(Exchange.PULL, Side.SERVER),
    "no beginning": lambda _right: FAREWELL,
    "the wrong beginning": lambda right: body(Exchange.SEND, Side.CLIENT, right),
    "a request": lambda right: answered(Request([right[0].chunk_id])),
    "a size beyond all bounds": lambda _right: (
        greeting(Exchange.PULL, Side.SERVER) + struct.pack("<QQ", 1 << 62, 0x5213DD180A84BC8C) + bytes(100)
    ),
    "plain called compressed": lambda right: answered(
        *(ChunkData(chunk.chunk_id, b"plain" * 100, True) for chunk in right)
    ),
    "other content": lambda right: answered(*(ChunkData(chunk.chunk_id, b"plain" * 100, False) for chunk in right)),
    "bombs": lambda right: answered(*(ChunkData(chunk.chunk_id, BOMB, True) for chunk in right)),
    "more behind the end": lambda right: answered(*right) + b"more",
}


@pytest.mark.parametrize("lie", LIES)
def test_an_exchange_lies(made: Made, run: Run, tmp_path: Path, lie: str) -> None:
    def make(asked: Asked, _data: bytes) -> Iterable[Step]:
        right = [ChunkData(to_id(name), made.chunk(name), True) for name in requested(asked)]
        return [answer(200, LIES[lie](right), TYPE)]

    with ScriptedServer(meddled(speaking(made), lambda asked: asked.method == "POST", make)) as server:
        ended = run(server, tmp_path / "out", measured=lie == "bombs")
        if lie == "more behind the end" and ended.status == 0:  # all was there, and right
            assert_done(ended, made, tmp_path / "out")
        else:
            assert_refused(ended, server, tmp_path / "out")


# Trouble that passes


@pytest.mark.parametrize("way", ["plain", "speaking"])
def test_half_of_all_answers_are_500(made: Made, run: Run, tmp_path: Path, way: str) -> None:
    """Which ones is chance, as is which of the client's threads is answered: one may be refused many times in a row."""
    rng = random.Random(4)
    honest = plain(made) if way == "plain" else speaking(made)
    script = meddled(honest, lambda _asked: rng.random() < 0.5, lambda _asked, _data: [answer(500, b"no")])
    with ScriptedServer(script) as server:
        ended = run(server, tmp_path / "out", "--retries=30")
        assert_done(ended, made, tmp_path / "out")


PASSING: dict[str, Callable[[bytes], Iterable[Step]]] = {
    name: MALICE[name]
    for name in ("cut short", "reset", "more than is there", "nothing at all", "silence", "500 for ever", "a slow drip")
} | {
    "busy": lambda _data: [answer(503, b"busy", "Retry-After: 0")],
    "too many": lambda _data: [answer(429, b"slow down")],
    "too early": lambda _data: [answer(425, b"")],
    "timeout": lambda _data: [answer(408, b""), CLOSE],
    "gateway": lambda _data: [answer(504, b"")],
}


@pytest.mark.parametrize("trouble", PASSING)
@pytest.mark.parametrize("way", ["plain", "speaking"])
def test_every_url_fails_once(made: Made, run: Run, tmp_path: Path, way: str, trouble: str) -> None:
    """Indexes, OPTIONS, chunks, exchanges: what fails once is asked for again, and the result is right."""
    seen: Counter[str] = Counter()
    limit = 6 if trouble in {"silence", "a slow drip"} else 1000  # each takes its time

    def concerns(asked: Asked) -> bool:
        seen[asked.target] += 1
        return seen[asked.target] == 1 and len(seen) <= limit

    honest = plain(made) if way == "plain" else speaking(made)
    with ScriptedServer(meddled(honest, concerns, lambda _asked, data: PASSING[trouble](data))) as server:
        ended = run(server, tmp_path / "out", "--retries=4")  # a busy machine may be late too
        assert_done(ended, made, tmp_path / "out")


def test_a_client_error_is_not_tried_again(made: Made, run: Run, tmp_path: Path) -> None:
    with ScriptedServer(lambda _asked: [answer(403, b"no")]) as server:
        assert run(server, tmp_path / "out").status == 1
        assert len({asked.target for asked in server.asked}) == len(server.asked)


# Elsewhere


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_stay_with_whom_they_were_meant_for(made: Made, run: Run, tmp_path: Path, status: int) -> None:
    """Redirected to another port, a request goes there without anything that says who we are."""
    with ScriptedServer(plain(made)) as elsewhere:

        def script(asked: Asked) -> Iterable[Step]:
            return [answer(status, b"", f"Location: {elsewhere.origin}{asked.target}")]

        with ScriptedServer(script) as server:
            options = ["--http-header=Authorization: Bearer secret-token", "--http-header=X-Key: secret-key"]
            assert_done(run(server, tmp_path / "out", *options), made, tmp_path / "out")
            assert all("secret-token" in asked.headers["authorization"] for asked in server.asked)
    assert len(elsewhere.asked) > len(set(made.ids))
    assert not [line for asked in elsewhere.asked for line in asked.lines if "secret" in line]


def test_passwords_are_in_no_message(made: Made, run: Run, tmp_path: Path) -> None:
    with ScriptedServer(lambda _asked: [answer(404, b"no secret-word here")]) as server:
        place = server.origin.partition("://")[2]
        command = [
            sys.executable,
            "-m",
            "casync_py",
            "extract",
            "-v",
            f"http://me:secret-word@{place}/blob.caibx?key=secret-key",
        ]
        done = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1
    assert place in done.stderr
    assert "secret-key" not in done.stderr
    assert "me:secret-word" not in done.stderr
