"""Sources: strategies, mixtures, needle videos, and the store that holds all samples."""

import logging
import pickle
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_files import entry, write

from bimba.errors import InputError
from bimba.needles import make_needles, read_needles
from bimba.training.data import SampleStore, prepare_sources, read_samples
from bimba.training.data.choosing import chosen_positions, expand_braces
from bimba.training.recipe.data_settings import Needles, Source


def ids(store: SampleStore) -> list[str]:
    return [store.name(index).partition("(id ")[2].removesuffix(")") for index in range(len(store))]


def numbered(folder: Path, name: str, count: int, letter: str = "s") -> Path:
    folder.mkdir(exist_ok=True)
    return write(folder / name, [entry("Why?") | {"id": f"{letter}{number}"} for number in range(count)])


# Strategies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("all", list(range(10))),
        ("first:3", [0, 1, 2]),
        ("end:3", [7, 8, 9]),
        ("first:25%", [0, 1, 2]),
        ("end:0.1%", [9]),
        ("first:100%", list(range(10))),
        ("first:99", list(range(10))),
        ("end:99", list(range(10))),
    ],
)
def test_a_strategy_takes_its_part(strategy: str, expected: list[int]) -> None:
    assert chosen_positions(strategy, 10, (0,)) == expected


def test_a_percentage_is_rounded_up_and_exact() -> None:
    assert len(chosen_positions("first:7%", 100, (0,))) == 7  # in floats 7 % of 100 is a little more


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 200), st.integers(1, 250), st.booleans())
def test_a_random_part_is_ascending_without_doubles(num_entries: int, amount: int, is_share: bool) -> None:
    amount = min(amount, 100) if is_share else amount
    chosen = chosen_positions(f"random:{amount}{'%' * is_share}", num_entries, (3, 1))
    expected = -(-num_entries * Fraction(amount, 100) // 1) if is_share else min(amount, num_entries)
    assert len(chosen) == expected
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(num_entries))


def test_random_parts_follow_the_seed_alone() -> None:
    first = chosen_positions("random:10", 1000, (1, 2))
    assert first == chosen_positions("random:10", 1000, (1, 2))
    others = [(1, 3), (2, 2), (1, 2, 0), (0, 1, 2)]
    assert all(chosen_positions("random:10", 1000, seed) != first for seed in others)


@pytest.mark.parametrize(
    "strategy", ["first", "first:", "first:0", "first:1.5", "first:0%", "end:101%", "some:3", "all:3", "random:x%", ""]
)
def test_a_strategy_that_makes_no_sense_is_refused(strategy: str) -> None:
    with pytest.raises(InputError) as raised:
        chosen_positions(strategy, 10, (0,))
    assert repr(strategy) in raised.value.problem


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.json", ["a.json"]),
        ("a_{1,2}.json", ["a_1.json", "a_2.json"]),
        ("{a,b}{1,2}", ["a1", "a2", "b1", "b2"]),
        ("x{a,b{1,2},}y", ["xay", "xb1y", "xb2y", "xy"]),
        ("a{1}b", ["a{1}b"]),
        ("a{1}{2,3}", ["a{1}2", "a{1}3"]),
        ("a{1,2", ["a{1,2"]),
        ("{a{1,2}", ["{a1", "{a2"]),
        ("}{,}", ["}", "}"]),
    ],
)
def test_braces_expand_as_in_a_shell(text: str, names: list[str]) -> None:
    assert expand_braces(text) == names


# Sources ----------------------------------------------------------------------------------------------------------


def test_samples_are_named_by_file_place_and_id(tmp_path: Path) -> None:
    path = numbered(tmp_path, "train.json", 3)
    store = read_samples([Source(json_path=path, sampling_strategy="end:1")], seed=0)
    assert len(store) == 1
    assert store[0].name == store.name(0) == "train.json[2] (id s2)"


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = numbered(tmp_path / "a", "train.json", 1), numbered(tmp_path / "b", "train.json", 1)
    store = read_samples([Source(json_path=first), Source(json_path=second)], seed=0)
    assert [sample.name for sample in store] == [f"{path}[0] (id s0)" for path in (first, second)]


def test_media_lie_beside_the_json_or_in_the_video_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", [entry(video="a.mp4")])
    assert read_samples([Source(json_path=path)], seed=0)[0].media == (tmp_path / "a.mp4",)
    elsewhere = Source(json_path=path, video_folder=Path("/videos"))
    assert read_samples([elsewhere], seed=0)[0].media == (Path("/videos/a.mp4"),)


def test_malformed_entries_do_not_stop_the_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", [entry("Why?"), 3, {"id": "bad"}])
    store = read_samples([Source(json_path=path)], seed=0)
    assert [store.name(index) for index in range(3)] == [
        "train.json[0] (id one)",
        "train.json[1]",
        "train.json[2] (id bad)",
    ]
    for index in (1, 2):
        with pytest.raises(InputError):
            store[index]


def test_asking_for_more_than_there_is_takes_all_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = numbered(tmp_path, "train.json", 3)
    with caplog.at_level(logging.WARNING):
        assert len(read_samples([Source(json_path=path, sampling_strategy="first:5")], seed=0)) == 3
    assert "there are only 3 samples" in caplog.text


def test_a_source_does_not_change_the_random_part_of_another(tmp_path: Path) -> None:
    path = numbered(tmp_path, "train.json", 50)
    other = numbered(tmp_path, "other.json", 20, letter="o")
    random = Source(json_path=path, sampling_strategy="random:5")
    alone = ids(read_samples([random], seed=4))
    assert ids(read_samples([random, Source(json_path=other)], seed=4))[:5] == alone
    assert ids(read_samples([random], seed=5)) != alone


def test_progress_counts_sources(tmp_path: Path) -> None:
    sources = [Source(json_path=numbered(tmp_path, f"{name}.json", 1)) for name in "ab"]
    told: list[tuple[str, int, int]] = []
    read_samples(sources, seed=0, on_progress=lambda *facts: told.append(facts))
    assert told == [("read", 1, 2), ("read", 2, 2)]


# Mixtures ---------------------------------------------------------------------------------------------------------


def test_a_mixture_lists_files_beside_it(tmp_path: Path) -> None:
    numbered(tmp_path / "sub", "a.json", 4, "a")
    absolute = numbered(tmp_path / "elsewhere", "b.json", 4, "b")
    numbered(tmp_path, "c_1.json", 2, "c")
    write(tmp_path / "c_2.json", [entry("Why?", video="v.mp4") | {"id": "d0"}])
    (tmp_path / "mix.yaml").write_text(
        "datasets:\n"
        "  - {json_path: sub/a.json, sampling_strategy: 'first:50%'}\n"
        f"  - {{json_path: '{absolute}', sampling_strategy: 'end:1', video_folder: null}}\n"
        "  - {json_path: 'c_{1,2}.json', sampling_strategy: 'end:2', video_folder: videos}\n"
    )
    store = read_samples([Source(mixture=tmp_path / "mix.yaml")], seed=0)
    assert ids(store) == ["a0", "a1", "b3", "c1", "d0"]
    assert store[4].media == (tmp_path / "videos/v.mp4",)


def test_a_mixtures_own_source_gives_folder_and_strategy(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [entry("Why?", video="v.mp4"), entry("Why?", video="w.mp4")])
    (tmp_path / "mix.yaml").write_text("datasets: [{json_path: a.json}]")
    source = Source(mixture=tmp_path / "mix.yaml", video_folder=Path("/videos"), sampling_strategy="end:1")
    (sample,) = read_samples([source], seed=0)
    assert sample.media == (Path("/videos/w.mp4"),)


@pytest.mark.parametrize(
    ("text", "problem", "fix"),
    [
        ("datasets: [", "is not YAML", "datasets:"),
        ("datasets: 2024-99-99", "is not YAML", "datasets:"),
        ("data: []", "has no list named datasets", "datasets:"),
        ("datasets: []", "has no list named datasets", "datasets:"),
        ("datasets: [a.json]", "datasets[0] is 'a.json', not an object", "datasets:"),
        ("datasets: [{}]", "datasets[0] has no json_path", "datasets:"),
        ("datasets: [{json_path: 3}]", "json_path is 3, not a text", "datasets:"),
        ("datasets: [{json_pth: a.json}]", "unknown key 'json_pth'", "use json_path."),
        ("datasets: [{json_path: a.json, sampling_strategy: some}]", "strategy 'some' is unknown", "first:N"),
        ("datasets: [{json_path: absent.json}]", "absent.json cannot be read", "check the path"),
    ],
)
def test_a_mixture_that_is_none_is_refused(text: str, problem: str, fix: str, tmp_path: Path) -> None:
    numbered(tmp_path, "a.json", 1)
    (tmp_path / "mix.yaml").write_text(text)
    with pytest.raises(InputError) as raised:
        read_samples([Source(mixture=tmp_path / "mix.yaml")], seed=0)
    assert problem in raised.value.problem
    assert fix in raised.value.fix


def test_without_the_package_for_yaml_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mix.yaml").write_text("datasets: []")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError) as raised:
        read_samples([Source(mixture=tmp_path / "mix.yaml")], seed=0)
    assert 'pip install "bimba[train]"' in raised.value.fix


# Needles ----------------------------------------------------------------------------------------------------------

OPTIONS = {"seconds": 2.0, "size": "64x48", "fps": 8, "needles": 1, "needle_seconds": 0.5, "seed": 3}


def test_needle_videos_are_made_once_and_asked_about(tmp_path: Path) -> None:
    sources = [Source(needles=Needles(folder=tmp_path / "needles", options=OPTIONS))]
    told: list[tuple[str, int, int]] = []
    prepare_sources(sources, lambda *facts: told.append(facts))
    assert told[-1] == ("needles", 16, 16)
    video = tmp_path / "needles" / "video_00000.mp4"
    stamp = video.stat().st_mtime_ns
    prepare_sources(sources)
    assert video.stat().st_mtime_ns == stamp
    questions = read_needles(tmp_path / "needles").videos[0].questions
    samples = list(read_samples(sources, seed=0))
    assert len(samples) == len(questions) > 1
    assert samples[1].name == f"needles.json[1] (id {questions[1].id})"
    assert {sample.media for sample in samples} == {(video,)}
    asked = [[turn.content for turn in sample.turns] for sample in samples]
    assert asked == [[f"<image>\n{question.question}", question.answer] for question in questions]


def test_letters_are_asked_for_in_the_released_wording(tmp_path: Path) -> None:
    make_needles(tmp_path, **OPTIONS)  # type: ignore[arg-type]
    source = Source(needles=Needles(folder=tmp_path, options=OPTIONS, ask="letter"), sampling_strategy="first:1")
    (sample, *_) = read_samples([source], seed=0)
    question = read_needles(tmp_path).videos[0].questions[0]
    a, b, c, d = question.options
    assert sample.turns[0].content == (
        "<image>\nSelect the best answer to the following multiple-choice question based on the video. Respond with "
        f"only the letter (A, B, C or D) of the correct option.\n{question.question}\n"
        f"A. {a}\nB. {b}\nC. {c}\nD. {d}\nThe best answer is:"
    )
    assert sample.turns[1].content == question.answer_letter


@pytest.mark.parametrize(
    ("options", "problem", "fix"),
    [
        ({"second": 3}, "no option 'second'", "use 'seconds'."),
        ({"overwrite": True}, "no option 'overwrite'", "use"),
        ({"zzz": True}, "no option 'zzz'", "use one of seed, videos"),
        ({"size": 64}, "size is 64", "448x336"),
        ({"size": [64]}, "size is [64]", "448x336"),
        ({"kinds": [3]}, "kinds are [3]", "shape,digit"),
        ({"kinds": 3}, "kinds are 3", "shape,digit"),
        ({"seconds": "long"}, "seconds", "bimba needles make"),
    ],
)
def test_needle_options_are_checked(options: dict[str, object], problem: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        prepare_sources([Source(needles=Needles(folder=tmp_path, options=options))])
    assert problem in raised.value.problem
    assert fix in raised.value.fix
    assert not list(tmp_path.iterdir())


def test_needle_videos_that_were_not_made_are_missed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needles\.json"):
        read_samples([Source(needles=Needles(folder=tmp_path))], seed=0)


# Store ------------------------------------------------------------------------------------------------------------


def test_the_store_is_a_few_arrays_however_many_samples_it_holds(tmp_path: Path) -> None:
    path = numbered(tmp_path, "train.json", 2000)
    store = read_samples([Source(json_path=path)], seed=0)
    small = read_samples([Source(json_path=path, sampling_strategy="first:1")], seed=0)
    assert len(pickle.dumps(store)) < path.stat().st_size * 1.5
    assert pickle.dumps(store).count(b"numpy") == pickle.dumps(small).count(b"numpy")
    assert [vars(pickle.loads(pickle.dumps(store))[index]) for index in (0, 1999)] == [
        vars(store[index]) for index in (0, 1999)
    ]


def test_the_fingerprint_changes_with_samples_and_not_with_their_place(tmp_path: Path) -> None:
    path = numbered(tmp_path, "train.json", 3)
    moved = tmp_path / "moved" / "train.json"
    moved.parent.mkdir()
    shutil.copyfile(path, moved)
    sources = [Source(json_path=path), Source(json_path=path, sampling_strategy="first:2"), Source(json_path=moved)]
    first, fewer, elsewhere = (read_samples([source], seed=0).fingerprint() for source in sources)
    assert first == elsewhere
    assert first != fewer


def test_there_is_no_sample_before_the_first_or_behind_the_last(tmp_path: Path) -> None:
    store = read_samples([Source(json_path=numbered(tmp_path, "train.json", 3))], seed=0)
    for index in (-1, 3):
        with pytest.raises(IndexError):
            store[index]
