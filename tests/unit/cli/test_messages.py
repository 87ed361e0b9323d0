"""What people and programs read: error lines, names that could steer a terminal, sizes, JSON, the progress line."""

from __future__ import annotations

import errno
import json
import os

import pytest

from casync_py.amounts import count_text, size_text
from casync_py.api import ExtractResult, MakeResult
from casync_py.cli.console import Console, printable
from casync_py.cli.errors import describe
from casync_py.cli.extract import summary as extract_summary
from casync_py.cli.make import summary as make_summary
from casync_py.cli.progress import progress, progress_line
from casync_py.cli.render import result_line, text_fields
from casync_py.errors import ChunkMissing, FormatError, UsageError
from casync_py.ids import ChunkId
from casync_py.monitor import Monitor


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UsageError("Nothing to do"), "Nothing to do"),
        (FormatError("Bad size", 16, "x.catar"), "x.catar: Bad size at offset 16"),
        (ChunkMissing(ChunkId(bytes(32)), "s.castr"), f"Chunk {'00' * 32} is missing from s.castr"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "x: No such file or directory"),
        (OSError(errno.EIO, "Input/output error", b"\xff"), "\udcff: Input/output error"),
        (OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"), "a -> b: Invalid cross-device link"),
        (OSError(errno.ENOENT, "No such file or directory", ""), "'': No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("odd"), "odd"),
        (OSError(errno.EBADF, "Bad file descriptor", 7), "Bad file descriptor"),
        (MemoryError(), "Out of memory; smaller values of --memory and --jobs need less"),
    ],
)
def test_errors_are_one_line(error: Exception, line: str) -> None:
    assert describe(error) == line


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError("too deep"), AssertionError()])
def test_the_unexpected_asks_for_a_report(error: Exception) -> None:
    assert type(error).__name__ in describe(error)
    assert "please report" in describe(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name", "plain name"),
        ("naïve \N{SNOWMAN}", "naïve \N{SNOWMAN}"),
        ("a\nb", "a\\012b"),
        ("\x1b[31mred", "\\033[31mred"),
        ("\x9b31m", "\\302\\23331m"),
        (os.fsdecode(b"\xff"), "\\377"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}", "\\342\\200\\256"),
        ("\ud800", "\\355\\240\\200"),
    ],
)
def test_names_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_levels_filter_messages(capsys: pytest.CaptureFixture[str]) -> None:
    for level, expected in (("2", ""), ("3", "E"), ("4", "E"), ("5", "EN"), ("info", "ENI"), ("nonsense", "ENI")):
        console = Console({"CASYNC_LOG_LEVEL": level})
        console.error("E")
        console.notice("N")
        console.info("I")
        lines = capsys.readouterr().err.replace("casync-py: ", "").split()
        assert "".join(lines) == expected


def test_progress_is_for_terminals_at_the_level_of_information() -> None:
    console = Console({"TERM": "xterm"})
    assert not console.shows_progress
    console.on_terminal = True
    assert console.shows_progress
    console.level = 5
    assert not console.shows_progress


def test_verbose_from_the_environment() -> None:
    assert [Console({"CASYNC_VERBOSE": word}).verbose for word in ("1", "yes", "0", "nonsense", "")] == [
        *(True, True, False, False, False)
    ]


def test_entries_are_named_as_casync_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console({})
    console.entry("Packed", b"")
    console.entry("Packed", b"a/b\n")
    assert capsys.readouterr().err == "Packed ./\nPacked a/b\\012\n"


def test_messages_do_not_tear_the_progress_line(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console({})
    console.draw("50%")
    console.info("Packed x")
    console.draw("51%")
    console.draw("")
    console.draw("")
    clear = "\r\x1b[K"
    assert capsys.readouterr().err == f"{clear}50%{clear}Packed x\n{clear}51%{clear}"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (323 << 20, "323 MiB"),
        ((1 << 30) - 1, "1,024 MiB"),
        (5 << 40, "5.0 TiB"),
        (1 << 70, "1,024 EiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_counts() -> None:
    assert [count_text(1, "chunk"), count_text(4999, "chunk"), count_text(1, "entry"), count_text(2, "entry")] == [
        *("1 chunk", "4,999 chunks", "1 entry", "2 entries")
    ]


def made(**changes: object) -> MakeResult:
    fields = {
        "kind": "archive-index",
        "output": "x.caidx",
        "store": "default.castr",
        "digest": "00",
        "size": 323 << 20,
        "entries": 24_846,
        "chunks_new": 12,
        "chunks_reused": 4987,
        "bytes_new": 800_000,
        "bytes_reused": 322 << 20,
        "bytes_stored": 300_000,
        "bytes_sent": 0,
        "notices": ("One",),
    }
    return MakeResult(**(fields | changes))  # type: ignore[arg-type]


def test_summaries() -> None:
    assert make_summary(made(), 0.61) == (
        "Packed 24,846 entries, 323 MiB: 4,999 chunks, 12 new (781 KiB, stored in 293 KiB), in 0.6 s"
    )
    assert make_summary(made(chunks_new=0, entries=0, chunks_reused=1), 2) == "Packed 323 MiB: 1 chunk, 0 new, in 2.0 s"
    assert make_summary(made(chunks_new=0, chunks_reused=0, entries=1), 2) == "Packed 1 entry, 323 MiB, in 2.0 s"
    assert make_summary(made(chunks_new=0, chunks_reused=0, entries=1, bytes_sent=5), 2).endswith(
        ", 5 B sent, in 2.0 s"
    )
    blob = ExtractResult("blob-index", "x", 10, 0, 1, 0, 0, ())
    assert extract_summary(blob, 0.1) == "Extracted 10 B, in 0.1 s"
    tree = ExtractResult("archive", "x", 10, 3, 0, 0, 2048, ())
    assert extract_summary(tree, 0.1) == "Extracted 3 entries, 10 B, 2.0 KiB received, in 0.1 s"


def test_results_as_json() -> None:
    line = result_line("make", made(output="d/\udcff.caidx", digest=None, store=None))
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    found = json.loads(line.decode())
    assert (found["version"], found["verb"], found["notices"]) == (1, "make", ["One"])
    assert (found["output"], found["output_bytes"]) == ("d/\ufffd.caidx", b"d/\xff.caidx".hex())
    assert not {"digest", "store"} & set(found)


@pytest.mark.parametrize("raw", [b"plain", "naïve".encode(), b"\xff\n\x00", b"\xed\xa0\x80", bytes(range(256))])
def test_no_name_is_lost_in_json(raw: bytes) -> None:
    found = json.loads(json.dumps(text_fields("path", raw)))
    assert bytes.fromhex(found["path_bytes"]) == raw if "path_bytes" in found else found["path"].encode() == raw


def test_progress_line() -> None:
    monitor = Monitor(stage="Packing", total=400 << 20, done=100 << 20, chunks_new=1, chunks_reused=1234)
    assert progress_line(monitor, 2.0, 100) == "Packing  25%  100 MiB  50.0 MiB/s  1 chunk new, 1,234 reused"
    tree = Monitor(stage="Extracting", done=2048, entries=2, path=b"usr/share/doc/\x1b[2J/copyright")
    assert progress_line(tree, 2.0, 100) == (
        "Extracting  2.0 KiB  1.0 KiB/s  2 entries  usr/share/doc/\\033[2J/copyright"
    )
    assert progress_line(tree, 2.0, 65) == "Extracting  2.0 KiB  1.0 KiB/s  2 entries  ...c/\\033[2J/copyright"
    for width in range(1, 120):
        assert len(progress_line(tree, 2.0, width)) <= width
    assert progress_line(Monitor(), 1.0, 80) == "Reading  0 B  0 B/s"
    far = Monitor(stage="Extracting", done=4096, chunks_new=2, chunks_reused=1, received=1024, sent=100)
    assert progress_line(far, 2.0, 100) == (
        "Extracting  4.0 KiB  2.0 KiB/s  2 chunks fetched, 1 reused  1.0 KiB received"
    )
    far.stage, far.sent = "Packing", 1025
    assert progress_line(far, 2.0, 100).endswith("2 chunks new, 1 reused  1.0 KiB sent")


def test_a_short_run_draws_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(Console({}), Monitor()):
        pass
    assert capsys.readouterr().err == ""
