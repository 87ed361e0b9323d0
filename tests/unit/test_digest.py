"""The strong hashes: published values, flags, one table."""

from __future__ import annotations

import hashlib
import threading

import pytest

from casync_py.digest import (
    BLAKE3,
    BLAKE3_FLAG,
    DEFAULT_DIGEST,
    DIGESTS,
    SHA256,
    SHA512_256,
    SHA512_256_FLAG,
    Digest,
    digest_by_name,
    digest_of_flags,
)
from casync_py.errors import FormatError, UsageError

OF_ABC = {
    # FIPS 180-4 example values (NIST CSRC, SHA512_256.pdf and SHA256.pdf)
    "sha512-256": "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    # the reference program: printf abc | b3sum
    "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}
OF_NOTHING_SHA512_256 = "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"  # casync prints it


@pytest.mark.parametrize("name", DIGESTS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_known_values(name: str, kind: type) -> None:
    digest = DIGESTS[name]
    assert digest.of(kind(b"abc")).hex() == OF_ABC[name]
    hasher = digest.new()
    for piece in (b"a", b"", b"bc"):
        hasher.update(kind(piece))
    assert hasher.digest().hex() == hasher.hexdigest() == OF_ABC[name]


def test_the_empty_stream() -> None:
    assert SHA512_256.of(b"").hex() == OF_NOTHING_SHA512_256


@pytest.mark.parametrize("digest", DIGESTS.values(), ids=DIGESTS)
def test_hashers_do_not_share_state(digest: Digest) -> None:
    one, two = digest.new(), digest.new()
    one.update(b"x")
    two.update(b"abc")
    assert two.digest() == digest.of(b"abc")
    data = bytes(100_000)
    expected = digest.of(data)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.extend(digest.of(data) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {expected}
    assert len(results) == 80


def test_sha256_is_hashlibs() -> None:
    assert SHA256.of(b"x" * 5000) == hashlib.sha256(b"x" * 5000).digest()


def test_names() -> None:
    assert [digest_by_name(name) for name in DIGESTS] == list(DIGESTS.values())
    assert digest_by_name("default") is DEFAULT_DIGEST is SHA512_256
    with pytest.raises(UsageError, match="Unknown digest 'md5'; known are sha512-256, sha256, blake3"):
        digest_by_name("md5")


def test_feature_flags() -> None:
    other_flags = 0x1234 | 1 << 60 | 1 << 62 | 1 << 63
    assert digest_of_flags(other_flags) is SHA256
    assert digest_of_flags(other_flags | SHA512_256_FLAG) is SHA512_256
    assert digest_of_flags(other_flags | BLAKE3_FLAG) is BLAKE3
    with pytest.raises(FormatError, match="two digests"):
        digest_of_flags(SHA512_256_FLAG | BLAKE3_FLAG)


def test_flags_are_casyncs() -> None:
    assert SHA512_256.flag == 0x2000000000000000  # caformat.h, CA_FORMAT_SHA512_256
    assert BLAKE3.flag == 1 << 59
    assert SHA256.flag == 0


def test_labels_of_mtree() -> None:
    assert [digest.label for digest in DIGESTS.values()] == ["sha512256digest", "sha256digest", "blake3digest"]
