"""What ssh is started with: pure functions from an address, what is wanted there, and the environment to an argv.

The other end is casync's `pull` or `push` in casync's argument form, `VERB - ARCHIVE INDEX STORE EXTRA...`, `-` for
what is not used. casync-py is told `--peer=1` besides, which lets it speak its own dialect; casync would refuse that
option, so that only a casync-py gets it (`$CASYNC_REMOTE_PATH`), or a script that looks which of the two is installed.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from casync_py.errors import UsageError
from casync_py.remotes.ssh.quoting import quoted, quoted_program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casync_py.remotes.ssh.address import Address

UNUSED = "-"
PEER_OPTION = "--peer=1"
SCRIPT_NAME = "casync-py"  # what a script has as its $0; `serve-stdio` knows our command lines by it
_OUR_PROGRAMS = {"casync-py", "casync_py"}  # the second in `python3 -m casync_py`

# A push server of casync asks for chunks only while it takes an index; where only a store is wanted, it gets one that
# nobody keeps. The shell stays, and cleans up when casync has ended, whatever ended it. In scripts: $1 is the verb, $2
# --peer=1, $3 to $6 are `- ARCHIVE INDEX STORE`; no quote, backslash, exclamation mark or line break (see `quoting`).
_THROW_AWAY = (
    'd=$(mktemp -d) || exit; trap : HUP INT TERM; {program} push - - "$d/index" "$6"; s=$?; rm -rf "$d"; exit $s'
)
_FIND_PEER = (
    "PATH=$PATH:$HOME/.local/bin; "  # where pip and pipx put programs, and where sshd does not look
    'if command -v casync-py >/dev/null 2>&1; then exec casync-py "$@"; fi; '
    "command -v casync >/dev/null 2>&1 || "
    '{ echo "Neither casync-py nor casync is installed on this machine" >&2; exit 127; }; '
    'if [ "$1$5" != push- ] || [ "$4" != - ]; then v=$1; shift 2; exec casync "$v" "$@"; fi; '
    + _THROW_AWAY.format(program="casync")
)


@dataclass(frozen=True, slots=True)
class Served:
    """What the other end serves, as paths there; None for what is not wanted."""

    verb: str  # "pull" or "push"
    archive: str | None = None
    index: str | None = None
    stores: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """`- ARCHIVE INDEX STORE EXTRA...`, no word of which can be an option or mean "unused" by chance."""
        named = [UNUSED if path is None else _path(path) for path in (self.archive, self.index)]
        return [UNUSED, *named, *([_path(path) for path in self.stores] or [UNUSED])]


class PeerCommand(NamedTuple):
    """A command line that starts a peer.

    Attributes:
        argv: to be executed here.
        ours: the peer was told `--peer=1` if it is casync-py.
        looked_for: casync-py was looked for, and casync may run in its place.
    """

    argv: list[str]
    ours: bool
    looked_for: bool


def peer_command(address: Address, served: Served, environ: Mapping[str, str]) -> PeerCommand:
    """The command line that starts a peer through `$CASYNC_SSH_PATH` (default: ssh).

    Raises:
        UsageError: a path that cannot travel, or an environment variable that cannot be read.
    """
    program = _words_of(environ, "CASYNC_REMOTE_PATH")
    store_alone = served.verb == "push" and served.index is None and served.archive is None
    ours = True
    if not program:
        words = _script(_FIND_PEER, served)
    elif any(os.path.basename(word) in _OUR_PROGRAMS for word in program):
        words = [*quoted_program(program), served.verb, PEER_OPTION, *map(quoted, served.words())]
    elif store_alone:
        words = _script(_THROW_AWAY.format(program=" ".join(quoted_program(program))), served)
    else:
        words = [*quoted_program(program), served.verb, *map(quoted, served.words())]
        ours = False
    return PeerCommand([*_ssh(address, environ), *words], ours, not program)


def _script(script: str, served: Served) -> list[str]:
    return list(map(quoted, ["sh", "-c", script, SCRIPT_NAME, served.verb, PEER_OPTION, *served.words()]))


def _ssh(address: Address, environ: Mapping[str, str]) -> list[str]:
    """ssh with its options and the host: no `--`, which the programs that stand in for ssh do not know."""
    program = environ.get("CASYNC_SSH_PATH") or "ssh"
    port = ["-p", str(address.port)] if address.port is not None else []
    return [program, *port, f"{address.user}@{address.host}" if address.user else address.host]


def _words_of(environ: Mapping[str, str], name: str) -> list[str]:
    try:
        return shlex.split(environ.get(name, ""))
    except ValueError as error:
        raise UsageError(f"${name}: {error}") from None


def _path(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path
