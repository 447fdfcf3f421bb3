"""`benchmarks/scan.py`: what was measured, in Markdown."""

import pytest
from benchmarks import scan

from bimba.cli.bench import compress_run, limits
from bimba.cli.bench.peak import Once


def rows_of(section: str) -> list[list[str]]:
    """Cells of all tables' lines."""
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]


def test_a_section_about_the_scan_has_tables_reasons_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_COPIED_BYTES", {"cpu": 2**20})
    section = scan.scan_section("150x6x3", rounds=1, only=("cpu", "torch loop", "mamba_ssm"))
    assert section.startswith("## Selective scan, 150x6x3: L 150, E 6, N 3, float32, cpu\n")
    rows = rows_of(section)
    assert [row[0] for row in rows] == ["median", "---", "cpu", "torch loop"] * 2
    assert {len(row) for row in rows if row[0] != "median"} == {8}
    for words in ("### Forward\n", "### Forward + backward\n", "* mamba_ssm left out: needs", "torch 2.", "GB/s"):
        assert words in section


def test_a_section_about_the_compressor_has_a_row_for_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress_run, "measure_once", lambda *_, **__: Once(2_000_000, 0.1))
    section = scan.compress_section("2x4x4x16", rounds=1)
    rows = rows_of(section)
    assert [row[0] for row in rows[2:]] == ["plain", "one pass"]
    assert rows[2][4] == "2.0 MB"
    assert rows[2][5] == rows[2][6]
    assert "times less arithmetic" in section
