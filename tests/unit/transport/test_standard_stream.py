"""The standard streams taken over, in a process of their own: over pipes, sockets, files, and what else there is."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("nothing_left")

ECHO = """
    import select, sys
    from collections import deque
    from casync_py.transport import pipe
    from casync_py.transport.pipe import StandardStream
    {before}
    stream = StandardStream()
    print("stray")
    {after}
    room = memoryview(bytearray(1 << 16))
    ended, output = False, deque()
    while not ended or output:
        poll = select.poll()
        if not ended:
            poll.register(stream.fileno_read(), select.POLLIN)
        if output:
            poll.register(stream.fileno_write(), select.POLLOUT)
        ready = dict(poll.poll())
        if not ended:
            size = stream.read_into(room)
            ended = size == 0
            if size:
                output.append(bytes(room[:size]))
        if output:
            written = stream.write(output)
            while written:
                first = output.popleft()
                if written < len(first):
                    output.appendleft(first[written:])
                    break
                written -= len(first)
    stream.close_write()
    {end}
    stream.close()
"""
NO_REOPENING = "pipe._reopen_pipe = lambda fd: -1"
DATA = os.urandom(3_000_001)


def echo(*, before: str = "", after: str = "", end: str = "") -> list[str]:
    """A program that sends back what it is sent, and prints in between."""
    return [sys.executable, "-c", textwrap.dedent(ECHO).format(before=before, after=after, end=end)]


@pytest.mark.parametrize("before", ["", NO_REOPENING], ids=["reopened", "shared"])
def test_pipes(before: str) -> None:
    done = subprocess.run(echo(before=before), input=DATA, capture_output=True, timeout=60)
    assert done.stdout == DATA
    assert done.stderr == b"stray\n"


def test_sockets() -> None:
    """As under sshd: one socket is both. The end of output is told while the process lives on."""
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            echo(end="sys.stderr.close(); pipe.time.sleep(1000)"), stdin=theirs.fileno(), stdout=theirs.fileno()
        ) as child,
    ):
        theirs.close()
        got = exchange(ours, ours)
        child.kill()
    assert got == DATA


def exchange(reader: socket.socket, writer: socket.socket) -> bytes:
    """Send and receive at once, without a thread."""
    reader.setblocking(False)
    sent, got = 0, bytearray()
    while True:
        select.select([reader], [writer] if sent < len(DATA) else [], [])
        try:
            if sent < len(DATA):
                sent += writer.send(DATA[sent:])
                if sent == len(DATA):
                    writer.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        try:
            data = reader.recv(1 << 16)
        except BlockingIOError:
            continue
        if not data:
            return bytes(got)
        got += data


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_the_open_files_that_we_share_are_left_as_they_are(kind: str) -> None:
    """O_NONBLOCK would reach a shell that we were started from, and whatever it runs next."""
    if kind == "pipe":
        child_in, our_out = os.pipe()
        our_in, child_out = os.pipe()
    else:
        near, far = socket.socketpair()
        our_in, our_out, child_in, child_out = near.detach(), -1, far.fileno(), far.detach()
        our_out = os.dup(our_in)
    with subprocess.Popen(
        echo(after="sys.stderr.flush()"), stdin=child_in, stdout=child_out, stderr=subprocess.PIPE
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == b"stray\n"  # the stream is there
        os.write(our_out, b"x" * 1000)
        assert os.read(our_in, 1000) == b"x" * 1000
        flags = [fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in (child_in, child_out)]
        child.kill()
    for fd in {child_in, child_out, our_in, our_out}:
        os.close(fd)
    assert flags == [0, 0]


@pytest.mark.parametrize("before", ["", NO_REOPENING], ids=["reopened", "shared"])
def test_pipes_that_are_non_blocking_already(before: str) -> None:
    """As casync gives them to the programs that it starts."""
    child_in, our_out = os.pipe()
    our_in, child_out = os.pipe()
    os.set_blocking(child_in, False)
    os.set_blocking(child_out, False)
    with subprocess.Popen(echo(before=before), stdin=child_in, stdout=child_out, stderr=subprocess.DEVNULL):
        os.close(child_in)
        os.close(child_out)
        for at in range(0, 600_000, 60_000):
            os.write(our_out, DATA[at : at + 60_000])
            got = b""
            while len(got) < 60_000:
                got += os.read(our_in, 60_000)
            assert got == DATA[at : at + 60_000]
        os.close(our_out)
        assert os.read(our_in, 1) == b""
    os.close(our_in)


@pytest.mark.parametrize("kind", ["pipe", "shared pipe", "socket"])
def test_a_peer_that_does_nothing_blocks_nothing(kind: str) -> None:
    """With nothing to read and no room to write, both return."""
    code = f"""
        from casync_py.transport import pipe
        from casync_py.transport.pipe import StandardStream
        {NO_REOPENING if kind == "shared pipe" else ""}
        stream = StandardStream()
        print(stream.read_into(memoryview(bytearray(1))))
        total = 0
        while written := stream.write([bytes(4 << 20)]):
            total += written
        print(total >= 1 << 16, flush=True)
    """
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    if kind == "socket":
        near, far = socket.socketpair()
        descriptors = [near.detach(), far.detach()]
        child_in = child_out = descriptors[0]
    else:
        descriptors = [*os.pipe(), *os.pipe()]
        child_in, child_out = descriptors[0], descriptors[3]
    done = subprocess.run(argv, stdin=child_in, stdout=child_out, stderr=subprocess.PIPE, timeout=60)
    for fd in descriptors:
        os.close(fd)
    assert done.stderr == b"None\nTrue\n"


def test_files(tmp_path: Path) -> None:
    """What is in an output file already stays: its position is shared with whoever opened it."""
    (tmp_path / "in").write_bytes(DATA[:100_000])
    with open(tmp_path / "in", "rb") as input_, open(tmp_path / "out", "wb") as output:
        output.write(b"before")
        output.flush()
        subprocess.run(echo(), stdin=input_, stdout=output, stderr=subprocess.DEVNULL, check=True)
    assert (tmp_path / "out").read_bytes() == b"before" + DATA[:100_000]


def test_children_and_prints_are_kept_away_from_the_protocol() -> None:
    after = "import subprocess; sys.stdout.flush(); subprocess.run('cat; echo child', shell=True, check=True)"
    done = subprocess.run(echo(after=after), input=b"protocol", capture_output=True, timeout=60)
    assert done.stdout == b"protocol"
    assert done.stderr == b"stray\nchild\n"


def test_what_was_printed_before_comes_first() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    argv = echo(before="print('before')")
    done = subprocess.run(argv, input=b"x", capture_output=True, timeout=60, env=buffered)
    assert done.stdout == b"before\nx"


def test_without_stderr_prints_go_nowhere() -> None:
    argv = ["sh", "-c", 'exec "$@" 2>&-', "sh", *echo()]
    done = subprocess.run(argv, input=DATA[:1000], capture_output=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (DATA[:1000], b"", 0)


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_standard_stream_is_an_error(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *echo()], input=b"", capture_output=True, timeout=60
    )
    assert b"OSError: [Errno 9] Bad file descriptor" in done.stderr
    assert done.returncode == 1


@pytest.mark.root
def test_pipes_of_another_user() -> None:
    """As after `su` or `sudo -u`: they can be used, not opened anew."""
    before = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    after = "assert not stream._own_flags"
    done = subprocess.run(echo(before=before, after=after), input=DATA, capture_output=True, timeout=60)
    assert done.stdout == DATA, done.stderr
    assert done.stderr == b"stray\n"
