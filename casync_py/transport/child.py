"""A child process, with what it started in turn: its end, asked for or enforced, and never a zombie left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from casync_py.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TERM_S = 1.0  # between SIGTERM and SIGKILL
_FIRST_NAP_S, _LONGEST_NAP_S = 0.0005, 0.02


class Child:
    """A program that was started. Thread-safe.

    It is reaped by `end()` and not before, so that its number stays its own, and its process group's, while there is
    anybody to signal.

    Attributes:
        pid: its process id, and its group's id if it has its own.
    """

    def __init__(
        self,
        argv: Sequence[str | bytes],
        env: Mapping[str, str] | None,
        *,
        stdin: int,
        stdout: int,
        own_group: bool,
        name: str,
    ) -> None:
        """Start it; PATH is searched. The descriptors stay the caller's.

        No preexec_fn: subprocess then uses vfork, which costs about a millisecond however much memory this process
        has, and nothing of Python runs in the child while other threads hold locks.

        Raises:
            PeerError: it cannot be run; the reason names it, the error's name is `name`.
        """
        self._group = own_group
        self._lock = threading.Lock()  # around signals and reaping
        self._status: int | None = None
        self._reaped = False
        group = 0 if own_group else None
        try:
            self._popen = subprocess.Popen(list(argv), env=env, stdin=stdin, stdout=stdout, process_group=group)
        except OSError as error:
            raise PeerError(f"Cannot run {os.fsdecode(argv[0])}: {error.strerror}", name) from error
        self.pid = self._popen.pid

    @property
    def status(self) -> int | None:
        """Its exit status, minus the signal's number if one killed it; None while it runs."""
        with self._lock:
            if self._status is None:
                try:
                    found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except ChildProcessError:  # SIGCHLD is ignored: the kernel reaped it and told nobody
                    self._status, self._reaped = 0, True
                else:
                    if found is not None:
                        self._status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            return self._status

    def fate(self) -> str:
        """How it ended, for people; "" while it runs."""
        status = self.status
        if status is None:
            return ""
        return f"exit status {status}" if status >= 0 else f"killed by {_signal_name(-status)}"

    def wait(self, seconds: float, pause: Callable[[float], None] = time.sleep) -> bool:
        """Whether it ends within so many seconds; `pause(seconds)` passes the time."""
        deadline = time.monotonic() + seconds
        nap = _FIRST_NAP_S
        while self.status is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            pause(min(nap, left))
            nap = min(nap * 2, _LONGEST_NAP_S)
        return True

    def signal(self, number: int) -> None:
        """Signal it, with its group if it has its own; nothing happens once it was reaped."""
        with self._lock:
            if not self._reaped:
                self._signal(number)

    def _signal(self, number: int) -> None:
        try:
            if self._group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):  # a program that changed its user is ended by its pipes
            pass

    def end(self) -> None:
        """Let nothing be left of it: SIGTERM if it runs, SIGKILL after a second, to its whole group, and reap it.

        Whatever interrupts this, the SIGKILL is sent.
        """
        try:
            if self.status is None:
                self.signal(signal.SIGTERM)
                self.wait(_TERM_S)
        finally:
            self.signal(signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        # Outside of the lock: after SIGKILL this takes no time but for a program that we may not signal
        if self.wait(_TERM_S):
            with self._lock:
                self._reaped = True
                self._popen.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
