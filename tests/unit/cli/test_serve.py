"""The verb `serve` as a process: what it refuses, what it says, whom it lets in, how it ends."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError

import pytest
import trustme

from casync_py.cli.serve import DEFAULT_ADDRESS
from casync_py.transport.listen import Listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Refused = Callable[..., str]

COMMAND = [sys.executable, "-m", "casync_py"]
HELD = b"PUT /x.catar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"  # and then nothing


class Server:
    """A process that serves, from the moment when it says where."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdout is not None
        self.line = process.stdout.readline().decode().strip()

    def get(self, path: str = "", context: ssl.SSLContext | None = None, **headers: str) -> bytes:
        request = urllib.request.Request(self.line + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            found: bytes = answer.read()
        return found

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self.line.rstrip("/").rpartition(":")[2])), 30)

    def ended(self) -> tuple[int, bytes]:
        """Status and standard error."""
        _, err = self.process.communicate(timeout=40)
        return self.process.returncode, err


@contextmanager
def serving(*words: str | Path, environment: dict[str, str] | None = None) -> Iterator[Server]:
    process = subprocess.Popen(
        [*COMMAND, "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - tests may run under nohup
    )
    try:
        server = Server(process)
        if not server.line:
            raise AssertionError(server.ended())
        yield server
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "x.catar").write_bytes(b"archive")
    return folder


def test_where_it_listens_unless_told() -> None:
    assert DEFAULT_ADDRESS == "127.0.0.1:8042"
    assert Listen.parse(DEFAULT_ADDRESS, 1) == Listen("127.0.0.1", 8042)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("serve", "needs a DIR"),
        ("serve absent", "absent: No such file"),
        ("serve . .", "different names"),
        ("serve --listen=nonsense:x .", "--listen: Not a port"),
        ("serve --listen=0.0.0.0:0 .", "--token-file"),
        ("serve --listen=:0 .", "Others can reach :0"),
        ("serve --listen=192.0.2.1:0 --insecure .", "192.0.2.1:0: Cannot assign"),
        ("serve --listen=127.0.0.1:0 --socket=s .", "Either"),
        ("serve --socket=absent/s .", "absent/s: No such file"),
        ("serve --token-file=absent .", "absent: No such file"),
        ("serve --token-file=/dev/null .", "No tokens"),
        ("serve --tls-key=k .", "--tls-cert"),
        ("serve --client-ca=k .", "--tls-cert"),
        ("serve --tls-cert=absent .", "absent: No such file"),
        ("serve --tls-cert=/dev/null .", "/dev/null: No certificate"),
        ("serve --access-log=absent/log --listen=127.0.0.1:0 .", "absent/log: No such file"),
        ("serve --max-upload=0 .", "--max-upload: Cannot be 0"),
        ("serve --upstream=nonsense --listen=127.0.0.1:0 .", "nonsense"),
    ],
)
def test_what_is_refused(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(*line.split(), says=says)


def test_it_says_where_and_ends_well(folder: Path) -> None:
    with serving("--listen=127.0.0.1:0", folder) as server:
        assert server.line.startswith("http://127.0.0.1:")
        assert server.get("x.catar") == b"archive"
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it(folder: Path, number: int) -> None:
    with serving("--listen=127.0.0.1:0", folder) as server:
        server.process.send_signal(number)
        assert server.ended() == (0, b"")


def test_several_directories_and_json(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with serving("--json", "--listen=localhost:0", folder, other) as server:
        told = json.loads(server.line)
        assert told == {"version": 1, "verb": "serve", "url": told["url"], "roots": [str(folder), str(other)]}
        server.line = told["url"]
        assert server.get("served/x.catar") == b"archive"
        listing = json.loads(server.get(Accept="application/json"))
        assert [entry["path"] for entry in listing["entries"]] == ["/other", "/served"]


def test_what_is_in_flight_is_finished(folder: Path) -> None:
    with serving("--listen=127.0.0.1:0", "--writable", folder) as server, server.connect() as connection:
        connection.sendall(HELD.replace(b"1000000", b"7") + b"arc")
        while b"in_flight 2.0" not in server.get("-/metrics"):
            pass
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stderr is not None
        assert server.process.stderr.readline().startswith(b"Finishing 1 request;")
        connection.sendall(b"hive")
        assert connection.recv(100).startswith(b"HTTP/1.1 4")  # 7 bytes are no archive
        assert server.ended() == (0, b"")


def test_a_second_signal_does_not_wait(folder: Path) -> None:
    with serving("--listen=127.0.0.1:0", "--writable", folder) as server, server.connect() as connection:
        connection.sendall(HELD)
        while b"in_flight 2.0" not in server.get("-/metrics"):
            pass
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            assert server.process.stderr is not None
            select.select([server.process.stderr], [], [], 30)
        status, err = server.ended()
        assert (status, err.count(b"\n")) == (0, 1), err
        assert connection.recv(100) == b""
    assert sorted(os.listdir(folder)) == ["x.catar"]


def test_when_no_more_files_can_be_opened(folder: Path) -> None:
    with serving("--listen=127.0.0.1:0", folder) as server:
        soft = len(os.listdir(f"/proc/{server.process.pid}/fd")) + 3
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, soft))
        connections = [server.connect() for _ in range(10)]
        assert server.process.stderr is not None
        assert b"Too many open files" in server.process.stderr.readline()
        for connection in connections:
            connection.close()
        assert server.get("x.catar") == b"archive"


def test_a_service_manager_is_told_when_it_listens(folder: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        with serving("--listen=127.0.0.1:0", folder, environment={"NOTIFY_SOCKET": address}) as server:
            assert manager.recv(100) == b"READY=1"
            assert server.get("-/health") == b"ok\n"


def test_a_unix_socket(folder: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serving(f"--socket={path}", folder) as server:
        assert server.line.startswith("http+unix://%2F")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"GET /x.catar HTTP/1.0\r\n\r\n")
            answer = b""
            while data := client.recv(1000):
                answer += data
        assert answer.endswith(b"\r\n\r\narchive")
        server.process.terminate()
        assert server.ended()[0] == 0
    assert not os.path.exists(path)


def test_tokens_open_a_wider_address(folder: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("sesame\n")
    with serving("--listen=0.0.0.0:0", f"--token-file={tokens}", folder) as server:
        assert server.get("x.catar", Authorization="Bearer sesame") == b"archive"
        with pytest.raises(HTTPError, match="401") as caught:
            server.get("x.catar", Authorization="Bearer Sesame")
        caught.value.close()
        server.process.terminate()
        status, err = server.ended()
        assert (status, err) == (0, b"casync-py: Without --tls-cert, tokens and content can be read on the way\n")


def test_anyone_may_where_that_is_said(folder: Path) -> None:
    with serving("--listen=0.0.0.0:0", "--insecure", folder) as server:
        assert server.get("x.catar", Host="some.name") == b"archive"


def test_tls_alone_opens_a_wider_address(folder: Path, tmp_path: Path) -> None:
    ours, cert = trustme.CA(), str(tmp_path / "cert.pem")
    ours.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(cert)
    context = ssl.create_default_context()
    ours.configure_trust(context)
    with serving("--listen=0.0.0.0:0", f"--tls-cert={cert}", folder) as server:
        port = server.line.rstrip("/\n").rpartition(":")[2]
        url = f"https://127.0.0.1:{port}/x.catar"
        with urllib.request.urlopen(url, context=context, timeout=30) as answer:
            assert answer.read() == b"archive"


def test_client_certificates(folder: Path, tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    cert, ca = str(tmp_path / "cert.pem"), str(tmp_path / "ca.pem")
    ours.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(cert)
    theirs.cert_pem.write_to_path(ca)
    context, stranger = ssl.create_default_context(), ssl.create_default_context()
    for each in (context, stranger):
        ours.configure_trust(each)
    theirs.issue_cert("client@example.org").configure_cert(context)
    trustme.CA().issue_cert("client@example.org").configure_cert(stranger)
    with serving("--listen=localhost:0", f"--tls-cert={cert}", f"--client-ca={ca}", folder) as server:
        assert server.line.startswith("https://localhost:")
        assert server.get("x.catar", context) == b"archive"
        with pytest.raises((URLError, OSError)):
            server.get("x.catar", stranger)
        server.process.terminate()
        assert server.ended() == (0, b"")


def test_other_verbs_do_not_import_a_server(tmp_path: Path) -> None:
    script = "import sys; from casync_py.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    for words in (["--version"], ["list", "."], ["serve", "--help"], ["make", "x.caidx", "."]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        found = {name.partition(".")[0] for name in done.stderr.split()}
        assert not {"httpx", "starlette", "uvicorn", "prometheus_client", "httptools", "asyncio"} & found
