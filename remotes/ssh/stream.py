"""The stream to a peer behind ssh: it counts what passes, and says who is there as soon as that is known."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casync_py.protocol.flags import OURS, flag_names
from casync_py.transport.pipe import ChildStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from casync_py.monitor import Monitor
    from casync_py.protocol.connection import Connection
    from casync_py.remotes.ssh.command import PeerCommand


class SshStream(ChildStream):
    """ssh as a child, which may ask for a password on the terminal."""

    def __init__(
        self, command: PeerCommand, name: str, connection: Connection, monitor: Monitor, *, quiet: bool = False
    ) -> None:
        """Start ssh.

        Args:
            connection: what will be spoken through it, for its `peer_flags`.
            monitor: counts bytes, and gets the notice that casync runs there where casync-py was looked for.
            quiet: it was told before what is there.

        Raises:
            PeerError: it cannot be run.
        """
        super().__init__(command.argv, dict(os.environ), name, asks=True)
        self._command = command
        self._connection = connection
        self._monitor = monitor
        self._told = quiet

    def read_into(self, room: memoryview) -> int | None:
        if not self._told:
            self._tell()
        size = super().read_into(room)
        if size:
            self._monitor.transferred(size, 0)
        return size

    def write(self, views: Iterable[bytes | memoryview]) -> int:
        size = super().write(views)
        self._monitor.transferred(0, size)
        return size

    def close(self) -> None:
        if not self._told:
            self._tell()
        super().close()

    def _tell(self) -> None:
        """Say what is at the other end, once its HELLO has come (with an earlier read)."""
        connection = self._connection
        if connection.peer_flags is None:
            return
        self._told = True
        if self._command.looked_for and not connection.dialect:
            self._monitor.notice(f"{self.name}: Has no casync-py; its casync is used")
        kind = flag_names(OURS)[0] if connection.dialect else "casync"
        offered = ", ".join(flag_names(connection.peer_flags & ~OURS))
        self._monitor.detail(
            f"{self.name}: {kind}, offers {offered}; asked for {', '.join(flag_names(connection.flags))}"
        )
