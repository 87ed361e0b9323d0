"""The verb `serve`: directories over HTTP."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from casync_py.amounts import count_text
from casync_py.cli.render import json_line
from casync_py.cli.session import Session, Verb
from casync_py.errors import UsageError

if TYPE_CHECKING:
    import ssl

    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.transport.admission import Tokens
    from casync_py.transport.listen import Listening

DEFAULT_ADDRESS = "127.0.0.1:8042"
_DEFAULT_PORT = 8042


def run(session: Session) -> None:
    """Serve until a signal comes."""
    from casync_py.remotes.http.server.app import App
    from casync_py.remotes.http.server.gate import Gate
    from casync_py.remotes.http.server.guard import Limits
    from casync_py.remotes.http.server.log import AccessLog
    from casync_py.remotes.http.server.run import Deadline, WebServer, connections_max

    tokens, tls = _admission(session)
    with ExitStack() as cleanup:
        deadline = cleanup.enter_context(closing(Deadline()))
        app = cleanup.enter_context(closing(App(_options(session, tokens, tls), session.monitor)))
        listening = cleanup.enter_context(closing(_listen(session)))
        _refuse_strangers(session, listening, guarded=tokens is not None or tls is not None)
        limits = Limits(connections_max(), session.settings.timeout)
        limits.crowded = app.crowded
        log = None
        if "access_log" in session.options:
            log = cleanup.enter_context(closing(AccessLog(session.options["access_log"])))
        local = None if "insecure" in session.options else listening.local_names
        gate = Gate(app, session.monitor, limits, tokens=tokens, log=log, local=local)
        server = WebServer(gate, listening, limits, tls=tls, deadline=deadline)
        server.on_ready = lambda: _tell(session, server.url)
        server.on_stopping = lambda busy: _tell_end(session, busy)
        server.on_trouble = session.monitor.notice
        server.run()


def _options(session: Session, tokens: Tokens | None, tls: ssl.SSLContext | None) -> ServeOptions:
    from casync_py.cli.values import parse_nonzero_size
    from casync_py.remotes.http.server.options import DEFAULT_MAX_UPLOAD, ServeOptions

    roots = tuple(word for word in session.arguments if word is not None)
    if not roots:
        raise UsageError("serve needs a DIR: what is below is served, and nothing else")
    given = session.options
    return ServeOptions(
        roots,
        writable="writable" in given,
        upstream=given.get("upstream"),
        cache_size=session.settings.cache_size,
        max_upload=parse_nonzero_size(given["max_upload"]) if "max_upload" in given else DEFAULT_MAX_UPLOAD,
        settings=session.settings,
        private=tokens is not None or (tls is not None and "client_ca" in given),
    )


def _admission(session: Session) -> tuple[Tokens | None, ssl.SSLContext | None]:
    """What the tokens and certificates are, whose files may be unreadable or wrong."""
    from casync_py.transport.admission import Tokens, server_tls

    given, access = session.options, session.settings.access
    if access.tls_cert is None and (access.tls_key is not None or "client_ca" in given):
        raise UsageError("--tls-key and --client-ca need --tls-cert=FILE")
    tls = None
    if access.tls_cert is not None:
        tls = server_tls(access.tls_cert, access.tls_key, given.get("client_ca"))
    return Tokens.read(given["token_file"]) if "token_file" in given else None, tls


def _listen(session: Session) -> Listening:
    from casync_py.transport.listen import Listen

    given = session.options
    if "socket" in given:
        if "listen" in given:
            raise UsageError("Either --listen or --socket")
        return Listen(path=given["socket"]).open()
    return Listen.parse(given.get("listen", DEFAULT_ADDRESS), _DEFAULT_PORT).open()


def _refuse_strangers(session: Session, listening: Listening, *, guarded: bool) -> None:
    if not (guarded or listening.only_local or "insecure" in session.options):
        raise UsageError(
            f"Others can reach {listening.listen.shown}: --token-file or --client-ca says who may, --tls-cert alone "
            "lets anyone in over TLS, and --insecure anyone at all"
        )
    if "token_file" in session.options and not listening.only_local and session.settings.access.tls_cert is None:
        session.monitor.notice("Without --tls-cert, tokens and content can be read on the way")


def _tell(session: Session, url: str) -> None:
    """One line for whoever started us, when connections are taken."""
    from casync_py.cli.notify import notify_ready

    roots = [os.path.abspath(word) for word in session.arguments if word is not None]
    session.output.write(
        json_line(session.verb, {"url": url, "roots": roots}) if session.json else url.encode() + b"\n"
    )
    session.output.flush()
    notify_ready(os.environ)
    session.summarize(f"Serving {', '.join(roots)}{' for writing too' * ('writable' in session.options)}; Ctrl-C ends")


def _tell_end(session: Session, busy: int) -> None:
    if busy:
        session.console.info(f"Finishing {count_text(busy, 'request')}; a second signal ends at once")


VERBS = {
    "serve": Verb(
        summary="Serve directories of archives, indexes and stores over HTTP.",
        text="""
Serve what is below some directories over HTTP: archives, indexes and chunks, and nothing else. casync-py, casync and
desync can read from it, casync-py and desync write to it with --writable, and a browser shows what is there and what to
type.

One DIR is / of the URL that is printed when connections are taken, several are /NAME/ each. What is written must be
right: a chunk must match its id, an index must have all its chunks in the store, and both are on disk before
success is reported.

By default, only this machine can connect. For others, give an address and say who may:

\b
  casync-py serve --listen=:8042 --token-file=tokens --tls-cert=server.pem /srv/images

Clients present a token as 'Authorization: Bearer TOKEN' (--http-header, $CASYNC_PY_HTTP_HEADER), or as the password of
any user (in the URL, ~/.netrc). /-/health and /-/metrics are for monitoring. SIGTERM and Ctrl-C let requests finish; a
second one does not.
""",
        examples=(
            "casync-py serve /srv/images",
            "casync-py serve --writable --listen=127.0.0.1:0 /srv/images /srv/backup",
            "casync-py serve --upstream=https://example.com/images --cache-size=20G /var/cache/images",
        ),
        arguments={"DIR": "What is below is served: a store, or a directory with stores, archives and indexes."},
        run=run,
        streams=True,
        announces_itself=True,
    )
}
