"""Trees round-trip through encoder and decoder, under any feature flags and however the archive is sliced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casync_py.archive.decoder import decode
from casync_py.archive.nodes import Leave
from casync_py.testing import strategies as some
from casync_py.testing.memory_archives import (
    PieceSource,
    Plain,
    alike_files,
    decode_in_runs,
    decode_plain,
    encode_plain,
)

if TYPE_CHECKING:
    from random import Random

slow = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@slow
@given(some.archives(), some.slicings)
def test_trees(archive: tuple[int, list[Plain | Leave]], steps: list[int]) -> None:
    features, tree = archive
    data = encode_plain(tree, features)
    assert decode_plain(data) == tree
    assert decode_plain(data, steps) == tree
    assert decode_in_runs(data, steps) == tree


@slow
@given(st.integers(0, 60), some.slicings)
def test_files_with_the_same_metadata(count: int, steps: list[int]) -> None:
    tree, features = alike_files(count)
    assert decode_in_runs(encode_plain(tree, features), steps) == tree


@slow
@given(some.archives(), some.slicings, st.randoms(use_true_random=False))
def test_what_is_read_of_payloads_does_not_matter(
    archive: tuple[int, list[Plain | Leave]], steps: list[int], random: Random
) -> None:
    features, tree = archive
    source = PieceSource(encode_plain(tree, features), steps)
    nodes: list[tuple[bytes, object]] = []
    for item in decode(source, features):
        if isinstance(item, Leave):
            nodes.append((item.path, None))
            continue
        nodes.append((item.path, item.node))
        if item.payload is not None and item.payload.size:
            wanted = random.randrange(item.payload.size + 1)
            if wanted:
                item.payload.read_into(memoryview(bytearray(wanted)))
    assert nodes == [(item.path, None if isinstance(item, Leave) else item.node) for item in tree]
