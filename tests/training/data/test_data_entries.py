"""Files of entries: JSON lists, JSON lines, and what is wrong with them."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_files import entry, turns, write

from bimba.errors import InputError
from bimba.training.data.entries import _scanned, read_entries
from bimba.training.data.sample import Sample, entry_id, make_sample, parse_entry

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True)
@given(st.lists(JSON, max_size=5), st.sampled_from([None, 0, 2]), st.booleans())
def test_a_list_is_cut_into_its_elements(values: list[object], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    assert [json.loads(piece) for piece in _scanned(f" \n{text}\t\n")] == values


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet='[]{},":1a \\n', max_size=12))
def test_a_list_is_refused_where_json_is(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    try:
        found = [json.loads(piece) for piece in _scanned(text)]
    except ValueError:
        assert not isinstance(expected, list)
    else:
        assert found == expected


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_entries_come_in_order(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"train{suffix}", [{"id": number} for number in range(5)])
    assert [json.loads(text)["id"] for text in read_entries(path)] == [0, 1, 2, 3, 4]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_bytes(b'\xef\xbb\xbf[{"id": "\xc3\xa4"}]')
    assert read_entries(tmp_path / "train.json") == ['{"id": "ä"}']


def test_a_damaged_line_is_kept_for_later(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"id": 1}\n\n{"id": \n{"id": 3}')
    assert read_entries(tmp_path / "train.jsonl") == ['{"id": 1}', '{"id":', '{"id": 3}']


def test_a_line_may_hold_separators_of_unicode(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"id": "a\u2028b\x85c"}\n', encoding="utf-8")
    assert len(read_entries(tmp_path / "train.jsonl")) == 1


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("train.json", b"hello", "a list was expected: line 1 column 1"),
        ("train.json", b'{"id": 1}', "a list was expected"),
        ("train.json", b'[{"id": 1}, {"id"', "is not JSON as expected"),
        ("train.json", b'[{"id": 1} {"id": 2}]', "a comma or the list's end was expected"),
        ("train.json", b'[{"id": 1}', "a comma or the list's end was expected"),
        ("train.json", b'[{"id": 1}] [', "more follows after the list"),
        ("train.json", b'[{"id": 1},]', "is not JSON as expected"),
        ("train.json", b"[" * 100_000, "nested too deep"),
        ("train.json", b"[]", "holds no samples"),
        ("train.json", b"", "a list was expected"),
        ("train.json", b"\xff\xfe", "cannot be read"),
        ("train.jsonl", b"", "holds no samples"),
        ("train.jsonl", b"one\ntwo", "none of its 2 lines is"),
        ("train.csv", b"a,b", "neither .json nor .jsonl"),
    ],
)
def test_a_file_that_is_no_list_of_entries_is_refused(name: str, content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_entries(tmp_path / name)
    assert problem in raised.value.problem
    assert str(tmp_path / name) in raised.value.problem
    assert raised.value.fix


@pytest.mark.parametrize("name", ["absent.json", "a\0b.json"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_entries(tmp_path / name)


# Entries ----------------------------------------------------------------------------------------------------------


def made(**fields: object) -> Sample:
    return make_sample(parse_entry(json.dumps(fields)), "train.json[0]", Path("videos"))


def test_a_video_sample_knows_its_file_and_turns() -> None:
    sample = made(video="a/b.mp4", **{key: value for key, value in entry().items() if key != "video"})
    assert (sample.kind, sample.media) == ("video", (Path("videos/a/b.mp4"),))
    assert [(turn.role, turn.content) for turn in sample.turns] == [("user", "<image>\nWhat?"), ("assistant", "That.")]


def test_images_may_be_one_or_several() -> None:
    conversations = turns("Which?", "Both.")
    assert made(image="a.png", conversations=conversations).media == (Path("videos/a.png"),)
    several = made(image=["a.png", "/b.png"], video=None, conversations=conversations)
    assert (several.kind, several.media) == ("image", (Path("videos/a.png"), Path("/b.png")))


def test_without_video_and_image_a_sample_is_text() -> None:
    sample = made(conversations=[{"from": "system", "value": "Be brief."}, *turns("Why?", "So.", "And?", "Yes.")])
    assert (sample.kind, sample.media) == ("text", ())
    assert [turn.role for turn in sample.turns] == ["system", "user", "assistant", "user", "assistant"]


GOOD = turns("Why?", "So.")
SYSTEM = {"from": "system", "value": "Be brief."}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "the entry has no conversations"),
        ({"conversations": []}, "the entry has conversations = []"),
        ({"conversations": "Why?"}, "the entry has conversations = 'Why?'"),
        ({"conversations": ["Why?"]}, "turn 0 is 'Why?', not an object"),
        ({"conversations": [{"value": "Why?"}]}, "turn 0 is from None, not from system, human, gpt"),
        ({"conversations": [{"from": "robot", "value": "Why?"}]}, "turn 0 is from 'robot'"),
        ({"conversations": [{"from": ["human"], "value": "Why?"}]}, "turn 0 is from ['human']"),
        ({"conversations": [{"from": "human"}]}, "the value of turn 0 is None, not a text"),
        ({"conversations": turns("Why?", " \n")}, "the value of turn 1 (from gpt) is empty"),
        ({"conversations": turns("Why?", "\ud83d")}, "turn 1 holds '\\ud83d', which is no letter"),
        ({"conversations": GOOD[::-1]}, "turn 0 is the assistant's and the first"),
        ({"conversations": [*GOOD, GOOD[1]]}, "turn 2 is the assistant's and after the assistant's"),
        ({"conversations": [GOOD[0], *GOOD]}, "turn 1 is the user's and after the user's"),
        ({"conversations": [*GOOD, SYSTEM]}, "turn 2 is the system's and after the assistant's"),
        ({"conversations": [SYSTEM, GOOD[1]]}, "turn 1 is the assistant's and after the system's"),
        ({"conversations": turns("Why?")}, "no turn is from gpt"),
        ({"conversations": GOOD, "video": "a.mp4", "image": "a.png"}, "has a video ('a.mp4') and an image ('a.png')"),
        ({"conversations": GOOD, "video": ["a.mp4"]}, "video is ['a.mp4'], not a path"),
        ({"conversations": GOOD, "video": ""}, "video is '', not a path"),
        ({"conversations": GOOD, "image": []}, "image is an empty list"),
        ({"conversations": GOOD, "image": ["a.png", 3]}, "image is 3, not a path"),
    ],
)
def test_a_malformed_entry_says_what_is_wrong(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError) as raised:
        made(**fields)
    assert problem in raised.value.problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"id":', "the entry is not JSON"),
        ("[" * 100_000, "the entry is not JSON"),
        ("1" * 10_000, "the entry is not JSON"),
        ("3", "the entry is 3, not an object"),
    ],
)
def test_an_entry_that_is_no_object_says_so(text: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_entry(text)
    assert problem in raised.value.problem
    assert entry_id(text) is None
