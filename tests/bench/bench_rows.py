"""What is measured on this machine and over SSH: groups of commands that do the same work."""

from __future__ import annotations

from bench_group import (
    BLAKE3,
    BLAKE3_NO_DIGEST,
    DELAY_MS,
    INTERPRETER,
    NO_DIGEST,
    PLAIN,
    Group,
    anything,
    pushed,
    same_blob,
    same_index,
    same_output,
    same_tree,
)
from bench_http import HTTP_GROUPS


def _make(index: str, source: str) -> tuple[str, ...]:
    store = f"--store={{folder}}/{source}.castr"
    return ("make", store, f"{{folder}}/{index}", f"{{inputs}}/{source}")


_BLOB_STORE = "--store={folder}/blob.castr"
_TREE_STORE = "--store={folder}/tree.castr"
_BLOB_MADE = ("blob-make-empty", "blob.caibx")
_FAR_STORE = "--store=far:{folder}/blob.castr"
_PULL = ("extract", _FAR_STORE, "far:{folder}/blob.caibx", "{folder}/blob.out")
_PUSH = ("make", _FAR_STORE, "far:{folder}/blob.caibx", "{inputs}/blob")
_PUSHED = ("remote-push", "blob.caibx")
_TREE_MADE = ("tree-make-empty", "tree.caidx")

GROUPS: list[Group] = [
    Group(
        "blob-make-empty",
        "Blob, make, empty store",
        _make("blob.caibx", "blob"),
        same_index("blob.caibx"),
        {PLAIN: 2.0, BLAKE3: None},
        reset=("blob.castr", "blob.caibx"),
    ),
    Group(
        "blob-make-known",
        "Blob, make, all chunks known",
        _make("blob.caibx", "blob"),
        same_index("blob.caibx"),
        {PLAIN: 2.0, NO_DIGEST: 3.0, BLAKE3: 4.0, BLAKE3_NO_DIGEST: None},
        needs=_BLOB_MADE,
    ),
    Group(
        "blob-extract",
        "Blob, extract",
        ("extract", _BLOB_STORE, "{folder}/blob.caibx", "{folder}/blob.out"),
        same_blob,
        {PLAIN: 1.3, BLAKE3: 1.8},
        reset=("blob.out",),
        needs=_BLOB_MADE,
    ),
    Group(
        "tree-make-empty",
        "Tree, make, empty store",
        _make("tree.caidx", "tree"),
        same_index("tree.caidx"),
        {PLAIN: 1.5, BLAKE3: None},
        reset=("tree.castr", "tree.caidx"),
    ),
    Group(
        "tree-make-known",
        "Tree, make, all chunks known",
        _make("tree.caidx", "tree"),
        same_index("tree.caidx"),
        {PLAIN: 1.7, NO_DIGEST: None, BLAKE3: None},
        needs=_TREE_MADE,
    ),
    Group(
        "tree-extract",
        "Tree, extract",
        ("extract", _TREE_STORE, "{folder}/tree.caidx", "{folder}/tree.out"),
        same_tree,
        {PLAIN: 1.3, BLAKE3: None},
        reset=("tree.out",),
        needs=_TREE_MADE,
    ),
    Group(
        "tree-make-archive",
        "Tree, make .catar",
        ("make", "{folder}/tree.catar", "{inputs}/tree"),
        same_index("tree.catar"),
        {PLAIN: None},
        reset=("tree.catar",),
    ),
    Group(
        "tree-list-archive",
        "Tree, list .catar",
        ("list", "{folder}/tree.catar"),
        same_output,
        {PLAIN: None},
        needs=("tree-make-archive", "tree.catar"),
    ),
    Group(
        "tree-list-index",
        "Tree, list .caidx",
        ("list", _TREE_STORE, "{folder}/tree.caidx"),
        same_output,
        {PLAIN: None},
        needs=_TREE_MADE,
    ),
    Group(
        "remote-push",
        "Blob, push into an empty store",
        _PUSH,
        pushed,
        {PLAIN: 1.5},
        reset=("blob.castr", "blob.caibx"),
        delay_ms=0,
    ),
    Group("remote-push-known", "Blob, push, all chunks known", _PUSH, pushed, {PLAIN: None}, needs=_PUSHED, delay_ms=0),
    Group("remote-pull", "Blob, pull", _PULL, same_blob, {PLAIN: 1.2}, reset=("blob.out",), needs=_PUSHED, delay_ms=0),
    Group(
        "remote-pull-delay",
        f"Blob, pull, {DELAY_MS} ms each way",
        _PULL,
        same_blob,
        {PLAIN: None},
        reset=("blob.out",),
        needs=_PUSHED,
        delay_ms=DELAY_MS,
    ),
    *HTTP_GROUPS,
    Group("start-up", "Start-up, `--version`", ("--version",), anything, {PLAIN: None, INTERPRETER: None}, made_of=""),
]
