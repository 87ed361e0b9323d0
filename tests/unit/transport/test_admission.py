"""Tokens and certificates."""

from __future__ import annotations

import base64
import hmac
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
import trustme

from casync_py.errors import UsageError
from casync_py.transport.admission import Tokens, server_tls

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="tokens")
def _tokens(tmp_path: Path) -> Tokens:
    path = tmp_path / "tokens"
    path.write_text("# those of the build machines\nfirst-secret\n\n  second:secret  \r\n")
    return Tokens.read(str(path))


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    "header",
    [
        *(b"Bearer first-secret", b"bearer  second:secret ", b"BEARER first-secret"),
        *(basic("anyone:first-secret"), basic(":second:secret"), basic("u:second:secret")),
    ],
)
def test_right_ones(tokens: Tokens, header: bytes) -> None:
    assert tokens.accept(header)


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"Bearer", b"Bearer ", b"Bearer first-secre", b"Bearer first-secrets", b"Bearer first-secret x"),
        *(b"first-secret", b"Digest first-secret", b"Bearer # those of the build machines", b"Bearer\xff first-secret"),
        *(b"Basic first-secret", b"Basic !!!", basic("first-secret"), basic("first-secret:x"), basic("")),
    ],
)
def test_wrong_ones(tokens: Tokens, header: bytes) -> None:
    assert not tokens.accept(header)


def test_all_are_compared_in_constant_time(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for header in (b"Bearer first-secret", b"Bearer second:secret", b"Bearer x"):
        tokens.accept(header)
    assert compared == [(32, 32)] * 6


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "No tokens"),
        (b"# only\n\n", "No tokens"),
        (b"good\ntwo words\n", "Line 2"),
        (b"\xff\n", "Line 1"),
        (b"x" * (2 << 20), "larger"),
    ],
)
def test_files_without_tokens(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        Tokens.read(str(path))
    assert "words" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        Tokens.read(str(tmp_path / "absent"))


def test_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key, both, ca = (str(tmp_path / name) for name in ("cert", "key", "both", "ca"))
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    issued.private_key_and_cert_chain_pem.write_to_path(both)
    authority.cert_pem.write_to_path(ca)
    for context in (server_tls(cert, key), server_tls(both)):
        assert context.verify_mode == ssl.CERT_NONE
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert server_tls(both, client_ca=ca).verify_mode == ssl.CERT_REQUIRED
    for arguments, named in (((cert,), cert), ((cert, ca), cert), ((key,), key), ((both, None, key), key)):
        with pytest.raises(UsageError, match=named):
            server_tls(*arguments)
    with pytest.raises(FileNotFoundError) as caught:
        server_tls(cert, key + "x")
    assert caught.value.filename == key + "x"


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    cert, key, locked = (str(tmp_path / name) for name in ("cert", "key", "locked"))
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    command = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(UsageError, match="encrypted"):
        server_tls(cert, locked)
