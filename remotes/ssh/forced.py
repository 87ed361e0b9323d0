"""What a client asks a forced command for: $SSH_ORIGINAL_COMMAND, read and never run.

Known are casync's command line and both of ours (see `command`): `casync pull - ARCHIVE INDEX STORE...`, the same with
`casync-py` and `--peer=1`, and `sh -c SCRIPT casync-py ...`, whose script is passed over.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.remotes.ssh.command import PEER_OPTION, SCRIPT_NAME, UNUSED, Served

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAMS = ("casync", "casync-py")
_VERBS = ("pull", "push")
_PASSED_OVER = ("--log-level=", "--rate-limit-bps=", "--verbose")  # what casync's client adds, in its newest source


def parse_forced(line: str) -> tuple[Served, bool]:
    """What a client's command line asks for, and whether the client is casync-py.

    Raises:
        UsageError: it is none of those that start a peer.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        raise _refusal(line) from None
    if words[:2] == ["sh", "-c"] and words[3:4] == [SCRIPT_NAME]:
        words = words[3:]
    if not words or os.path.basename(words[0]) not in _PROGRAMS:
        raise _refusal(line)
    rest = [word for word in words[1:] if not word.startswith(_PASSED_OVER)]
    ours = rest[1:2] == [PEER_OPTION]
    if ours:
        del rest[1]
    if not rest or rest[0] not in _VERBS:
        raise _refusal(line)
    return parse_served(rest[0], rest[1:]), ours


def parse_served(verb: str, arguments: Sequence[str]) -> Served:
    """The arguments of a server verb: `BASE ARCHIVE INDEX STORE...`, where the base is never used.

    Raises:
        UsageError: there are fewer than four, or nothing is asked for.
    """
    if len(arguments) < 4:
        raise UsageError(f"{verb} takes BASE, ARCHIVE, INDEX and STORE, '-' for what is not used")
    _base, archive, index, *stores = (None if word in ("", UNUSED) else word for word in arguments)
    named = tuple(store for store in stores if store is not None)
    if archive is None and index is None and not named:
        raise UsageError(f"{verb}: Neither an archive nor an index nor a store is named")
    return Served(verb, archive, index, named)


def _refusal(line: str) -> UsageError:
    return UsageError(f"Only pull and push of casync and casync-py are served here, not {line[:200]!r}")
