"""Every row of `vectors/listing/cases.json`: what casync printed about archives that lie beside it."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.archive.decoder import decode
from casync_py.digest import SHA256, SHA512_256, digest_of_flags
from casync_py.errors import UsageError
from casync_py.format.flags import parse_feature
from casync_py.sync.digesting import digest_entries
from casync_py.sync.listing import list_lines
from casync_py.sync.mtree import mtree_lines
from casync_py.sync.select import select
from casync_py.sync.shown import shown_mask
from casync_py.sync.stat import stat_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(__file__).parents[2] / "vectors" / "listing"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "cases.json").read_text())
_ENTRY_FEATURES = slice(16, 24)  # of the ENTRY record that an archive begins with


@pytest.fixture(autouse=True)
def five_and_a_half_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "AAA-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Memory:
    """An archive in memory, as a decoder's source."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self) -> bytes:
        return self._file.read(1000)

    def skip(self, count: int) -> None:
        self._file.seek(count, io.SEEK_CUR)


def output(case: dict[str, Any]) -> bytes:
    data = (VECTORS / f"{case['archive']}.catar").read_bytes()
    features = int.from_bytes(data[_ENTRY_FEATURES], "little")
    options = [option.partition("=") for option in case["options"]]
    asked = [parse_feature(value) for key, _, value in options if key == "--with"]
    refused = [parse_feature(value) for key, _, value in options if key == "--without"]
    mask, digest = shown_mask(asked, refused, features), digest_of_flags(features)
    entries = select(decode(Memory(data)), os.fsencode(case["subpath"] or ""))
    match case["verb"]:
        case "list":
            lines = list_lines(entries, "--recursive=no" not in case["options"])
        case "mtree":
            label = SHA256 if "--digest=sha256" in case["options"] else SHA512_256
            lines = mtree_lines(entries, mask, features, digest, label)
        case "stat":
            lines = stat_lines(entries, mask, features, digest)
        case verb:
            assert verb == "digest"
            lines = iter([digest_entries(entries, features, digest).hex().encode() + b"\n"])
    return b"".join(lines)


@pytest.mark.parametrize("archive", sorted({case["archive"] for case in CASES}))
@pytest.mark.parametrize("verb", ["list", "mtree", "stat", "digest"])
def test_the_same_bytes_as_casync(verb: str, archive: str) -> None:
    cases = [case for case in CASES if (case["verb"], case["archive"]) == (verb, archive)]
    assert cases
    for case in cases:
        what = f"{case['options']} {case['subpath']!r}"
        if case["status"]:
            with pytest.raises(UsageError):
                output(case)
        else:
            assert output(case).decode() == case["stdout"], what
