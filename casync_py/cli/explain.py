"""What `--what=help`, `--with=help`, `--digest=help` and `--compression=help` print: casync's names, each explained."""

from __future__ import annotations

_KINDS = {
    "archive": "the tree in one file (.catar)",
    "archive-index": "index of a tree, content in a store (.caidx)",
    "blob": "the content of a file or device",
    "blob-index": "index of a file or device, content in a store (.caibx)",
    "directory": "a directory tree",
}
_FEATURES = {
    "16bit-uids": "numeric owners, 16 bits",
    "32bit-uids": "numeric owners, 32 bits",
    "user-names": "names of owners and groups",
    "sec-time": "times to 1 s",
    "usec-time": "times to 1 \N{MICRO SIGN}s",
    "nsec-time": "times to 1 ns",
    "2sec-time": "times to 2 s, as FAT",
    "read-only": "whether a file can be written",
    "permissions": "the 12 bits of chmod",
    "symlinks": "symbolic links",
    "device-nodes": "block and character devices",
    "fifos": "named pipes",
    "sockets": "sockets",
    "flag-hidden": "FAT: hidden",
    "flag-system": "FAT: system",
    "flag-archive": "FAT: archive",
    "flag-append": "chattr a: append only",
    "flag-noatime": "chattr A: no access times",
    "flag-compr": "chattr c: compressed",
    "flag-nocow": "chattr C: no copy on write",
    "flag-nodump": "chattr d: no dump",
    "flag-dirsync": "chattr D: synchronous directory",
    "flag-immutable": "chattr i: immutable",
    "flag-sync": "chattr S: synchronous",
    "flag-nocomp": "chattr m: never compressed",
    "flag-projinherit": "chattr P: inherits the project id",
    "subvolume": "btrfs subvolumes",
    "subvolume-ro": "btrfs read-only subvolumes",
    "xattrs": "extended attributes",
    "acl": "access control lists",
    "selinux": "SELinux labels",
    "fcaps": "file capabilities",
    "quota-projid": "project ids of ext4 and XFS",
}
_SETS = {
    "best": "everything, in its most accurate form",
    "unix": "16bit-uids permissions sec-time symlinks device-nodes fifos sockets",
    "fat": "2sec-time read-only fat-attrs",
    "chattr": "the flags of chattr",
    "fat-attrs": "flag-hidden flag-system flag-archive",
    "privileged": "what only root can restore",
    "fuse": "what a FUSE mount can show",
    "all": "everything",
}
_DIGESTS = {
    "sha512-256": "SHA-512/256, the default",
    "sha256": "SHA-256, faster where the processor has instructions for it",
    "blake3": "BLAKE3, fastest; casync cannot read it",
}
_COMPRESSIONS = {
    "zstd": "the default, level 3; zstd:-7 to zstd:22",
    "xz": "smallest and slowest; xz:0 to xz:9",
    "gzip": "gzip:1 to gzip:9",
    "none": "chunks stored as they are",
}


_TABLES = {"what": _KINDS, "with": _FEATURES, "without": _FEATURES, "digest": _DIGESTS, "compression": _COMPRESSIONS}
_TITLES = {
    "what": "Allowed --what= selectors:",
    "with": "Supported --with= and --without= flags:",
    "without": "Supported --with= and --without= flags:",
    "digest": "Allowed --digest= algorithms:",
    "compression": "Allowed --compression= algorithms:",
}


def explanation(option: str) -> str | None:
    """The values that an option of this name can have, as text; None where it has no such help."""
    rows = _TABLES.get(option)
    if rows is None:
        return None
    text = _table(_TITLES[option], rows)
    return text + "\n\n" + _table("Sets of them:", _SETS) if rows is _FEATURES else text


def value_names(option: str) -> list[tuple[str, str]]:
    """Values that an option can have, each with a word about it, for shell completion."""
    rows = _TABLES.get(option, {})
    return [*(_SETS if rows is _FEATURES else {}).items(), *rows.items()]


def _table(title: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join([title, *(f"{name:{width}}  {text}" for name, text in rows.items())])
