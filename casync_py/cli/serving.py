"""The verbs that a client starts on another machine: `pull`, `push`, and `serve-stdio`, which confines them."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from casync_py.cli.errors import AlreadyTold
from casync_py.cli.session import Session, Verb
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.monitor import Monitor
    from casync_py.options import Settings
    from casync_py.remote.roots import Roots
    from casync_py.remotes.ssh.command import Served
    from casync_py.store.local import LocalStore

_ORIGINAL_COMMAND = "SSH_ORIGINAL_COMMAND"  # sshd(8): what the client wanted to run


def run_peer(session: Session) -> None:
    """Serve one connection on standard input and output, as the arguments say."""
    from casync_py.remotes.ssh.forced import parse_served

    served = parse_served(session.verb, [word for word in session.arguments if word is not None])
    _serve(served, session, ours="peer" in session.options, shown=str)


def run_confined(session: Session) -> None:
    """Serve what the client of a forced command asks for, below the given directories."""
    from casync_py.remote.roots import Roots
    from casync_py.remotes.ssh.forced import parse_forced

    directories = session.options.get("root")
    if not directories:
        raise UsageError("serve-stdio needs --root=DIR: what is below is served, and nothing else")
    line = os.environ.get(_ORIGINAL_COMMAND)
    if line is None:
        raise UsageError(f"serve-stdio is a forced command for authorized_keys; sshd sets ${_ORIGINAL_COMMAND} for it")
    served, ours = parse_forced(line)
    if served.verb == "push" and "read_only" in session.options:
        raise UsageError("Only pull is served here")
    with closing(Roots(directories)) as roots, roots.naming():
        _serve(_confined(served, roots), session, ours=ours, shown=roots.shown)


def _confined(served: Served, roots: Roots) -> Served:
    """The same, found below the roots."""
    from dataclasses import replace

    pull = served.verb == "pull"  # push replaces a file, also one that is a link
    return replace(
        served,
        archive=None if served.archive is None else roots.find(served.archive, follow=pull),
        index=None if served.index is None else roots.find(served.index, follow=pull),
        stores=tuple(map(roots.find, served.stores)),
    )


def _serve(served: Served, session: Session, *, ours: bool, shown: Callable[[str], str]) -> None:
    """
    Args:
        shown: for messages, a text with the paths that the client named.
    """
    from casync_py.monitor import Monitor
    from casync_py.transport.pipe import StandardStream

    monitor = Monitor(on_notice=lambda text: session.monitor.notice(shown(text)))
    timeout, index, archive = session.settings.timeout, served.index, served.archive
    with ExitStack() as cleanup:
        stream = cleanup.enter_context(closing(StandardStream()))
        stores = _open_stores(served, session.settings, monitor, cleanup)
        if served.verb == "pull":
            from casync_py.peer.pull_server import serve_pull

            good = serve_pull(
                stream,
                index=index,
                archive=archive,
                stores=stores,
                ours=ours,
                timeout=timeout,
                idle_for_ever="timeout" not in session.options,
                monitor=monitor,
                shown=shown,
            )
        else:
            from casync_py.peer.push_server import serve_push

            good = serve_push(
                stream,
                index=index,
                archive=archive,
                store=stores[0] if stores else None,
                extra=stores[1:],
                ours=ours,
                timeout=timeout,
                resources=session.settings.resources,
                shown=shown,
            )
    if not good:
        raise AlreadyTold


def _open_stores(served: Served, settings: Settings, monitor: Monitor, cleanup: ExitStack) -> list[LocalStore]:
    """The stores: the first one of a push is made on demand, any other that is absent counts as empty."""
    from casync_py.store.local import LocalStore

    stores = []
    for number, path in enumerate(served.stores):
        if not (served.verb == "push" and number == 0) and not os.path.exists(path):
            monitor.notice(f"{path}: No such store")
        stores.append(LocalStore(path, settings.store_options, create=True))
        cleanup.callback(stores[-1].close)
    return stores


_PEER_ARGUMENTS = {
    "BASE": "Never used: '-'.",
    "ARCHIVE": "Archive; '-' for none.",
    "INDEX": "Index; '-' for none.",
    "STORE": "Store; '-' for none. Further ones are asked for what it lacks.",
}
VERBS = {
    "pull": Verb(
        summary="Serve an archive, an index and stores to a client that reads them.",
        text="""
Serve an archive, or an index and the stores of its chunks, on standard input and output, to a client that speaks
casync's protocol. casync and casync-py start this over SSH.
""",
        examples=("casync-py pull - - /srv/disk.caibx /srv/default.castr",),
        arguments=_PEER_ARGUMENTS,
        run=run_peer,
        streams=True,
    ),
    "push": Verb(
        summary="Serve a client that makes an archive or an index here.",
        text="""
Take an archive, or an index and those of its chunks that no store here has, on standard input and output, from a client
that speaks casync's protocol. casync and casync-py start this over SSH. The index appears when all its chunks are on
disk.
""",
        examples=("casync-py push - - /srv/disk.caibx /srv/default.castr",),
        arguments=_PEER_ARGUMENTS,
        run=run_peer,
        streams=True,
    ),
    "serve-stdio": Verb(
        summary="Serve pull and push as a forced command of SSH, below given directories.",
        text="""
The forced command for a key in ~/.ssh/authorized_keys:

\b
  restrict,command="casync-py serve-stdio --root /srv/images --read-only" ssh-ed25519 AAAA... client

What the client asked sshd to run is read from $SSH_ORIGINAL_COMMAND. Only pull and push of casync and casync-py are
served, push not with --read-only, and only on paths below the directories: no '..', no link that leads out. A relative
path stands below the first directory.
""",
        examples=("casync-py serve-stdio --root=/srv/images --read-only", "casync-py serve-stdio --root=/srv/backup"),
        arguments={},
        run=run_confined,
        streams=True,
    ),
}
