"""Values of options to `Settings`: defaults are casync's, and every option arrives at its field."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from casync_py.cli.casync_argv import Given
from casync_py.cli.option_table import OPTIONS
from casync_py.cli.settings import settings_of
from casync_py.cli.values import check, is_off, parse_boolean, parse_jobs, parse_log_level, parse_owner_number
from casync_py.compression import NO_COMPRESSION, parse_compression
from casync_py.digest import BLAKE3
from casync_py.errors import UsageError
from casync_py.format.flags import parse_feature
from casync_py.options import Access, Resources, Settings, StoreOptions

DEFAULT = Settings()


def test_nothing_given_is_the_default() -> None:
    assert settings_of({}, {}) == DEFAULT


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"what": "blob-index"}, replace(DEFAULT, what="blob-index")),
        ({"store": "s"}, replace(DEFAULT, store="s")),
        ({"extra_store": ["a", "b"]}, replace(DEFAULT, extra_stores=("a", "b"))),
        ({"chunk_size": "1K:2K:3K"}, replace(DEFAULT, chunk_size=(1024, 2048, 3072))),
        ({"chunk_size": "4K"}, replace(DEFAULT, chunk_size=(0, 4096, 0))),
        ({"chunk_size": "auto"}, DEFAULT),
        ({"digest": "blake3"}, replace(DEFAULT, digest=BLAKE3)),
        ({"digest": "default"}, DEFAULT),
        ({"compression": "none"}, replace(DEFAULT, store_options=StoreOptions(NO_COMPRESSION))),
        ({"compression": "zstd:9"}, replace(DEFAULT, store_options=StoreOptions(parse_compression("zstd:9")))),
        ({"with_": ["unix", "xattrs"]}, replace(DEFAULT, with_=(parse_feature("unix"), parse_feature("xattrs")))),
        ({"without": ["acl"]}, replace(DEFAULT, without=(parse_feature("acl"),))),
        ({"jobs": "3"}, replace(DEFAULT, resources=Resources(jobs=3))),
        ({"mirror": ["http://a/s", "b"]}, replace(DEFAULT, mirrors=("http://a/s", "b"))),
        ({"cache_size": "20G"}, replace(DEFAULT, cache_size=20 << 30)),
        ({"retries": "0"}, replace(DEFAULT, retries=0)),
        ({"http_header": ["A: b ", "C:d"]}, replace(DEFAULT, access=Access(headers=(("A", "b"), ("C", "d"))))),
        ({"tls_cert": "c", "tls_key": "k", "tls_ca": "a"}, replace(DEFAULT, access=Access((), "c", "k", "a"))),
        ({"timeout": "2.5"}, replace(DEFAULT, timeout=2.5)),
        ({"timeout": "0"}, replace(DEFAULT, timeout=math.inf)),
        ({"memory": "1M"}, replace(DEFAULT, resources=Resources(memory=1 << 20))),
        ({"exclude_nodump": "no"}, replace(DEFAULT, exclude_nodump=False)),
        ({"exclude_submounts": "yes"}, replace(DEFAULT, exclude_submounts=True)),
        ({"exclude_file": "0"}, replace(DEFAULT, exclude_file=False)),
        ({"delete": "No"}, replace(DEFAULT, delete=False)),
        ({"punch_holes": "off"}, replace(DEFAULT, punch_holes=False)),
        ({"undo_immutable": "1"}, replace(DEFAULT, undo_immutable=True)),
        ({"recursive": "f"}, replace(DEFAULT, recursive=False)),
        ({"sync": "on"}, replace(DEFAULT, sync=True)),
        ({"archive_digest": "no"}, replace(DEFAULT, archive_digest=False)),
        ({"verbose": True, "json": True, "log_level": "err"}, DEFAULT),
    ],
)
def test_each_option(values: dict[str, object], expected: Settings) -> None:
    assert settings_of(values, {}) == expected


def test_suffix_from_the_environment() -> None:
    found = settings_of({"compression": "xz"}, {"CASYNC_COMPRESSED_CHUNK_SUFFIX": ".xz"})
    assert found.store_options == StoreOptions(parse_compression("xz"), ".xz")
    assert settings_of({}, {"CASYNC_COMPRESSED_CHUNK_SUFFIX": ""}) == DEFAULT
    with pytest.raises(UsageError, match="slash"):
        settings_of({}, {"CASYNC_COMPRESSED_CHUNK_SUFFIX": "/../x"})


def test_headers_from_the_environment() -> None:
    found = settings_of({"http_header": ["B: 2"]}, {"CASYNC_PY_HTTP_HEADER": "A: 1\n\nAuthorization: Bearer x\n"})
    assert found.access.headers == (("A", "1"), ("Authorization", "Bearer x"), ("B", "2"))
    with pytest.raises(UsageError) as caught:
        settings_of({}, {"CASYNC_PY_HTTP_HEADER": "secret without a colon"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("values", [{"store": ""}, {"extra_store": ["a", ""]}])
def test_a_store_has_a_name(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="empty"):
        settings_of(values, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delete", "perhaps"),
        ("what", "dir"),
        ("with", "everything"),
        ("without", ""),
        ("digest", "md5"),
        ("compression", "zstd:99"),
        ("chunk-size", "1:2"),
        ("jobs", "0"),
        ("jobs", "1025"),
        ("jobs", "\N{SUPERSCRIPT TWO}"),
        ("memory", "0"),
        ("memory", "lots"),
        ("rate-limit-bps", "0"),
        ("log-level", "loud"),
        ("cache-size", "0"),
        ("http-header", "no colon"),
        ("http-header", "Name: two\nlines"),
        ("http-header", "Two words: x"),
        ("retries", "-1"),
        ("retries", "1001"),
        ("listen", "host:port"),
        ("listen", "http://host"),
        ("max-upload", "0"),
        ("uid-shift", ""),
        ("uid-range", "0x"),
        ("uid-range", "08"),
    ],
)
def test_a_wrong_value_is_refused_with_the_options_name(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"^--{name}: "):
        check(Given(OPTIONS[name], value))


def test_every_option_with_a_value_is_checked_or_takes_any_text() -> None:
    places = {"store", "extra-store", "mirror", "seed", "cache", "root", "cache-store", "upstream"}
    files = {"tls-cert", "tls-key", "tls-ca", "client-ca", "token-file", "access-log", "socket"}
    for name, option in OPTIONS.items():
        if option.metavar and name not in places | files:
            with pytest.raises(UsageError):
                check(Given(option, "\0no such value"))


def test_booleans() -> None:
    assert [parse_boolean(word) for word in ("1", "YES", "y", "True", "t", "on")] == [True] * 6
    assert [parse_boolean(word) for word in ("0", "no", "N", "false", "F", "oFF")] == [False] * 6


def test_levels() -> None:
    assert [parse_log_level(name) for name in ("emerg", "err", "error", "warn", "warning", "debug", "7")] == [
        *(0, 3, 3, 4, 4, 7, 7)
    ]


def test_numbers_of_owners_win_over_booleans() -> None:
    assert parse_owner_number("1") == 1
    assert parse_owner_number("1") is not True
    assert parse_owner_number("yes") is True
    assert [parse_owner_number(text) for text in ("0x10", "010", " +5", "0")] == [16, 8, 5, 0]


def test_jobs() -> None:
    assert [parse_jobs("1"), parse_jobs("1024")] == [1, 1024]


@pytest.mark.parametrize(
    ("name", "value", "off"),
    [
        ("reflink", "no", True),
        ("reflink", "OFF", True),
        ("reflink", "0", True),
        ("reflink", "yes", False),
        ("uid-shift", "no", True),
        ("uid-shift", "0", False),
        ("seed", "no", False),
        ("cache-auto", "", False),
    ],
)
def test_what_switches_an_option_off(name: str, value: str, off: bool) -> None:
    assert is_off(OPTIONS[name], value) is off
