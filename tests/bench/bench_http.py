"""What is measured over HTTP, and the servers that answer meanwhile: our own and nginx, on loopback."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench_group import CLIENTS, DELAY_MS, LOCAL, NGINX_CLIENTS, PLAIN, Group, anything, pushed, same_blob
from bench_measure import RunError

from casync_py.testing.nginx import Nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = {"ours": (), "ours-writable": ("--writable",), "nginx": None}
"""Options of `casync-py serve`; None for nginx."""

_MADE = ("blob-make-empty", "blob.caibx")
_STORE = "--store={url}/blob.castr"
_EXTRACT = ("extract", _STORE, "{url}/blob.caibx", "{folder}/blob.out")
_MANY = ("{url}/blob.castr", "{folder}/blob.caibx", "{folder}/blob.castr")
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)

HTTP_GROUPS = [
    Group(
        "http-make",
        "Blob, make over HTTP, empty store",
        ("make", _STORE, "{url}/blob.caibx", "{inputs}/blob"),
        pushed,
        {PLAIN: 0.8},
        reset=("blob.castr", "blob.caibx"),
        server="ours-writable",
        baseline=LOCAL,
        baseline_arguments=("make", "--store={folder}/blob.castr", "{folder}/blob.caibx", "{inputs}/blob"),
        baseline_server="",
    ),
    Group(
        "http-extract",
        "Blob, extract from casync-py serve",
        _EXTRACT,
        same_blob,
        {PLAIN: None},
        reset=("blob.out",),
        needs=_MADE,
        server="ours",
    ),
    Group(
        "http-extract-nginx",
        "Blob, extract from nginx",
        _EXTRACT,
        same_blob,
        {PLAIN: 1.0},
        reset=("blob.out",),
        needs=_MADE,
        server="nginx",
    ),
    Group(
        "http-clients",
        "64 clients, each chunk of the blob 4 times",
        _MANY,
        anything,
        {CLIENTS: None},
        needs=_MADE,
        server="ours",
        baseline=NGINX_CLIENTS,
        baseline_server="nginx",
    ),
    Group(
        "http-delay",
        f"Small blob, extract from casync-py serve, {DELAY_MS} ms each way",
        _EXTRACT,
        same_blob,
        {PLAIN: 20.0},
        reset=("blob.out",),
        needs=_MADE,
        delay_ms=DELAY_MS,
        server="ours",
        made_of="far",
    ),
    Group(
        "http-delay-nginx",
        f"Small blob, extract from nginx, {DELAY_MS} ms each way",
        _EXTRACT,
        same_blob,
        {PLAIN: 20.0},
        reset=("blob.out",),
        needs=_MADE,
        delay_ms=DELAY_MS,
        server="nginx",
        made_of="far",
    ),
]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        url: of the directory that it serves; behind the delay, if there is one.
        pid: of its process, or of the one whose children it is.
    """

    url: str
    pid: int

    def peak(self) -> int:
        """Peak resident memory so far of its largest process, bytes."""
        children = [pid for task in Path(f"/proc/{self.pid}/task").iterdir() for pid in _children(task)]
        peaks = [_PEAK.search(Path(f"/proc/{pid}/status").read_text()) for pid in (self.pid, *children)]
        return max(int(peak[1]) for peak in peaks if peak) * 1024


def _children(task: Path) -> list[int]:
    return [int(pid) for pid in (task / "children").read_text().split()]


@contextmanager
def serving(name: str, folder: Path, ours: list[str], delay_ms: int) -> Iterator[Server]:
    """Serve a directory until the end of the context.

    Args:
        name: a key of SERVERS.
        ours: the command of casync-py.
        delay_ms: how much later each byte arrives, either way; 0 for no relay in between.

    Raises:
        RunError: there is no such server here, or it does not start.
    """
    options = SERVERS[name]
    with ExitStack() as stack:
        if options is None:
            nginx = stack.enter_context(_nginx(folder))
            port, pid = nginx.port, nginx.pid
        else:
            port, pid = stack.enter_context(_ours([*ours, "serve", "--listen=127.0.0.1:0", *options, str(folder)]))
        if delay_ms:
            port = stack.enter_context(_delayed(port, delay_ms))
        yield Server(f"http://127.0.0.1:{port}", pid)


@contextmanager
def _nginx(folder: Path) -> Iterator[Nginx]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise RunError("nginx is not installed (Debian's package nginx)")
    with (
        tempfile.TemporaryDirectory(dir=folder.parent) as own,
        Nginx(Path(own), program, folder, workers=2, server="access_log off;\n") as nginx,
    ):
        yield nginx


@contextmanager
def _ours(command: list[str]) -> Iterator[tuple[int, int]]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            if found is None:
                raise RunError(f"{' '.join(command)} said nothing about where it listens")
            yield int(found[1]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def _delayed(port: int, delay_ms: int) -> Iterator[int]:
    relay = Path(__file__).with_name("tcp_relay.py")
    command = [sys.executable, "-S", "-E", str(relay), f"--delay-ms={delay_ms}", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        process.communicate()
