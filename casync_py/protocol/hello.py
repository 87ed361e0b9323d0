"""The rules of HELLO. Source: casync caremote.c, `ca_remote_process_hello`."""

from __future__ import annotations

from casync_py.errors import ProtocolError
from casync_py.protocol import flags as f
from casync_py.protocol.local_error import LocalProtocolError
from casync_py.protocol.state import Role

_OWN = {
    Role.PULL_CLIENT: f.PULL,
    Role.PULL_SERVER: f.READABLE,
    Role.PUSH_CLIENT: f.PUSH,
    Role.PUSH_SERVER: f.WRITABLE,
}
_BOTH_NEEDED = f.PUSH_INDEX | f.PUSH_CHUNKS
CLIENTS = frozenset({Role.PULL_CLIENT, Role.PUSH_CLIENT})


def check_own(role: Role, flags: int) -> None:
    """Check the flags that we are about to send.

    Raises:
        LocalProtocolError: flags that the role has not, none at all, or `PUSH_INDEX_CHUNKS` alone.
    """
    if not flags or flags & ~_OWN[role]:
        raise LocalProtocolError(f"A {role.value} does not say HELLO with {flags:#x}")
    if flags & f.PUSH_INDEX_CHUNKS and flags & _BOTH_NEEDED != _BOTH_NEEDED:
        raise LocalProtocolError("PUSH_INDEX_CHUNKS needs PUSH_INDEX and PUSH_CHUNKS")


def check_peer(own: int, theirs: int, *, ours_allowed: bool) -> None:
    """Check the flags of the other end against our own.

    Args:
        ours_allowed: whether the bit `OURS` may be set: we are a client that may have started a server of this package.

    Raises:
        ProtocolError: flags that mean nothing, or that do not fit ours.
    """
    if theirs in {0, 0xFFFFFFFFFFFFFFFF}:
        raise ProtocolError(f"HELLO with flags {theirs:#x}")
    known = f.KNOWN | f.OURS if ours_allowed else f.KNOWN
    if theirs & ~known:
        raise ProtocolError(f"Protocol not supported: HELLO with unknown flags {theirs & ~known:#x}")
    if theirs & f.PUSH_INDEX_CHUNKS and theirs & _BOTH_NEEDED != _BOTH_NEEDED:
        raise ProtocolError("HELLO with push-index-chunks, but not push-index and push-chunks")
    refused = f.unmet(theirs, own)
    if refused:
        raise ProtocolError(f"The other end wants {_names(refused)}, which is not offered here")
    lacking = f.unmet(own, theirs)
    if lacking:
        raise ProtocolError(f"The other end does not offer what {_names(lacking)} needs")
    if not (own | theirs) & f.OPERATIONS:
        raise ProtocolError("The other end wants nothing")


def _names(flags: int) -> str:
    return ", ".join(f.flag_names(flags))
