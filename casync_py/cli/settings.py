"""From the words of a command line and the environment to the frozen `Settings` of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casync_py.cli.values import (
    parse_boolean,
    parse_chunk_size,
    parse_feature,
    parse_header,
    parse_jobs,
    parse_nonzero_size,
    parse_place,
    parse_retries,
    parse_timeout,
)
from casync_py.compression import parse_compression
from casync_py.digest import digest_by_name
from casync_py.errors import UsageError
from casync_py.options import Access, Resources, Settings, StoreOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BOOLEAN_FIELDS = (
    "exclude_nodump",
    "exclude_submounts",
    "exclude_file",
    "delete",
    "punch_holes",
    "undo_immutable",
    "recursive",
    "sync",
    "archive_digest",
)
_HEADER_VARIABLE = "CASYNC_PY_HTTP_HEADER"
_SUFFIX_VARIABLE = "CASYNC_COMPRESSED_CHUNK_SUFFIX"


def settings_of(values: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """The settings that options stand for; what was not given keeps its default.

    Args:
        values: by the option's `key`: text, or a list of texts for repeatable options; None or absent: not given.
        environ: the environment, for $CASYNC_COMPRESSED_CHUNK_SUFFIX and $CASYNC_PY_HTTP_HEADER.

    Raises:
        UsageError: a value that cannot be.
    """
    fields: dict[str, Any] = {
        "store_options": StoreOptions(**_store_fields(values, environ)),
        "resources": Resources(**_given(values, {"jobs": parse_jobs, "memory": parse_nonzero_size})),
        "access": _access(values, environ),
    }
    fields |= _given(
        values,
        {
            "what": str,
            "store": parse_place,
            "cache_store": parse_place,
            "cache_size": parse_nonzero_size,
            "digest": digest_by_name,
            "chunk_size": parse_chunk_size,
            "timeout": parse_timeout,
            "retries": parse_retries,
        },
    )
    fields |= _given(values, dict.fromkeys(_BOOLEAN_FIELDS, parse_boolean))
    for key, field, parse in (
        ("extra_store", "extra_stores", parse_place),
        ("mirror", "mirrors", parse_place),
        ("with_", "with_", parse_feature),
        ("without", "without", parse_feature),
    ):
        fields[field] = tuple(map(parse, values.get(key) or ()))
    return Settings(**fields)


def _given(values: Mapping[str, Any], parsers: Mapping[str, Callable[[str], object]]) -> dict[str, Any]:
    return {key: parse(values[key]) for key, parse in parsers.items() if values.get(key) is not None}


def _store_fields(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    fields = _given(values, {"compression": parse_compression})
    suffix = environ.get(_SUFFIX_VARIABLE)
    if suffix:
        if "/" in suffix:
            raise UsageError(f"${_SUFFIX_VARIABLE} cannot contain a slash: {suffix!r}")
        fields["compressed_suffix"] = suffix
    return fields


def _access(values: Mapping[str, Any], environ: Mapping[str, str]) -> Access:
    headers = [line for line in environ.get(_HEADER_VARIABLE, "").splitlines() if line.strip()]
    headers += values.get("http_header") or ()
    return Access(
        headers=tuple(map(parse_header, headers)),
        **_given(values, dict.fromkeys(("tls_cert", "tls_key", "tls_ca"), parse_place)),
    )
