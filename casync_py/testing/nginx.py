"""A real nginx on loopback that serves a directory, for tests and the benchmark."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_CONFIGURATION = """\
{user}daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes {workers};
events {{ worker_connections 1024; }}
http {{
    default_type application/octet-stream;
    log_format short '$request_method $request_uri $status $server_protocol';
    access_log {folder}/access.log short;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 1g;
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{port}{how};
        root {root};
{server}
    }}
}}
"""
_WRITABLE = """\
dav_methods PUT;
create_full_put_path on;
"""
_TLS = """\
ssl_certificate {certificate};
ssl_certificate_key {key};
"""
LIMIT_S = 30.0


class Nginx:
    """nginx as the current user, with configuration, port and temporary files of its own; a context manager.

    Attributes:
        url: of the directory that it serves, without a slash at the end.
        port: where it listens, on 127.0.0.1.
        pid: of its first process, whose children answer.
    """

    def __init__(
        self,
        folder: Path,
        program: str,
        root: Path,
        *,
        writable: bool = False,
        tls: tuple[Path, Path] | None = None,
        http2: bool = False,
        workers: int = 1,
        server: str = "",
    ) -> None:
        """Start it; the port answers when this returns.

        Args:
            folder: where its own files go; made if it does not exist.
            program: path of nginx.
            root: the directory to serve.
            writable: take files by PUT too, as any WebDAV server does: nothing is verified.
            tls: certificate and key, PEM files; None for none.
            http2: offer HTTP/2, which clients ask for within TLS only.
            server: more lines for the server's part of the configuration.

        Raises:
            RuntimeError: it does not start; the message has what it said.
        """
        folder.mkdir(exist_ok=True)
        self._folder = folder
        lines = server + (_WRITABLE if writable else "")
        if tls:
            lines += _TLS.format(certificate=tls[0], key=tls[1])
        # The socket is ours and inherited, as by an nginx that is upgraded: no other program can take its port before
        # nginx has it, and who connects before nginx is ready waits.
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
            listening.setblocking(False)  # nginx leaves that to whoever opened it; a worker must not wait in accept
            self.port = int(listening.getsockname()[1])
            configuration = _CONFIGURATION.format(
                user="user root;\n" if os.geteuid() == 0 else "",
                folder=folder,
                workers=workers,
                port=self.port,
                how=(" ssl" if tls else "") + (" http2" if http2 else ""),
                root=root,
                server=lines,
            )
            (folder / "nginx.conf").write_text(configuration)
            self._process = _start(program, folder, listening)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.pid = self._process.pid
        self._wait_until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def requests(self) -> list[str]:
        """What was asked and answered so far: "METHOD URI STATUS PROTOCOL", in order."""
        log = self._folder / "access.log"
        return log.read_text().splitlines() if log.exists() else []

    def stop(self) -> None:
        """End it at once. Safe to call again.

        Raises:
            RuntimeError: it had ended by itself; the message has what it said.
        """
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        if self._process.wait(LIMIT_S) != 0:
            raise self._ended()

    def _wait_until_ready(self) -> None:
        """Until a connection that says nothing was taken and closed, or nobody has the socket any more."""
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.port), LIMIT_S) as quiet:
            quiet.shutdown(socket.SHUT_WR)
            if quiet.recv(1) == b"":
                return
        self._process.wait(LIMIT_S)
        raise self._ended()

    def _ended(self) -> RuntimeError:
        log = self._folder / "error.log"
        return RuntimeError(f"nginx ended with {self._process.returncode}: {log.read_text() if log.exists() else ''}")


def _start(program: str, folder: Path, listening: socket.socket) -> subprocess.Popen[bytes]:
    fd = listening.fileno()
    return subprocess.Popen(
        [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NGINX": f"{fd};"},  # nginx src/core/nginx.c, ngx_add_inherited_sockets
        pass_fds=[fd],
    )
