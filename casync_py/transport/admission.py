"""Who may talk to a server: tokens and certificates, for every server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from casync_py.errors import UsageError

if TYPE_CHECKING:
    import ssl

_TOKENS_MAX = 1 << 20  # bytes of a token file


class Tokens:
    """Secrets that clients present; compared in constant time, kept as digests."""

    def __init__(self, tokens: list[bytes]) -> None:
        self._digests = [hashlib.sha256(token).digest() for token in tokens]

    @classmethod
    def read(cls, path: str) -> Tokens:
        """The tokens of a file, one a line; empty lines and lines that begin with `#` are none.

        Raises:
            UsageError: it has no tokens, or a line that cannot be one.
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            content = file.read(_TOKENS_MAX + 1)
        if len(content) > _TOKENS_MAX:
            raise UsageError(f"{path}: No file of tokens, larger than {_TOKENS_MAX} bytes")
        lines = [line.strip() for line in content.splitlines()]
        tokens = [line for line in lines if line and not line.startswith(b"#")]
        for token in tokens:
            if not all(0x21 <= byte <= 0x7E for byte in token):
                raise UsageError(f"{path}: Line {lines.index(token) + 1} is no token: printable ASCII without blanks")
        if not tokens:
            raise UsageError(f"{path}: No tokens in it; one a line")
        return cls(tokens)

    def accept(self, authorization: bytes) -> bool:
        """Whether an Authorization header presents one of them, as Bearer or as the password of Basic.

        Source: RFC 6750, 2.1; RFC 7617, 2.
        """
        scheme, _, value = authorization.strip().partition(b" ")
        value = value.strip()
        scheme = scheme.lower()
        if scheme == b"basic":
            try:
                value = base64.b64decode(value, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme != b"bearer":
            return False
        digest = hashlib.sha256(value).digest()
        found = [hmac.compare_digest(digest, each) for each in self._digests]  # all of them, whichever is right
        return any(found)


def server_tls(cert: str, key: str | None = None, client_ca: str | None = None) -> ssl.SSLContext:
    """TLS for a server: 1.2 or later.

    Args:
        cert, key: PEM files; the key may be in the certificate's.
        client_ca: PEM file of authorities; only clients with a certificate of theirs get in.

    Raises:
        UsageError: a file has no certificate or key, or they do not belong together.
        OSError: a file cannot be read.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path in (cert, key, client_ca):
        if path is not None:
            with open(path, "rb"):
                pass  # OpenSSL's own error names no file
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(f"{cert}: No certificate and key that belong together ({_reason(error)})") from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            raise UsageError(f"{client_ca}: No certificates of authorities ({_reason(error)})") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")
