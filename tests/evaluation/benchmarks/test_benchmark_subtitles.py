"""Files of subtitles in, what is told of them out."""

import json
from pathlib import Path

import pytest

from bimba.errors import InputError
from bimba.evaluation.benchmarks.subtitles import Subtitle, at_frames, read_subtitles

SRT = """1
00:00:01,000 --> 00:00:03,500
<font color="white" size=".72c">Hello
there.</font>

2
00:01:00,250 --> 00:01:02,000
{\\an8}Bye.
"""


def test_srt_is_read_without_its_tags(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    file.write_bytes(("\ufeff" + SRT).replace("\n", "\r\n").encode())
    assert read_subtitles(file) == [Subtitle(1.0, 3.5, "Hello there."), Subtitle(60.25, 62.0, "Bye.")]


def test_both_json_forms_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    records = [
        {"start": "00:00:01.000", "end": "01:00:02.500", "line": "one"},
        {"timestamp": [4.5, None], "text": "two"},
    ]
    file.write_text(json.dumps(records))
    assert read_subtitles(file) == [Subtitle(1.0, 3602.5, "one"), Subtitle(4.5, float("inf"), "two")]


def test_only_what_a_frame_shows_is_told_once() -> None:
    said = [Subtitle(0, 2, "a"), Subtitle(2, 4, "a"), Subtitle(5, 6, "b"), Subtitle(9.9, 10, "c"), Subtitle(11, 12, "")]
    assert at_frames(said, [1.0, 3.0, 10.3, 11.5]) == "a\nc"
    assert at_frames(said, [1.0, 5.5]) == "a\nb"
    assert at_frames(said, [0.5], start_seconds=5.0) == "b"
    assert at_frames([], [1.0]) == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.srt", "no times"), ("a.json", "{"), ("a.json", '[{"line": "x"}]'), ("a.json", "[3]"),
     ("a.json", '[{"start": "1", "end": "2", "line": "x"}]')],
)  # fmt: skip
def test_what_holds_no_subtitles_is_refused(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="holds no subtitles"):
        read_subtitles(tmp_path / name)
