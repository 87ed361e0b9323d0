"""Children behind pipes: how they start, what they say, and that nothing of them is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from casync_py.errors import PeerError
from casync_py.protocol import flags as f
from casync_py.protocol.connection import Connection
from casync_py.protocol.messages import Hello, Message
from casync_py.protocol.state import Role
from casync_py.transport import child as child_module
from casync_py.transport import pipe as module
from casync_py.transport.driver import Driver
from casync_py.transport.pipe import ChildStream

pytestmark = pytest.mark.usefixtures("nothing_left")

SHORT_S = 0.05


class Greeter:
    """Says HELLO, then waits for what the other end owes."""

    def __init__(self) -> None:
        self.hello: Message | None = Hello()

    def received(self, message: Message) -> None: ...

    def ended(self) -> None: ...

    def next_message(self) -> Message | None:
        message, self.hello = self.hello, None
        return message

    def wants_input(self) -> bool:
        return True

    def waiting(self) -> bool:
        return True


def driver_of(stream: ChildStream, timeout: float = 20.0) -> Driver:
    return Driver(stream, Connection(Role.PULL_CLIENT, f.PULL_ARCHIVE), Greeter(), timeout=timeout)


def drive(stream: ChildStream, timeout: float = 20.0) -> None:
    driver_of(stream, timeout).run()


def shell(script: str, **options: object) -> ChildStream:
    return ChildStream(["sh", "-c", script], None, "far.example", **options)  # type: ignore[arg-type]


def read_all(stream: ChildStream) -> bytes:
    os.set_blocking(stream.fileno_read(), True)
    with open(stream.fileno_read(), "rb", closefd=False) as file:
        return file.read()


def read_line(stream: ChildStream) -> bytes:
    os.set_blocking(stream.fileno_read(), True)
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(stream.fileno_read(), 1)
    return line


def is_gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process that may be nobody's child any more has ended, at the latest after so long."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def test_bytes_go_both_ways() -> None:
    with ChildStream(["cat"], None, "cat") as stream:
        data = os.urandom(100_000)
        assert stream.write([data[:5], memoryview(data)[5:]]) == len(data)
        stream.close_write()
        assert read_all(stream) == data
    assert stream.exit_status == 0
    assert stream.fileno_read() == stream.fileno_write() == -1


def test_the_environment_is_the_callers() -> None:
    with ChildStream(["/usr/bin/env"], {"A": "b c"}, "env") as stream:
        assert read_all(stream) == b"A=b c\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["no-such-program-here", "x"], "^far: Cannot run no-such-program-here: No such file or directory$"),
        (["/etc/passwd"], "^far: Cannot run /etc/passwd: Permission denied$"),
        (["/"], "^far: Cannot run /: Permission denied$"),
        ([b"/no/\xff"], "^far: Cannot run /no/\udcff: No such file or directory$"),
    ],
)
def test_a_program_that_cannot_be_run_is_named(argv: list[str], says: str) -> None:
    with pytest.raises(PeerError, match=says):
        ChildStream(argv, None, "far")


def test_a_word_that_cannot_be_passed_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="null byte"):
        ChildStream(["cat", "a\0b"], None, "far")


def test_no_descriptors_are_left_to_the_child() -> None:
    with shell("ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> .*/\\1/p' | sort -n | tr '\\n' ' '") as stream:
        assert read_all(stream) == b"0 1 2 3 "  # 3 is the listed directory


def test_the_child_is_ended_by_a_broken_pipe() -> None:
    """Python ignores SIGPIPE, a child must not."""
    with shell("kill -PIPE $$; echo survived") as stream:
        assert read_all(stream) == b""
        assert stream.fate() == "killed by SIGPIPE"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 0", r"ended early, .* \(exit status 0\)$"),
        ("exit 127", r"ended early, .* \(exit status 127\)$"),
        ("kill -KILL $$", r"ended early, .* \(killed by SIGKILL\)$"),
        ("kill -SEGV $$", r"ended early, .* \(killed by SIGSEGV\)$"),
        ("kill -40 $$", r"ended early, .* \(killed by signal 40\)$"),
        ("head -c 10 >/dev/null; exit 3", r"ended early, .* \(exit status 3\)$"),
        ("head -c 24 >/dev/null; printf 'abc'; kill -9 $$", r"ended early, .* \(killed by SIGKILL\)$"),
        ("exec >/dev/null; cat; exit 4", r"ended early"),
        ("exec >&-; sleep 0.2; exit 4", r"ended early, .* \(exit status 4\)$"),
        ("sleep 100", r"Silent for 0\.05 seconds$"),
    ],
)
def test_how_a_child_died(script: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_S", SHORT_S)
    monkeypatch.setattr(module, "_FATE_S", SHORT_S if "cat" in script else 10.0)
    with shell(script) as stream, pytest.raises(PeerError, match=f"^far.example: .*{says}"):
        drive(stream, timeout=SHORT_S if "Silent" in says else 20.0)


def test_a_child_that_ends_by_itself_is_let() -> None:
    with shell("cat >/dev/null; exit 7") as stream:
        assert stream.exit_status is None
    assert stream.exit_status == 7


def test_a_child_that_still_writes_is_read_until_it_ends() -> None:
    with shell("cat; head -c 3000000 /dev/zero; exit 5") as stream:
        pass
    assert stream.exit_status == 5


def test_a_child_that_writes_forever_gets_a_broken_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_S", 100.0)
    with shell("exec cat /dev/zero") as stream:
        pass
    assert stream.exit_status == -signal.SIGPIPE


def test_waiting_for_a_child_that_has_closed_its_output_is_no_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read_into = ChildStream.read_into

    def counted(stream: ChildStream, room: memoryview) -> int | None:
        reads.append(read_into(stream, room))
        return reads[-1]

    monkeypatch.setattr(ChildStream, "read_into", counted)
    with shell("exec >&-; sleep 0.2; exit 9") as stream:
        pass
    assert reads == [0]
    assert stream.exit_status == 9


def test_the_child_is_reaped_by_close_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its number could be somebody else's, nobody is signalled."""
    with shell("exit 6") as stream:
        assert read_all(stream) == b""
        assert stream.fate() == "exit status 6"
        assert os.waitid(os.P_PID, stream.pid, os.WEXITED | os.WNOWAIT) is not None
    assert stream.exit_status == 6
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("A number was signalled that is nobody's"))
    stream.kill()


@pytest.mark.parametrize(
    ("script", "status"),
    [("exec sleep 1000", -signal.SIGTERM), ("trap '' TERM; while :; do sleep 1000; done", -signal.SIGKILL)],
)
def test_a_child_that_does_not_end_is_made_to(script: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_S", SHORT_S)
    monkeypatch.setattr(child_module, "_TERM_S", 0.3)
    with shell("echo; " + script) as stream:
        read_line(stream)
    assert stream.exit_status == status


@pytest.mark.parametrize(
    "script", ["sleep 1000 & echo $!; wait", "sleep 1000 & echo $!", "(trap '' TERM; sleep 1000) & echo $!"]
)
def test_what_the_child_started_ends_too(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_S", SHORT_S)
    with shell(script) as stream:
        grandchild = int(read_line(stream))
    assert is_gone(grandchild)


def test_a_stopped_child_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_S", SHORT_S)
    monkeypatch.setattr(child_module, "_TERM_S", 0.3)
    with ChildStream(["cat"], None, "cat") as stream:
        os.kill(stream.pid, signal.SIGSTOP)
    assert stream.exit_status == -signal.SIGKILL


def test_kill_from_another_thread_ends_the_loop() -> None:
    with shell("exec sleep 1000") as stream:
        timer = threading.Timer(SHORT_S, stream.kill)
        timer.start()
        with pytest.raises(PeerError, match="killed by SIGTERM"):
            drive(stream)
        timer.join()
    stream.kill()  # too late, and harmless
    stream.close()
    assert stream.exit_status == -signal.SIGTERM


def test_an_interrupted_close_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it waits for the child: the child is killed all the same, and the interruption goes on."""
    stream = shell("exec sleep 1000")
    pid = stream.pid

    def interrupt(_stream: ChildStream, _seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ChildStream, "_drain", interrupt)
    with pytest.raises(KeyboardInterrupt):
        stream.close()
    assert is_gone(pid)


def test_a_child_that_the_kernel_reaps() -> None:
    """Where SIGCHLD is ignored, nobody learns how a child ended."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with ChildStream(["cat"], None, "cat") as stream:
            stream.close_write()
            assert read_all(stream) == b""
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert stream.exit_status == 0


def test_the_pipes_are_large() -> None:
    with ChildStream(["cat"], None, "cat") as stream:
        size = stream.write([bytes(4 << 20)])
    assert size > 1 << 19


def test_stderr_is_ours_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    with shell("echo seen >&2"):
        pass
    assert capfd.readouterr().err == "seen\n"


def run_python(code: str, **options: object) -> subprocess.Popen[str]:
    program = "from casync_py.transport.pipe import ChildStream\n" + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_a_child_ends_when_its_parent_is_killed() -> None:
    """No signal reaches it: its pipes end."""
    code = """
        import time
        stream = ChildStream(["cat"], None, "cat")
        print(stream.pid, flush=True)
        time.sleep(1000)
    """
    with run_python(code) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        assert is_gone(pid)


INTERRUPTED = """
    import threading, signal, sys
    sys.path.insert(0, {tests!r})
    from test_child_stream import driver_of
    stream = ChildStream(["sleep", "1000"], None, "far")
    driver = driver_of(stream, 1000.0)
    def run():
        try:
            driver.run()
        except Exception as error:
            print(error, flush=True)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        print(stream.pid, flush=True)
        driver.wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        stream.kill()
        driver.wait()
        stream.close()
        thread.join()
        print(stream.exit_status, threading.active_count(), flush=True)
"""


def test_ctrl_c_in_the_main_thread_while_another_drives() -> None:
    code = INTERRUPTED.format(tests=os.path.dirname(__file__))
    with run_python(code, start_new_session=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does; the child has its own group
        said = parent.stdout.read().splitlines()
    assert said[0] == "interrupted"
    assert "killed by SIGTERM" in said[1]
    assert said[2:] == ["-15 1"]
    assert is_gone(pid)


@pytest.mark.parametrize("asks", [False, True])
def test_who_may_ask_on_the_terminal_stays_in_its_foreground_group(asks: bool) -> None:
    code = """
        import os, sys
        os.close(os.open(sys.argv[1], os.O_RDWR))  # without a terminal so far, we get this one
        with ChildStream(["cat"], None, "cat", asks=sys.argv[2] == "True") as stream:
            print(os.getpgid(stream.pid) == os.getpgrp())
    """
    master, slave = os.openpty()
    try:
        program = "from casync_py.transport.pipe import ChildStream\n" + textwrap.dedent(code)
        argv = [sys.executable, "-c", program, os.ttyname(slave), str(asks)]
        done = subprocess.run(argv, start_new_session=True, capture_output=True, text=True, timeout=60)
    finally:
        os.close(master)
        os.close(slave)
    assert done.stdout == f"{asks}\n", done.stderr


def test_without_a_terminal_the_child_has_its_own_group() -> None:
    code = """
        import os
        with ChildStream(["cat"], None, "cat", asks=True) as stream:
            print(os.getpgid(stream.pid) == stream.pid)
    """
    with run_python(code, start_new_session=True) as parent:
        assert parent.communicate()[0] == "True\n"
