"""casync_py from Python: make, inspect and extract.

Run it with a directory: python examples/library.py /usr/share/doc/bash
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from stat import S_ISREG

import casync_py
from casync_py import Monitor, Settings


def main(source: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        index_path = f"{scratch}/tree.caidx"
        settings = Settings(store=f"{scratch}/store.castr")

        # Make: chunks go into the store, the index names them. A Monitor counts what happens, and may be watched.
        monitor = Monitor(on_notice=print)
        made = casync_py.make(index_path, source, settings, monitor)
        print(f"{made.entries} entries, {made.size} bytes in {made.chunks_new + made.chunks_reused} chunks")
        print(f"digest of the archive: {made.digest}")

        # An index is a sequence of rows: where a chunk of the stream starts and ends, and its id.
        with casync_py.open_index(index_path) as index:
            sizes = [row.end - row.start for row in index]
            repeated = sum(count - 1 for count in Counter(row.chunk_id for row in index).values())
            print(f"{len(index)} rows of {index.digest.name}, largest {max(sizes)}, {repeated} repeated")

            # Its chunks come from stores, verified.
            with casync_py.open_stores(settings, index_path, index.digest, index.chunk_max) as store:
                first = store.get(index[0].chunk_id)
                print(f"first chunk begins with {bytes(first.plain()[:16]).hex()}")

        # The files in it, without extracting: names, metadata, content.
        largest = max(
            (entry for entry in casync_py.entries(index_path, settings=settings) if S_ISREG(entry.node.mode)),
            key=lambda entry: entry.node.size,
        )
        print(f"largest file: {largest.path.decode(errors='replace')}, {largest.node.size} bytes")

        # Extract, and compare with the source.
        casync_py.extract(index_path, f"{scratch}/out", settings=settings)
        copy = Path(scratch, "out", largest.path.decode("utf-8", "surrogateescape"))
        original = Path(source, largest.path.decode("utf-8", "surrogateescape"))
        print("extracted content is", "equal" if copy.read_bytes() == original.read_bytes() else "DIFFERENT")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
