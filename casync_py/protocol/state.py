"""The legal order: for each role, what may be sent and received in each state, and which state follows.

The tables say what is possible at all. What HELLO agreed on and which chunks were asked for is checked on top of them,
in `connection.py`. Source: the order comment in casync's caprotocol.h, and what casync was seen to do.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from casync_py.protocol import flags as f
from casync_py.protocol.messages import (
    Abort,
    ArchiveData,
    ArchiveEnd,
    ChunkData,
    Examined,
    Goodbye,
    Hello,
    IndexData,
    IndexEnd,
    Message,
    Missing,
    Request,
)


class Role(Enum):
    """What an end is: the client, who was started by a person, pulls or pushes; the server does what it asks."""

    PULL_CLIENT = "pull client"
    PULL_SERVER = "pull server"
    PUSH_CLIENT = "push client"
    PUSH_SERVER = "push server"


class State(Enum):
    """Where a connection is; the value completes the sentence "unexpected message ..."."""

    START = "before our HELLO"
    GREETING = "before HELLO"
    AGREED = "on HELLO"  # stands in the tables for one of the next four; `running_state` says which
    BOTH = "while index and archive are sent"
    INDEX = "while the index is sent"
    ARCHIVE = "while the archive is sent"
    OPEN = "with only chunks left to send"
    WAITING = "after our GOODBYE"  # a push client that said it; the server's answer says that all is in place
    FAREWELL = "after GOODBYE"  # a push server whose client said it, and that owes its own
    ENDED = "after the end"
    ABORTED = "after ABORT"
    FAILED = "after an error"


Row: TypeAlias = "dict[type[Message], State]"
Rows: TypeAlias = "dict[State, Row]"

RUNNING = (State.BOTH, State.INDEX, State.ARCHIVE, State.OPEN)
DEAF = frozenset({State.FAREWELL, State.ENDED, State.ABORTED})
"""What comes in is dropped unread: a shell that logs out may print something after the last message."""

_STREAMS: Rows = {
    State.BOTH: {
        IndexData: State.BOTH,
        IndexEnd: State.ARCHIVE,
        ArchiveData: State.BOTH,
        ArchiveEnd: State.INDEX,
    },
    State.INDEX: {IndexData: State.INDEX, IndexEnd: State.OPEN},
    State.ARCHIVE: {ArchiveData: State.ARCHIVE, ArchiveEnd: State.OPEN},
    State.OPEN: {},
}
_GREET: Rows = {State.START: {Hello: State.GREETING}, State.GREETING: {Abort: State.ABORTED}}
_GIVE_UP: Rows = {State.FAILED: {Abort: State.ABORTED}}

# The end that has index, archive and chunks, and the end that gets them.
_GIVES: Rows = {state: {**_STREAMS[state], ChunkData: state, Missing: state, Abort: State.ABORTED} for state in RUNNING}
_TAKES: Rows = {state: {Request: state, Abort: State.ABORTED} for state in RUNNING}
_EXAMINES: Rows = {state: {Examined: state} for state in RUNNING}


def _merged(*tables: Rows) -> Rows:
    merged: Rows = {state: {} for state in State}
    for table in tables:
        for state, row in table.items():
            merged[state].update(row)
    return merged


def _goodbye(states: tuple[State, ...], target: State) -> Rows:
    return {state: {Goodbye: target} for state in states}


_GREETED: Rows = {State.GREETING: {Hello: State.AGREED}}
_BEFORE_GOODBYE: Rows = {State.WAITING: {Goodbye: State.ENDED, Abort: State.ABORTED}}

SENT: dict[Role, Rows] = {
    # A pull client may leave at any time; most only close their end.
    Role.PULL_CLIENT: _merged(_GREET, _GIVE_UP, _TAKES, _goodbye(RUNNING, State.ENDED)),
    # GOODBYE from a pull server makes casync report success, whatever is still missing: it has none.
    Role.PULL_SERVER: _merged(_GREET, _GIVE_UP, _GIVES),
    Role.PUSH_CLIENT: _merged(
        _GREET, _GIVE_UP, _GIVES, _goodbye((State.OPEN,), State.WAITING), {State.WAITING: {Abort: State.ABORTED}}
    ),
    Role.PUSH_SERVER: _merged(
        _GREET,
        _GIVE_UP,
        _TAKES,
        _EXAMINES,
        _goodbye((State.OPEN, State.FAREWELL), State.ENDED),
        {State.FAREWELL: {Abort: State.ABORTED}},
    ),
}

RECEIVED: dict[Role, Rows] = {
    Role.PULL_CLIENT: _merged(_GREETED, _GIVES),
    Role.PULL_SERVER: _merged(_GREETED, _TAKES, _goodbye(RUNNING, State.ENDED)),
    Role.PUSH_CLIENT: _merged(_GREETED, _TAKES, _EXAMINES, _goodbye((State.OPEN,), State.ENDED), _BEFORE_GOODBYE),
    Role.PUSH_SERVER: _merged(_GREETED, _GIVES, _goodbye((State.OPEN,), State.FAREWELL)),
}

_DEAF_ENDS = {state: state for state in DEAF}

END_OF_INPUT: dict[Role, dict[State, State]] = {
    Role.PULL_CLIENT: {State.OPEN: State.ENDED, **_DEAF_ENDS},  # if no chunk is owed
    Role.PULL_SERVER: {**dict.fromkeys(RUNNING, State.ENDED), **_DEAF_ENDS},
    Role.PUSH_CLIENT: {State.WAITING: State.ENDED, **_DEAF_ENDS},
    Role.PUSH_SERVER: {State.OPEN: State.ENDED, **_DEAF_ENDS},  # if only chunks were offered, and none is owed
}
"""The states in which the other end may close, and what follows; elsewhere it ended too early."""


def running_state(operations: int) -> State:
    """The state after both HELLOs, by the operations that the client wants."""
    index, archive = operations & f.INDEX_OPERATIONS, operations & f.ARCHIVE_OPERATIONS
    if index and archive:
        return State.BOTH
    if index:
        return State.INDEX
    return State.ARCHIVE if archive else State.OPEN
