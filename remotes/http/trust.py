"""How web servers are known over TLS, and we to them."""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from casync_py.options import Access

_HTTP1, _HTTP2 = "http/1.1", "h2"


def tls_context(access: Access, *, named: bool, http2: bool) -> ssl.SSLContext:
    """How a server is made sure of, and who we are to it.

    The system's authorities, or those that $SSL_CERT_FILE and $SSL_CERT_DIR name; those of certifi, which comes with
    httpx, on a system that has none.

    Args:
        named: the user named the server, so that our certificate is shown.
        http2: offer HTTP/2 too.

    Raises:
        UsageError: a certificate or key cannot be read.
    """
    context = _authorities(access.tls_ca)
    # An end without close_notify is an error: anyone may have cut what only the end tells the length of.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if named and access.tls_cert is not None:
        try:
            context.load_cert_chain(access.tls_cert, access.tls_key, _no_password)
        except OSError as error:  # SSLError is one
            raise UsageError(f"{access.tls_cert}: Cannot be our certificate: {_reason(error)}") from error
    context.set_alpn_protocols([_HTTP2, _HTTP1] if http2 else [_HTTP1])
    return context


def _authorities(path: str | None) -> ssl.SSLContext:
    path = path or os.environ.get("SSL_CERT_FILE") or None
    directory = None if path else os.environ.get("SSL_CERT_DIR") or None
    if path is None and directory is None and not _system_has_authorities():
        import certifi

        path = certifi.where()
    try:
        return ssl.create_default_context(cafile=path, capath=directory)
    except OSError as error:
        raise UsageError(f"{path}: Cannot be certificates of authorities: {_reason(error)}") from error


def _system_has_authorities() -> bool:
    paths = ssl.get_default_verify_paths()
    return paths.cafile is not None or (paths.capath is not None and bool(os.listdir(paths.capath)))


def _no_password() -> str:
    raise OSError("The key is protected by a password")


def _reason(error: OSError) -> str:
    return error.reason if isinstance(error, ssl.SSLError) and error.reason else error.strerror or str(error)


def http2_is_there() -> bool:
    """Whether the package is installed that HTTP/2 takes (extra `http2`)."""
    spec = find_spec("h2")
    return spec is not None and spec.origin is not None  # not just a directory of that name
