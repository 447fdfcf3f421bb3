"""Tables of made-up runs, the report and the pictures of them."""

from pathlib import Path

import pytest
from ablation_runs import SHARED, estimate, result
from PIL import Image

from bimba.ablation.contents import contents_of
from bimba.ablation.drawn import COMPRESSION_PICTURES, CURVES_NAME, MEASURE_PICTURES, draw_tables
from bimba.ablation.report import write_report
from bimba.ablation.tables import tables

RUNS = [
    *(result("selective_scan", seed, within) for seed, within in enumerate((0.8, 0.82, 0.81))),
    *(result("pooling", seed, within, others=0.6) for seed, within in enumerate((0.5, 0.52, 0.49))),
    *(result("none", seed, 0.9) for seed in range(3)),
    *(result("selective_scan", seed, 0.7 + 0.01 * seed, compression=64) for seed in range(3)),
    *(result("pooling", seed, 0.5 + 0.01 * seed, compression=64) for seed in range(3)),
]


def test_a_row_holds_means_over_its_seeds_and_differences_to_the_scan() -> None:
    found = tables(RUNS)["contenders"]
    assert list(found) == ["selective_scan", "pooling", "none"]
    assert found["pooling"]["within_window"] == estimate(0.5, 0.52, 0.49)
    assert found["pooling"]["seeds"] == [0, 1, 2]
    assert found["pooling"]["by_kind"]["colour"]["mean"] == 0.6
    assert found["pooling"]["differences"]["within_window"]["values"] == pytest.approx((-0.3, -0.3, -0.32))
    assert found["selective_scan"]["differences"] is None
    assert (found["pooling"]["tokens"], found["none"]["tokens"]) == (32, 512)


def test_compressions_are_those_of_scan_and_pooling() -> None:
    found = tables(RUNS)["compressions"]
    assert {name: list(rows) for name, rows in found.items()} == {
        "selective_scan": ["16", "64"],
        "pooling": ["16", "64"],
    }
    assert found["selective_scan"]["64"]["tokens"] == 8


def test_curves_are_means_over_seeds() -> None:
    assert tables(RUNS)["curves"]["pooling"] == [(10, 4.0), (20, 2.0)]


def test_every_picture_is_drawn_and_shown_in_the_report(tmp_path: Path) -> None:
    content = contents_of(RUNS, SHARED)
    names = draw_tables(content, tmp_path)
    assert names == [*MEASURE_PICTURES.values(), *COMPRESSION_PICTURES.values(), CURVES_NAME]
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert picture.width == 1100
    report = write_report(content, names)
    assert all(f"({name})" in report for name in names)
    assert "| pooling | 32 | 10 | 3 | 0.503 (0.465 to 0.541) |" in report
    assert "beyond the intervals" in report
    assert "512 tokens on, 16 times as many" in report
    assert "it does not cover the choice of questions" in report
    few = "Where a number has no interval, there are fewer than 3 seeds"
    assert few not in report
    assert few in write_report(contents_of(RUNS[:-1], SHARED), names)
    equal = [result("pooling", seed, 0.5, compression=64) for seed in range(3)]
    assert few in write_report(contents_of([*RUNS[:-3], *equal], SHARED), names)


def test_seeds_of_compressions_are_listed_where_they_differ() -> None:
    more = [*RUNS, *(result("selective_scan", seed, 0.8) for seed in (3, 4)), result("pooling", 0, 0.5, compression=4)]
    told = "Seeds, in the order of the columns: "
    assert told not in write_report(contents_of(RUNS, SHARED), [])
    report = write_report(contents_of(more, SHARED), [])
    assert told + "selective scan 0, 5, 3; pooling 1, 3, 3." in report


def test_one_run_has_a_report_without_intervals(tmp_path: Path) -> None:
    content = contents_of(RUNS[:1], SHARED)
    names = draw_tables(content, tmp_path)
    assert not set(COMPRESSION_PICTURES.values()) & set(names)
    report = write_report(content, names)
    assert "| selective scan | 32 | 10 | 1 | 0.800 |" in report
    assert "nothing to compare yet" in report


def test_a_change_of_code_between_runs_is_told() -> None:
    other = result("pooling", 0, 0.5)
    other["provenance"]["code"] = None
    assert "several states of the code" in write_report(contents_of([RUNS[0], other], SHARED), [])


def test_every_version_is_told() -> None:
    other = result("pooling", 0, 0.5)
    other["provenance"]["versions"] = {"torch": "3", "transformers": "5"}
    assert "torch 2 and 3, transformers 5" in write_report(contents_of([RUNS[0], other], SHARED), [])
