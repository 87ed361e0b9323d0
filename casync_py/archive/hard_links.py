"""Count names that an archive turns into copies of their own, because its format has no hard links."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from casync_py.archive.payload import Status

_REMEMBERED = 1 << 16  # inodes of which further names are expected, about 10 MiB


class LinkCounter:
    """Names beyond the first of each inode; `at_least` where more inodes were open at a time than are remembered.

    An inode is forgotten with the last of its names, so a tree costs memory only for links that are far apart.
    """

    def __init__(self) -> None:
        self.copies = 0
        self.at_least = False
        self._expected: dict[tuple[int, int], int] = {}

    def see(self, st: os.stat_result | Status) -> None:
        """Take note of one name of an inode that has several."""
        key = st.st_dev, st.st_ino
        left = self._expected.get(key)
        if left is None:
            if len(self._expected) < _REMEMBERED:
                self._expected[key] = st.st_nlink - 1
            else:
                self.at_least = True
            return
        self.copies += 1
        if left > 1:
            self._expected[key] = left - 1
        else:
            del self._expected[key]

    def __str__(self) -> str:
        number = f"{'At least ' if self.at_least else ''}{self.copies}"
        return f"{number} hard link{' is' if self.copies == 1 else 's are'} stored as independent copies"
