"""The legal order, walked: every message in every state of every role moves the connection or raises."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import PeerError, ProtocolError
from casync_py.ids import ChunkId
from casync_py.protocol import flags as f
from casync_py.protocol import messages as m
from casync_py.protocol.connection import Connection, Role
from casync_py.protocol.local_error import LocalProtocolError
from casync_py.protocol.state import DEAF, END_OF_INPUT, RECEIVED, RUNNING, SENT, State, running_state
from casync_py.testing.connections import OTHER, Pair, deliver, fresh_pair

if TYPE_CHECKING:
    from casync_py.protocol.messages import Message

A = ChunkId(b"a" * 32)
EXAMPLES: dict[str, m.Message] = {
    "HELLO": m.Hello(),
    "INDEX": m.IndexData(bytes(100)),
    "INDEX_EOF": m.IndexEnd(),
    "ARCHIVE": m.ArchiveData(b"data"),
    "ARCHIVE_EOF": m.ArchiveEnd(),
    "REQUEST": m.Request([A]),
    "CHUNK": m.ChunkData(A, b"data", compressed=False),
    "MISSING": m.Missing(A),
    "GOODBYE": m.Goodbye(),
    "ABORT": m.Abort(5, "Enough"),
    "EXAMINED": m.Examined(0),
}

INDEX, ARCHIVE, GIVES = {"INDEX", "INDEX_EOF"}, {"ARCHIVE", "ARCHIVE_EOF"}, {"CHUNK", "MISSING", "ABORT"}
TAKES = {"REQUEST", "ABORT"}
GIVER = {
    State.BOTH: INDEX | ARCHIVE | GIVES,
    State.INDEX: INDEX | GIVES,
    State.ARCHIVE: ARCHIVE | GIVES,
    State.OPEN: GIVES,
}
# The order of spec/casync.md 5.1 to 5.5, written down a second time: what may be sent and received in each state.
MAY_SEND: dict[Role, dict[State, set[str]]] = {
    Role.PULL_CLIENT: dict.fromkeys(RUNNING, TAKES | {"GOODBYE"}),
    Role.PULL_SERVER: GIVER,
    Role.PUSH_CLIENT: {**GIVER, State.OPEN: GIVES | {"GOODBYE"}, State.WAITING: {"ABORT"}},
    Role.PUSH_SERVER: {
        **dict.fromkeys(RUNNING, TAKES | {"EXAMINED"}),
        State.OPEN: TAKES | {"EXAMINED", "GOODBYE"},
        State.FAREWELL: {"GOODBYE", "ABORT"},
    },
}
MAY_RECEIVE: dict[Role, dict[State, set[str]]] = {
    Role.PULL_CLIENT: GIVER,
    Role.PULL_SERVER: dict.fromkeys(RUNNING, TAKES | {"GOODBYE"}),
    Role.PUSH_CLIENT: {
        **dict.fromkeys(RUNNING, TAKES | {"EXAMINED"}),
        State.OPEN: TAKES | {"EXAMINED", "GOODBYE"},
        State.WAITING: {"GOODBYE", "ABORT"},
    },
    Role.PUSH_SERVER: {**GIVER, State.OPEN: GIVES | {"GOODBYE"}},
}
AFTER = {
    (State.BOTH, "INDEX_EOF"): State.ARCHIVE,
    (State.BOTH, "ARCHIVE_EOF"): State.INDEX,
    (State.INDEX, "INDEX_EOF"): State.OPEN,
    (State.ARCHIVE, "ARCHIVE_EOF"): State.OPEN,
}
AFTER_GOODBYE = {
    (Role.PUSH_CLIENT, "sent"): State.WAITING,
    (Role.PUSH_SERVER, "received"): State.FAREWELL,
}
ONLY = {State.WAITING: Role.PUSH_CLIENT, State.FAREWELL: Role.PUSH_SERVER}
ROLES_AND_STATES = [
    (role, state) for role, state in product(Role, State) if state is not State.AGREED and ONLY.get(state, role) is role
]


def after(role: Role, state: State, name: str, way: str) -> State:
    if name == "ABORT":
        return State.ABORTED
    if name == "GOODBYE":
        return AFTER_GOODBYE.get((role, way), State.ENDED)
    return AFTER.get((state, name), state)


def operations(role: Role, state: State, message: str) -> int:
    """What the client wants in a session that comes through the state and in which the message makes sense."""
    pull = role in {Role.PULL_CLIENT, Role.PULL_SERVER}
    index = f.PULL_INDEX if pull else f.PUSH_INDEX
    streams = index
    if state in {State.BOTH, State.ARCHIVE}:
        streams |= f.PULL_ARCHIVE if pull else f.PUSH_ARCHIVE
    if pull:
        return streams | f.PULL_CHUNKS
    if state in {State.WAITING, State.FAREWELL, State.ENDED} or message == "GOODBYE":
        return streams  # a push client that offered chunks does not leave
    return streams | f.PUSH_CHUNKS | f.PUSH_INDEX_CHUNKS


def reach(role: Role, state: State, message: str) -> Pair:
    """A pair whose end in this role is in this state; chunk A is asked for if the message is about it."""
    pair = fresh_pair(operations(role, state, message), dialect=True)
    end = pair.end(role)
    other = pair.other(end)
    if state is State.START:
        return pair
    hello = end.send(m.Hello())
    if state is State.GREETING:
        return pair
    end.receive(other.send(m.Hello()))
    other.receive(hello)
    giver, taker = (end, other) if role in {Role.PULL_SERVER, Role.PUSH_CLIENT} else (other, end)
    if state not in {State.BOTH, State.INDEX}:
        deliver(giver, taker, m.IndexData(bytes(100)))
        deliver(giver, taker, m.IndexEnd())
    if message in {"CHUNK", "MISSING"} and state not in ONLY and end.operations & f.CHUNK_OPERATIONS:
        deliver(taker, giver, m.Request([A]))
    if state in ONLY:
        deliver(pair.client, pair.server, m.Goodbye())
    elif state is State.ENDED:
        sender = pair.client if role in {Role.PULL_CLIENT, Role.PULL_SERVER} else pair.server
        deliver(sender, pair.other(sender), m.Goodbye())
    elif state is State.ABORTED:
        end.send(m.Abort(1, "Enough"))
    elif state is State.FAILED:
        with pytest.raises(ProtocolError):
            end.receive(b"\xff" * 16)
    assert end.state is state
    return pair


@pytest.mark.parametrize(("role", "state"), ROLES_AND_STATES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_sent(role: Role, state: State, name: str) -> None:
    end = reach(role, state, name).end(role)
    legal = MAY_SEND[role].get(state, set())
    if state is State.START:
        legal = {"HELLO"}
    elif state in {State.GREETING, State.FAILED}:
        legal = {"ABORT"}
    if name not in legal:
        with pytest.raises(ProtocolError if state is State.FAILED else LocalProtocolError):
            end.send(EXAMPLES[name])
        assert end.state is state
        return
    assert end.send(EXAMPLES[name])
    assert end.state is (State.GREETING if name == "HELLO" else after(role, state, name, "sent"))


def wire(message: Message) -> bytes:
    return b"".join(message.wire_parts())


@pytest.mark.parametrize(("role", "state"), ROLES_AND_STATES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_received(role: Role, state: State, name: str) -> None:
    pair = reach(role, state, name)
    end = pair.end(role)
    message = EXAMPLES[name]
    if name == "HELLO":
        message = m.Hello(pair.other(end).flags)
    if state is State.START:
        with pytest.raises(LocalProtocolError):
            end.receive(wire(message))
        return
    if state in DEAF:
        assert end.receive(wire(message)) == []
        assert end.state is state
        return
    legal = {"HELLO"} if state is State.GREETING else MAY_RECEIVE[role].get(state, set())
    if name in legal:
        assert end.receive(wire(message)) == [message]
        running = running_state(operations(role, state, name))
        assert end.state is (running if name == "HELLO" else after(role, state, name, "received"))
        return
    for _again in range(2):
        with pytest.raises(ProtocolError) as caught:
            end.receive(wire(message))
    with pytest.raises(ProtocolError) as at_end:
        end.receive_end()
    assert at_end.value is caught.value
    assert end.state is State.FAILED
    assert end.send(m.Abort(0, "What was that?"))


@pytest.mark.parametrize(("role", "state"), ROLES_AND_STATES)
def test_the_end_of_input(role: Role, state: State) -> None:
    end = reach(role, state, "GOODBYE").end(role)  # nothing is outstanding
    legal = {
        Role.PULL_CLIENT: {State.OPEN},
        Role.PULL_SERVER: set(RUNNING),
        Role.PUSH_CLIENT: {State.WAITING},
        Role.PUSH_SERVER: set(),  # see below: only if there is nothing to confirm
    }[role] | DEAF
    if state in legal:
        end.receive_end()
        assert end.state is (state if state in DEAF else State.ENDED)
        assert end.done == (state is not State.FAREWELL)
        end.receive_end()
    else:
        for _again in range(2):
            with pytest.raises(ProtocolError) as caught:
                end.receive_end()
        assert state is State.FAILED or f"ended early, {state.value}" in str(caught.value)


def test_a_client_that_offered_chunks_only_may_leave() -> None:
    """casync does so when the index is not on the same host."""
    end = greeted(Role.PUSH_SERVER, f.PUSH_CHUNKS)
    end.receive_end()
    assert end.done


def test_a_client_that_sent_its_index_waits_for_the_confirmation() -> None:
    end = greeted(Role.PUSH_SERVER, f.PUSH_INDEX)
    end.receive(wire(m.IndexData(bytes(100))) + wire(m.IndexEnd()))
    with pytest.raises(ProtocolError, match="ended early"):
        end.receive_end()


def greeted(role: Role, wanted: int) -> Connection:
    pair = fresh_pair(wanted)
    end = pair.end(role)
    end.send(m.Hello())
    end.receive(pair.other(end).send(m.Hello()))
    return end


@pytest.mark.parametrize("role", Role)
def test_an_abort_of_the_other_end_is_its_last_word(role: Role) -> None:
    end = reach(role, State.OPEN, "ABORT").end(role)
    abort = m.Abort(2, "No such file: x")
    assert end.receive(wire(abort) + b"anything") == [abort]
    assert not end.done
    for _again in range(2):
        with pytest.raises(PeerError, match=r"^No such file: x$") as caught:
            end.receive_end()
        assert not isinstance(caught.value, ProtocolError)
    end = reach(role, State.OPEN, "ABORT").end(role)
    end.receive(wire(m.Abort(7, "")))
    with pytest.raises(PeerError, match="error 7"):
        end.receive_end()


@pytest.mark.parametrize("role", Role)
def test_our_abort_is_our_last_word(role: Role) -> None:
    end = reach(role, State.INDEX, "ABORT").end(role)
    end.send(m.Abort(2, "No"))
    assert end.done
    assert end.receive(wire(m.IndexEnd())) == []
    end.receive_end()


def test_the_tables_are_complete() -> None:
    for tables in (SENT, RECEIVED):
        assert set(tables) == set(Role)
        for role, rows in tables.items():
            assert set(rows) == set(State)
            assert not any(rows[state] for state, only in ONLY.items() if only is not role)
            assert not rows[State.AGREED]
            reached = {target for row in rows.values() for target in row.values()}
            assert State.START not in reached
            other = (RECEIVED if tables is SENT else SENT)[OTHER[role]]
            for state in RUNNING:  # what one end sends, the other takes
                assert set(rows[state]) == set(other[state])
    assert set(END_OF_INPUT) == set(Role)


@pytest.mark.parametrize(
    ("wanted", "state"),
    [
        (f.PULL_CHUNKS, State.OPEN),
        (f.PULL_INDEX, State.INDEX),
        (f.PULL_CHUNKS | f.PULL_INDEX, State.INDEX),
        (f.PULL_ARCHIVE, State.ARCHIVE),
        (f.PULL_ARCHIVE | f.PULL_INDEX, State.BOTH),
        (f.PUSH_CHUNKS, State.OPEN),
        (f.PUSH_CHUNKS | f.PUSH_INDEX | f.PUSH_INDEX_CHUNKS, State.INDEX),
        (f.PUSH_ARCHIVE, State.ARCHIVE),
        (f.PUSH_ARCHIVE | f.PUSH_INDEX, State.BOTH),
    ],
)
def test_the_state_after_hello(wanted: int, state: State) -> None:
    assert running_state(wanted) is state
