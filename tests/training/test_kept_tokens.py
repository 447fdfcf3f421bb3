"""Tokens of needle videos that are kept: the run is the same, and each video is drawn once."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from bimba.errors import InputError, TrainingError, VideoError
from bimba.needles import StreamedVideo
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.example import Example, Failure
from bimba.training.data.opening import open_bimba_dataset
from bimba.training.data.samples import read_samples
from bimba.training.features.kept_tokens import keep_tokens
from bimba.training.loop.watching import LOG_NAME, read_log
from bimba.training.model.start import start_bimba
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from stream_runs import STREAM, recipe_of, seeds_drawn

FROZEN = {"mode": "frozen"}
LANGUAGE = {"projector": FROZEN, "compressor": FROZEN, "language_model": {"mode": "full"}}


def recipe_in(folder: Path, *, keep: bool, **changes: Any) -> Recipe:
    """Six videos in two rounds, three epochs of four steps."""
    recipe = recipe_of(folder, train=LANGUAGE, schedule__batch_size=3, schedule__max_steps=12, **changes)
    data = recipe.data.model_dump() | {"keep_tokens": keep, "sources": [{"stream": STREAM | {"rounds": 2}}]}
    return Recipe.model_validate(recipe.model_dump() | {"data": data})


def test_a_run_is_the_same_and_draws_each_video_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = seeds_drawn(monkeypatch)
    results = []
    for keep in (False, True):
        drawn.clear()
        folder = train(recipe_in(tmp_path / str(keep), keep=keep)).folder
        results.append((load_file(folder / "model.safetensors"), read_log(folder.parent / LOG_NAME), list(drawn)))
    (weights, log, every), (kept_weights, kept_log, once) = results
    assert len(every) == 36
    assert len(once) == len(set(once)) == 6
    assert [line["loss"] for line in kept_log] == pytest.approx([line["loss"] for line in log], abs=1e-6)
    assert max(float((weights[name] - kept_weights[name]).abs().max()) for name in weights) < 1e-5


def test_a_round_asks_other_questions_about_the_same_video(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, keep=False)
    store = read_samples(recipe.data.sources, 0)
    assert len(store) == 12
    model, processor = start_bimba(recipe)
    dataset = open_bimba_dataset(recipe, store, model.config, processor)
    differ = 0
    for index in range(6):
        first, again = store[index].place, store[index + 6].place
        assert first is not None
        assert again is not None
        one, other = first.video(), again.video()
        assert one.plan.seed == other.plan.seed
        assert one.record.needles == other.record.needles
        assert one.questions == first.stream[index].questions
        assert not {question.id for question in one.questions} & {question.id for question in other.questions}
        assert again.video().questions == other.questions
        differ += {question.question for question in one.questions} != {q.question for q in other.questions}
        pair = dataset[index], dataset[index + 6]
        assert isinstance(pair[0], Example)
        assert isinstance(pair[1], Example)
        assert pair[0].pixels[0].equal(pair[1].pixels[0])
    assert differ > 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train": LANGUAGE | {"projector": {"mode": "full"}}}, "but train.projector is trained"),
        ({"train": {"kind": "vamba", "language_model": {"mode": "full"}}}, "a Vamba has none"),
        ({"objective": {"words": {}}}, "leaves out the parts that objective.words listens to"),
        ({"distillation": {"teacher": "t"}}, "the teacher of distillation needs"),
        ({"data": {"keep_tokens": True, "sources": [{"json_path": "a.json"}]}}, "is for needle streams alone"),
        ({"data": {"keep_tokens": True, "cache": "c", "sources": [{"stream": STREAM}]}}, "the features of data.cache"),
    ],
)
def test_what_cannot_be_kept_is_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    values = recipe_in(tmp_path, keep=True).model_dump()
    with pytest.raises(ValueError, match=f"data.keep_tokens .*{expected}"):
        Recipe.model_validate(values | changes)


def test_one_process_alone_keeps_tokens_of_a_video_alone(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, keep=True)
    model, processor = start_bimba(recipe)
    dataset = open_bimba_dataset(recipe, read_samples(recipe.data.sources, 0), model.config, processor)
    with pytest.raises(InputError, match="for one process, not 2"):
        keep_tokens(recipe, model, dataset, 2)
    model.config.compressor["question_conditioned"] = True
    with pytest.raises(InputError, match="reads the question"):
        keep_tokens(recipe, model, dataset, 1)


def test_a_video_that_cannot_be_drawn_is_left_out_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_in(tmp_path, keep=True)
    model, processor = start_bimba(recipe)
    dataset = open_bimba_dataset(recipe, read_samples(recipe.data.sources, 0), model.config, processor)
    kept = keep_tokens(recipe, model, dataset, 1)
    assert kept is not None
    first, again = dataset[2], dataset[8]
    assert isinstance(first, Example)
    assert isinstance(again, Example)
    assert (first.kept, again.kept, len(first.pixels), len(again.pixels)) == (2, 8, 1, 0)
    (tokens,) = kept.of([(2, first.pixels[0])])

    def broken(dataset: TrainingDataset, video: StreamedVideo) -> Any:
        del dataset, video
        raise VideoError("the photo is gone.", fix="bring it back.")

    monkeypatch.setattr(TrainingDataset, "stream_pixels", broken)
    assert kept.of([(8, None)])[0].equal(tokens)  # the same video, which nobody draws again
    with pytest.raises(TrainingError, match=r"the video of needles-0\[3\] cannot be drawn: the photo is gone"):
        kept.of([(3, None)])  # another process drew it before
    for _ in range(2):
        assert dataset[3] == Failure("needles-0[3]", "the photo is gone.")


def test_a_video_that_another_process_drew_is_drawn_where_it_is_needed(tmp_path: Path) -> None:
    weights = []
    for workers in (0, 2):
        recipe = recipe_in(tmp_path / str(workers), keep=True, data__workers=workers)
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"workers": workers})})
        weights.append(load_file(train(recipe).folder / "model.safetensors"))
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-5
