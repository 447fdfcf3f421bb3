"""`bimba bench`: what `--size` and `--pool` may say."""

import pytest

from bimba.cli.bench.block import counts_of
from bimba.cli.bench.sizes import SCAN_SIZES, CompressSize, ScanSize, compress_size, scan_size
from bimba.errors import InputError


def test_named_sizes_are_those_of_the_released_model_and_the_paper() -> None:
    assert counts_of(compress_size("released", None)) == (46_656, 12_544)
    assert counts_of(compress_size("paper", None)) == (102_400, 6_400)
    for name in ("released", "paper"):
        assert sum(counts_of(compress_size(name, None))) == SCAN_SIZES[name].length


def test_sizes_may_be_numbers() -> None:
    assert scan_size("256x64x16") == ScanSize("256x64x16", 256, 64, 16)
    assert scan_size("59_200X8x2").length == 59_200
    assert compress_size("4x8x9x32", None) == CompressSize("4x8x9x32", (4, 8, 9), 32, (1, 2, 2))
    assert compress_size("small", "2x3x3").pool == (2, 3, 3)


@pytest.mark.parametrize(
    "text", ["", "4096", "4096x512", "1x2x3x4", "ax4x4", "-1x2x3", "1.5x2x3", "1x2x", "\N{FULLWIDTH DIGIT ONE}x2x3"]
)
def test_what_is_no_size_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(InputError, match=r"--size .* is no size\.") as refused:
        scan_size(text)
    assert refused.value.fix == "take small, released, paper or LxExN (e.g. 4096x512x16)."


def test_a_name_with_a_slip_finds_its_neighbour() -> None:
    with pytest.raises(InputError) as refused:
        scan_size("smal")
    assert refused.value.fix == "did you mean small?"


@pytest.mark.parametrize("text", ["0x4x4", "4x0x4", "99999999999x1x1"])
def test_numbers_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"has a number that is 0 or above 2,147,483,647"):
        scan_size(text)


def test_pooling_must_fit_the_frames() -> None:
    with pytest.raises(InputError, match="makes one of 8 frames, and --size tiny has 4") as refused:
        compress_size("tiny", "8x2x2")
    assert refused.value.fix == "take --pool 4x2x2, or more frames."
    with pytest.raises(InputError, match="--pool '2x2' is no size") as refused:
        compress_size("tiny", "2x2")
    assert refused.value.fix == "take TxHxW (e.g. 1x2x2)."
