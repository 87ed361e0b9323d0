"""`casync-py serve` under many clients at once, honest and mean: its memory is bounded, and honest ones finish.

The server is a process of its own, whose memory is measured. What single requests do to it, the unit tests of its
parts have.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import zstandard

from casync_py.ids import ChunkId
from casync_py.protocol.messages import ChunkData, Request
from casync_py.protocol.posted import MEDIA_TYPE, BodyReader, Exchange, Side, body
from casync_py.testing.castr import index_faults, index_ids, store_faults
from casync_py.testing.hostile import bomb
from casync_py.testing.serve_process import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    RunCli = Callable[..., subprocess.CompletedProcess[str]]

CLIENTS = 64
PEAK = 300 << 20
LIMIT_S = 60.0
TIMEOUT = "--timeout=2"
STORES_OPEN = 20  # descriptors that a server keeps for the stores that it has opened
STORE = "default.castr"
SECRET = b"nobody may read this"


@dataclass(frozen=True, slots=True)
class Made:
    """What is served, and what it was made of."""

    folder: Path
    source: Path

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(index_ids(self.folder / "blob.caibx")))

    def chunk(self, name: str) -> bytes:
        return (self.folder / STORE / name[:4] / f"{name}.cacnk").read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """24 MB that hardly compress, in some 400 chunks."""
    folder = tmp_path_factory.mktemp("made") / "served"
    folder.mkdir()
    source = folder.parent / "blob"
    source.write_bytes(random.Random(3).randbytes(24_000_000))
    command = [sys.executable, "-m", "casync_py", "make", "blob.caibx", str(source)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder.parent / "secret.caibx").write_bytes(SECRET)
    return Made(folder, source)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServeProcess]]:
    """Starts servers, which have to end well and never to need more memory than they may."""
    with ExitStack() as started:

        def start(*arguments: str | Path) -> ServeProcess:
            server = ServeProcess(tmp_path / "log", *arguments)
            started.enter_context(server)
            started.callback(lambda: _assert_well(server))
            return server

        yield start


def _assert_well(server: ServeProcess) -> None:
    peak = server.peak()
    print(f"Peak of the server: {peak >> 20} MiB")
    assert peak < PEAK
    assert "Traceback" not in server.said()


def connect(server: ServeProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), LIMIT_S)


def request(method: str, target: str, content: bytes = b"", *lines: str, length: int | None = None) -> bytes:
    told = len(content) if length is None else length
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {told}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + content


def ask(server: ServeProcess, data: bytes) -> tuple[int, bytes]:
    """Send bytes on a connection of their own; status and what follows the head, until the server has said all."""
    with connect(server) as sock:
        with suppress(ConnectionError):  # it may have heard enough; its answer is there
            sock.sendall(data)
        parts = []
        with suppress(ConnectionError):
            while part := sock.recv(1 << 16):
                parts.append(part)
                head, _, rest = b"".join(parts).partition(b"\r\n\r\n")
                if b"content-length: %d\r" % len(rest) in head.lower() + b"\r":
                    break
    answer = b"".join(parts)
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else 0, rest


def pull(made: Made, names: list[str]) -> bytes:
    """The request for some chunks."""
    ids = [ChunkId(bytes.fromhex(name)) for name in names]
    content = body(Exchange.PULL, Side.CLIENT, [Request(ids)])
    return request("POST", f"/{STORE}?pull", content, f"Content-Type: {MEDIA_TYPE}")


def assert_serves(server: ServeProcess, cli: RunCli, made: Made, output: Path) -> None:
    """Somebody who means well gets everything."""
    done = cli("extract", f"{server.url}/blob.caibx", output)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == made.source.read_bytes()


def test_64_clients_get_everything_at_once(serve: Callable[..., ServeProcess], made: Made) -> None:
    """Half of them by exchanges of 100 chunks, the others chunk by chunk; every byte of it is right."""
    server = serve(made.folder)
    names = made.ids
    expected = {name: made.chunk(name) for name in names}

    def by_exchange() -> None:
        for start in range(0, 200, 100):
            asked = names[start : start + 100]
            status, content = ask(server, pull(made, asked).replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1))
            assert status == 200
            reader = BodyReader(Exchange.PULL, Side.SERVER)
            got = reader.feed(_unchunked(content))
            reader.finish()
            assert {chunk.chunk_id.hex(): bytes(chunk.data) for chunk in got if isinstance(chunk, ChunkData)} == {
                name: expected[name] for name in asked
            }

    def by_chunk() -> None:
        for name in names[::24]:
            status, content = ask(server, request("GET", f"/{STORE}/{name[:4]}/{name}.cacnk"))
            assert (status, content) == (200, expected[name])

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(by_exchange if number % 2 else by_chunk) for number in range(CLIENTS)]:
            done.result()
    assert server.peak() < PEAK


def _unchunked(content: bytes) -> bytes:
    """The content of a chunked body."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = content.index(b"\r\n", at)
        size = int(content[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(content[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def test_readers_that_do_not_read(serve: Callable[..., ServeProcess], cli: RunCli, made: Made, tmp_path: Path) -> None:
    """64 clients ask for everything and take nothing; they are given up after the timeout."""
    server = serve(TIMEOUT, made.folder)
    data = pull(made, made.ids)
    before = server.descriptors()
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(CLIENTS)]
        for sock in idle:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(data)
        assert_serves(server, cli, made, tmp_path / "out")
        _await(lambda: server.descriptors() <= before + STORES_OPEN)


def _await(condition: Callable[[], bool]) -> None:
    """Until it is so; a server's state cannot be waited for in another way."""
    until = time.monotonic() + LIMIT_S / 2
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_bodies_that_do_not_come(serve: Callable[..., ServeProcess], cli: RunCli, made: Made, tmp_path: Path) -> None:
    """64 clients send the most that a body may have but for its end; then nothing."""
    (tmp_path / "there").mkdir()
    server = serve(TIMEOUT, "--writable", tmp_path / "there")
    name = "ab" * 32
    junk = random.Random(5).randbytes(8 << 20)
    heads = [
        request("PUT", f"/{STORE}/{name[:4]}/{name}.cacnk", length=16 << 20),
        request("PUT", "/blob.caibx", length=1 << 30),
        request("POST", f"/{STORE}?send", b"", f"Content-Type: {MEDIA_TYPE}", length=16 << 20),
        request("POST", f"/{STORE}?ask", b"", f"Content-Type: {MEDIA_TYPE}", length=16 << 20),
        request("POST", f"/{STORE}?has", b"", "Content-Type: application/vnd.casync.ids", length=1 << 20),
    ]

    def send(sock: socket.socket, number: int) -> None:
        with suppress(OSError):
            sock.sendall(heads[number % len(heads)] + junk)
            while sock.recv(1 << 20):
                pass

    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:
        socks = [stack.enter_context(connect(server)) for _ in range(CLIENTS)]
        for number, sock in enumerate(socks):
            pool.submit(send, sock, number)
        try:
            done = cli("make", f"{server.url}/honest.caibx", made.source)
            assert done.returncode == 0, done.stderr
        finally:
            for sock in socks:
                with suppress(OSError):  # some are refused and closed
                    sock.shutdown(socket.SHUT_RDWR)
    assert index_faults(tmp_path / "there/honest.caibx", tmp_path / "there" / STORE) == []
    assert store_faults(tmp_path / "there" / STORE) == []
    assert sorted(os.listdir(tmp_path / "there")) == [STORE, "honest.caibx"]


def test_bombs_and_wrong_chunks_from_everywhere(serve: Callable[..., ServeProcess], tmp_path: Path) -> None:
    """64 clients put what is not what its id says: bombs, other content, garbage, messages that lie."""
    (tmp_path / "there").mkdir()
    server = serve(TIMEOUT, "--writable", tmp_path / "there")
    explosive = bomb()
    name = hashlib.new("sha512_256", bytes(1 << 30)).hexdigest()  # what the bomb would be
    other = "ab" * 32
    send = body(Exchange.SEND, Side.CLIENT, [ChunkData(ChunkId(bytes.fromhex(name)), explosive, True)])
    wrong = [
        request("PUT", f"/{STORE}/{name[:4]}/{name}.cacnk", explosive),
        request("PUT", f"/{STORE}/{other[:4]}/{other}.cacnk", zstandard.compress(b"something else")),
        request("PUT", f"/{STORE}/{other[:4]}/{other}.cacnk", random.Random(1).randbytes(100_000)),
        request("PUT", f"/{STORE}/{other[:4]}/{other}", b"something else"),
        request("PUT", f"/{STORE}/{name[:4]}/{other}.cacnk", b""),
        request("POST", f"/{STORE}?send", send, f"Content-Type: {MEDIA_TYPE}"),
        request("POST", f"/{STORE}?send", send[:-30], f"Content-Type: {MEDIA_TYPE}"),
        request("POST", f"/{STORE}?send", send[:24] + struct.pack("<QQ", 1 << 62, 7), f"Content-Type: {MEDIA_TYPE}"),
        request("PUT", "/blob.caibx", bytes(1000)),
        request("PUT", "/blob.catar", bytes(1000)),
    ]
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: ask(server, wrong[number % len(wrong)]), range(CLIENTS)))
    for status, said in answers:
        assert status in {400, 404, 405, 409, 413, 415, 422, 503}, (status, said)
        assert said.count(b"\n") == 1
        assert len(said) < 500
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


def test_slow_heads_do_not_keep_others_out(
    serve: Callable[..., ServeProcess], cli: RunCli, made: Made, tmp_path: Path
) -> None:
    """400 connections send a head a few bytes at a time."""
    server = serve(TIMEOUT, made.folder)
    stop = threading.Event()

    def drip(socks: list[socket.socket]) -> None:
        while not stop.wait(0.1):
            for sock in socks:
                with suppress(OSError):
                    sock.sendall(b"X-A: b\r\n")

    with ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(400)]
        for sock in socks:
            sock.sendall(b"GET /blob.caibx HTTP/1.1\r\n")
        dripping = threading.Thread(target=drip, args=(socks,))
        dripping.start()
        try:
            assert_serves(server, cli, made, tmp_path / "out")
        finally:
            stop.set()
            dripping.join()


RAW_PATHS = [
    "/../secret.caibx",
    "/%2e%2e/secret.caibx",
    "/%2E%2E%2Fsecret.caibx",
    "/..%2fsecret.caibx",
    "/..%5csecret.caibx",
    "/..\\secret.caibx",
    "/%252e%252e/secret.caibx",
    "/%c0%ae%c0%ae/secret.caibx",
    "/\u2025/secret.caibx".encode().decode("latin-1"),
    "/default.castr/../../secret.caibx",
    "/default.castr/%2e%2e/%2e%2e/secret.caibx",
    "/./../secret.caibx",
    "//../secret.caibx",
    "/secret.caibx%00.caibx",
    "/%00/../secret.caibx",
    "http://localhost/../secret.caibx",
    "/out/secret.caibx",
    "/link.caibx",
    "/out/../secret.caibx",
    "*",
    "../secret.caibx",
    "/" + "a/../" * 3000 + "secret.caibx",
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "OPTIONS", "DELETE", "PROPFIND", "CONNECT", "TRACE"])
def test_nothing_outside_exists(serve: Callable[..., ServeProcess], made: Made, tmp_path: Path, method: str) -> None:
    """By no way of writing a path, with no method, through no link."""
    folder = tmp_path / "there"
    folder.mkdir()
    (tmp_path / "secret.caibx").write_bytes(SECRET)
    (folder / "out").symlink_to("..")
    (folder / "link.caibx").symlink_to("../secret.caibx")
    server = serve("--writable", folder)
    for path in RAW_PATHS:
        status, said = ask(
            server, request(method, path, b"new" if method in {"PUT", "POST"} else b"", "Connection: close")
        )
        assert SECRET not in said
        assert status in {204, 400, 403, 404, 405, 414, 415, 422, 431, 501} or path == "*", (path, status, said)
        if method in {"GET", "PUT"} and path != "*":
            assert status >= 400, (path, status)
    assert (tmp_path / "secret.caibx").read_bytes() == SECRET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "secret.caibx", "there"]
    assert sorted(path.name for path in folder.iterdir()) == ["link.caibx", "out"]


NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /blob.caibx\r\n\r\n",
    b"\r\n" * 100_000,
    b"A" * 1_000_000,
    b"GET /blob.caibx HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    b"GET /blob.caibx HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PUT /x.caibx HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
    b"PUT /x.caibx HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"PUT /x.caibx HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"PUT /x.caibx HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\nab",
    b"PUT /x.caibx HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab",
    b"PUT /x.caibx HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1\r\na\r\n" * 20_000
    + b"zz\r\n",
    b"PUT /x.caibx HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMA\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def test_what_is_no_http(serve: Callable[..., ServeProcess], cli: RunCli, made: Made, tmp_path: Path) -> None:
    """Refused or ended, whatever it is, by many at once; and the next one is served."""
    (tmp_path / "there").mkdir()
    server = serve(TIMEOUT, "--writable", tmp_path / "there", made.folder)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for status, said in pool.map(
            lambda number: ask(server, NO_HTTP[number % len(NO_HTTP)]), range(4 * len(NO_HTTP))
        ):
            assert status in {0, 200, 400, 404, 405, 408, 411, 413, 414, 422, 431, 501, 503, 505}, (status, said)
            assert b"Traceback" not in said
    assert list((tmp_path / "there").iterdir()) == []
    done = cli("extract", f"{server.url}/served/blob.caibx", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_wrong_tokens(serve: Callable[..., ServeProcess], cli: RunCli, made: Made, tmp_path: Path) -> None:
    """By none of them is anything seen, written or told, and they stand in no log."""
    (tmp_path / "tokens").write_text("right-token\n")
    log = tmp_path / "access"
    (tmp_path / "tokens").chmod(0o600)
    server = serve(f"--token-file={tmp_path / 'tokens'}", f"--access-log={log}", "--writable", made.folder)
    wrong = [
        "",
        "Bearer",
        "Bearer right-toke",
        "Bearer right-token2",
        "bearer\tright",
        "Basic !!!",
        "Basic OnJpZ2h0",
        "Digest a",
    ]
    for value in wrong:
        for method, path in (("GET", "/"), ("GET", "/blob.caibx"), ("PUT", "/new.caibx"), ("OPTIONS", f"/{STORE}")):
            status, said = ask(server, request(method, path, b"", f"Authorization: {value}"))
            assert status == 401, (value, method, path)
            assert b"caibx" not in said
    done = cli("extract", f"{server.url}/blob.caibx", tmp_path / "none")
    assert done.returncode == 1
    assert "401" in done.stderr
    done = cli(
        "extract", "--http-header=Authorization: Bearer right-token", f"{server.url}/blob.caibx", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    netloc = server.url.partition("://")[2]
    done = cli("extract", f"http://me:right-token@{netloc}/blob.caibx", tmp_path / "out2")
    assert done.returncode == 0, done.stderr
    assert "right-token" not in log.read_text() + server.said() + done.stderr
    assert log.read_text().count(" 401 ") >= len(wrong) * 4
