"""Records, indexes and GOODBYE tables round-trip, whatever they hold."""

from __future__ import annotations

import io
import os
import tempfile
from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casync_py.errors import FormatError
from casync_py.format import flags
from casync_py.format import records as r
from casync_py.format.goodbye import Goodbye, encode_goodbye, name_hashes
from casync_py.format.index import Index, IndexWriter
from casync_py.format.reader import RecordReader
from casync_py.testing import strategies as some


@settings(deadline=None)
@given(st.lists(some.records, max_size=8), some.slicings)
def test_records(records: list[r.Record], steps: list[int]) -> None:
    data = b"".join(record.encode() for record in records if not isinstance(record, Goodbye))
    reader = RecordReader(r.RECORDS)
    position = 0
    pieces = iter([*steps, *[steps[-1]] * len(data)])
    for expected in records:
        while (header := reader.header()) is None:
            step = next(pieces)
            reader.feed(data[position : position + step])
            position += step
        start = reader.offset - 16
        while (body := reader.body()) is None:
            step = next(pieces)
            reader.feed(data[position : position + step])
            position += step
        decode = r.RECORDS[header[0]].decode
        assert decode is not None
        assert decode(bytes(body), start) == expected
    assert reader.offset == len(data)


@given(st.sampled_from(sorted(r.RECORDS)), st.binary(max_size=80))
def test_any_body_is_a_record_or_a_format_error(record_type: int, body: bytes) -> None:
    kind = r.RECORDS[record_type]
    if kind.decode is None or not kind.floor <= 16 + len(body) <= kind.ceiling:
        return
    try:
        record = kind.decode(body, 0)
    except FormatError:
        return
    assert not isinstance(record, Goodbye)
    assert record.encode()[16:] == body


@given(some.feature_flags)
def test_flags_that_are_normalised_are_accepted(feature_flags: int) -> None:
    assert flags.check(feature_flags) == feature_flags
    assert flags.normalize(feature_flags) == feature_flags


@given(st.integers(0, 2**64 - 1))
def test_normalising_twice_changes_nothing(bits: int) -> None:
    once = flags.normalize(bits)
    assert flags.normalize(once) == once


@settings(deadline=None)
@given(st.data(), some.chunk_params(), some.feature_flags)
def test_indexes(data: st.DataObject, params: tuple[int, int, int], feature_flags: int) -> None:
    rows = data.draw(some.index_rows(params[2]))
    file = io.BytesIO()
    writer = IndexWriter(file.write, feature_flags, params)
    for row in rows:
        writer.append(row.end, row.chunk_id)
    writer.finish()
    with tempfile.TemporaryFile() as stored:
        stored.write(file.getvalue())
        stored.flush()
        index = Index(stored.fileno(), close_fd=False)
        assert list(index) == rows
        assert (index.feature_flags, index.chunk_min, index.chunk_avg, index.chunk_max) == (feature_flags, *params)
        assert index.size == (rows[-1].end if rows else 0)
        start = data.draw(st.integers(0, len(rows)))
        stop = data.draw(st.integers(0, len(rows) + 1))
        assert index.ids(start, stop) == [row.chunk_id for row in rows[start:stop]]
        assert list(index.rows(start, stop)) == rows[start:stop]
        if rows:
            offset = data.draw(st.integers(0, index.size - 1))
            assert index.find(offset) == bisect_right([row.end for row in rows], offset)
        else:
            with pytest.raises(IndexError):
                index.find(0)
        assert os.fstat(stored.fileno()).st_size == 104 + 40 * len(rows)


@given(st.dictionaries(some.file_names, st.integers(1, 1000), max_size=30), st.integers(0, 1 << 40))
def test_goodbye_tables_find_each_name(children: dict[bytes, int], entry_offset: int) -> None:
    names = sorted(children)
    offsets, end = [], entry_offset + 64
    for name in names:
        offsets.append(end)
        end += children[name]
    data = encode_goodbye(name_hashes(names), offsets, entry_offset, end)
    goodbye = Goodbye(data[16:], end)
    assert goodbye.entry_offset == entry_offset
    for name, offset in zip(names, offsets, strict=True):
        assert (offset, children[name]) in list(goodbye.find(name))
