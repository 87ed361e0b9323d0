"""Each golden file is described where it lies, and used by some test."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "vectors"


def test_each_golden_file_is_described_and_used() -> None:
    """Used means: named in a test, or in a golden list that is."""
    files = [path for path in VECTORS.rglob("*") if path.is_file() and path.name != "README.md"]
    sources = [path.read_text() for path in TESTS.rglob("*.py") if path != Path(__file__)]
    lists = [
        path.read_text() for path in files if path.suffix == ".json" and any(path.name in text for text in sources)
    ]
    for path in files:
        readme = path.parent / "README.md"
        assert readme.is_file(), f"{readme} is missing"
        assert f"`{path.name}`" in readme.read_text(), f"{path.name} is not in {readme}"
        names = (path.name, f'"{path.stem}"')
        assert any(name in text for text in [*sources, *lists] for name in names), f"No test names {path}"
    assert len(files) > 15
