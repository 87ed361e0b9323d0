"""Ways to a remote end for tests: a stand-in for ssh that runs the command here, and a real sshd on loopback.

Each is a program for CASYNC_SSH_PATH. What the remote end finds is a directory of programs that is put before the
system's own, so that it runs the casync-py that is tested.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_ATTEMPTS = 20  # ports that were free and no longer are

# ssh's options, the host, the words of the command: joined with spaces, for a shell in the home directory, as ssh does.
_STAND_IN = """\
#!/bin/sh
while :; do
    case $1 in
        --) shift; break ;;
        -[bceilmopEFIJLOQRSWw]) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
shift
[ "$1" != -- ] || shift
cd && exec sh -c "$*"
"""

_CLIENT_CONFIG = """\
Host *
    HostName 127.0.0.1
    Port {port}
    IdentityFile {key}
    IdentitiesOnly yes
    BatchMode yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
"""

_SERVER_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
SetEnv PATH={programs}:{path}
"""


def write_script(path: Path, text: str) -> Path:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def write_programs(folder: Path) -> Path:
    """A directory with a `casync-py` that is the one of this interpreter; returns it."""
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    words = [*(f"{name}={value}" for name, value in kept.items()), sys.executable, "-m", "casync_py"]
    write_script(folder / "casync-py", f'#!/bin/sh\nexec env PYTHONSAFEPATH=1 {shlex.join(words)} "$@"\n')
    return folder


def write_stand_in(path: Path) -> Path:
    """A program to call as ssh, which runs the command on this machine; returns its path."""
    return write_script(path, _STAND_IN)


class Sshd:
    """OpenSSH's server on loopback, as the current user, with keys, configuration and port of its own.

    Any host name leads to it. `stop` when done.

    Attributes:
        port: where it listens.
        ssh: a program to call as ssh; its user may run any command.
    """

    def __init__(self, folder: Path, sshd: str, programs: Path) -> None:
        """Start it.

        Args:
            folder: an existing directory for its files.
            sshd: absolute path of the program.
            programs: a directory that stands before the system's own in the PATH of commands.

        Raises:
            RuntimeError: it does not start; the message has what it said.
        """
        self._folder = folder
        self._log: list[str] = []
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # its fixed place for separating privileges
        self._make_key("host_key")
        (folder / "authorized_keys").touch()
        for _ in range(_ATTEMPTS):
            self.port = _free_port()
            config = _SERVER_CONFIG.format(port=self.port, folder=folder, programs=programs, path=_SYSTEM_PATH)
            (folder / "sshd_config").write_text(config)
            if self._start(sshd):
                break
        else:
            raise RuntimeError(f"sshd does not start: {' '.join(self._log)}")
        self.ssh = self.admit("user")

    def admit(self, name: str, options: str = "") -> Path:
        """Make a key and admit it with options of authorized_keys(5); a program to call as ssh that uses it."""
        key = self._make_key(name)
        with (self._folder / "authorized_keys").open("a") as keys:
            keys.write(f"{options} {key.with_suffix('.pub').read_text()}".lstrip())
        config = self._folder / f"{name}.config"
        config.write_text(_CLIENT_CONFIG.format(port=self.port, key=key))
        return write_script(self._folder / f"ssh-{name}", f'#!/bin/sh\nexec ssh -F {config} "$@"\n')

    def stop(self) -> None:
        """End it; connections that are open end with their clients."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    def _make_key(self, name: str) -> Path:
        key = self._folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key], check=True)
        return key

    def _start(self, sshd: str) -> bool:
        command = [sshd, "-D", "-e", "-f", str(self._folder / "sshd_config")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self._process.stderr
        started = any("Server listening" in line for line in self._lines(self._process.stderr))
        self._reader = threading.Thread(target=self._drain, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        if not started:
            self.stop()
        return started

    def _lines(self, stream: IO[bytes]) -> Iterator[str]:
        for line in stream:
            self._log.append(line.decode(errors="replace").strip())
            yield self._log[-1]

    def _drain(self, stream: IO[bytes]) -> None:
        """Read what it says for as long as it lives, so that it never waits for a reader."""
        with stream:
            for _line in self._lines(stream):
                del self._log[:-100]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def relayed(path: Path, ssh: Path, relay: Path, options: Sequence[str]) -> Path:
    """A program to call as ssh that runs another one behind a relay (tests/bench/relay.py) with options."""
    words = [sys.executable, "-S", "-E", str(relay), *options, str(ssh)]
    return write_script(path, f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
