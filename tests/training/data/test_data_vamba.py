"""Batches of a Vamba: what rows, images and blanks are, and what cannot be read."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from sample_files import entry, turns, write
from typer.testing import CliRunner
from vamba_samples import made, vamba_data

from bimba.cli import app
from bimba.models.vamba.processing import VambaProcessor
from bimba.needles import NeedleStream
from bimba.text.labels import IGNORE
from bimba.training.data import (
    Description,
    Example,
    Failure,
    VambaCollator,
    VambaDataset,
    check_samples,
    measure_lengths,
    read_samples,
)
from bimba.training.recipe.data_settings import Frames, Packing, Source, Stream
from vamba_runs import vamba_settings


@pytest.fixture(scope="module")
def processor(golden: Path) -> VambaProcessor:
    return VambaProcessor.from_pretrained(golden / "vamba/config_a_default", longest_edge=112, shortest_edge=56)


@pytest.fixture
def data(video: Path, picture: Path, processor: VambaProcessor, tmp_path: Path) -> VambaDataset:
    """A video, an image, a text, two images of different sizes, a missing file."""
    folder = tmp_path / "media"
    folder.mkdir(exist_ok=True)
    for number, size in enumerate([(120, 60), (64, 96)]):
        Image.new("RGB", size, "red").save(folder / f"{number}.png")
    return vamba_data(
        tmp_path,
        [
            entry(video=str(video)),
            entry(image=str(picture)),
            entry("How many?", "Seven of them."),
            entry("Is <image> like <image>?", "No.", image=["0.png", "1.png"]),
            entry(video="missing.mp4"),
        ],
        processor,
        folder,
    )


class TestRows:
    def test_no_token_stands_for_a_video(self, data: VambaDataset, processor: VambaProcessor) -> None:
        found = data.describe(0)
        assert isinstance(found, Description)
        marks = processor.tokenizer("<|vision_start|><|vision_end|>")["input_ids"]
        places = [place for place in range(len(found.ids)) if found.ids[place : place + 2] == marks]
        assert len(places) == 1
        assert found.num_video_tokens == (processor.tokens_of(4, found.clips[0].frame_size),)

    def test_images_stand_among_the_videos(self, data: VambaDataset, processor: VambaProcessor) -> None:
        batch = VambaCollator(processor)([made(data, 0), made(data, 1), made(data, 3)])
        assert batch["num_videos"].tolist() == [1, 1, 2]
        assert batch["video_grid_thw"][:, 0].tolist() == [2, 1, 1, 1]
        assert "pixel_values" not in batch
        assert len(batch["pixel_values_videos"]) == int(batch["video_grid_thw"].prod(-1).sum())

    @pytest.mark.parametrize(
        ("packing", "rows"),
        [
            (None, [[0], [1], [2], [3]]),
            (Packing(samples=2), [[0, 1], [2, 3]]),
            (Packing(samples=3), [[0, 1, 2], [3]]),
            (Packing(tokens=1), [[0], [1], [2], [3]]),
            (Packing(tokens=10_000), [[0, 1, 2, 3]]),
        ],
        ids=str,
    )
    def test_packing_fills_rows_in_order(
        self, packing: Packing | None, rows: list[list[int]], data: VambaDataset, processor: VambaProcessor
    ) -> None:
        examples = [made(data, index) for index in range(4)]
        batch = VambaCollator(processor, packing)(examples)
        lengths = [sum(len(examples[index].ids) for index in row) for row in rows]
        assert batch["input_ids"].shape == (len(rows), max(lengths))
        for row, members in enumerate(rows):
            ids = [token for index in members for token in examples[index].ids]
            assert batch["input_ids"][row, : len(ids)].tolist() == ids
        assert batch["info"].num_samples == 4
        assert sum(batch["num_videos"].tolist()) == 4

    def test_a_limit_of_tokens_is_kept(self, data: VambaDataset, processor: VambaProcessor) -> None:
        examples = [made(data, index) for index in (0, 1, 2)]
        limit = len(examples[0].ids) + len(examples[1].ids)
        assert VambaCollator(processor, Packing(tokens=limit))(examples)["input_ids"].shape[0] == 2
        assert VambaCollator(processor, Packing(tokens=limit - 1))(examples)["input_ids"].shape[1] < limit

    def test_each_sample_of_a_row_reads_its_own_videos(self, data: VambaDataset, processor: VambaProcessor) -> None:
        examples = [made(data, index) for index in (3, 2, 0)]
        batch = VambaCollator(processor, Packing(samples=3))(examples)
        assert batch["video_segments"].tolist() == [1, 1, 3]
        expected = [number for number, one in enumerate(examples, start=1) for _ in one.ids]
        assert batch["text_segments"].tolist() == [expected]

    def test_failures_and_blank_places_leave_nothing(self, data: VambaDataset, processor: VambaProcessor) -> None:
        failure = data[4]
        assert isinstance(failure, Failure)
        alone = VambaCollator(processor)([made(data, 0)])
        batch = VambaCollator(processor)([failure, made(data, 0), None])
        assert batch["info"].failures == (failure,)
        assert torch.equal(batch["input_ids"], alone["input_ids"])
        with pytest.raises(ValueError, match="at least one example"):
            VambaCollator(processor)([])

    @pytest.mark.parametrize("packing", [None, Packing(samples=2)], ids=["unpacked", "packed"])
    @pytest.mark.parametrize("indices", [[2, 2], [4], []], ids=["texts", "a failure", "a blank place"])
    def test_without_a_video_a_blank_one_keeps_all_parts_busy(
        self, indices: list[int], packing: Packing | None, data: VambaDataset, processor: VambaProcessor
    ) -> None:
        batch = VambaCollator(processor, packing)([data[index] for index in indices] or [None])
        assert batch["video_grid_thw"].tolist() == [[1, 2, 2]]
        assert batch["num_videos"].tolist()[-1] == 1
        assert (batch["labels"][-1] == IGNORE).all()
        assert batch["info"].num_video_tokens == 0
        if packing is None:
            assert batch["attention_mask"][-1].sum() == 1

    def test_logits_are_kept_where_a_row_learns(self, data: VambaDataset, processor: VambaProcessor) -> None:
        batch = VambaCollator(processor)([made(data, 0), made(data, 2)])
        learned = (batch["labels"][:, 1:] != IGNORE).any(dim=0)
        assert batch["logits_to_keep"].tolist() == learned.nonzero().flatten().tolist()


class TestSamples:
    def test_headers_are_learned_only_as_released(self, video: Path, processor: VambaProcessor, tmp_path: Path) -> None:
        entries = [{"id": 1, "video": str(video), "conversations": turns("One?", "A.", "Two?", "B.")}]
        told = {}
        for labels in ("released", "assistant_only"):
            data = vamba_data(tmp_path, entries, processor, tmp_path, labels=labels)
            found = data.describe(0)
            assert isinstance(found, Description)
            told[labels] = [piece.text for piece in data.pieces(found) if piece.learned]
            ids = found.ids
        header = "\n<|im_start|>assistant\n"
        assert told["assistant_only"] == ["A.<|im_end|>", "B.<|im_end|>"]
        assert told["released"] == [f"{header}A.<|im_end|>", f"{header}B.<|im_end|>"]
        assert ids == made(vamba_data(tmp_path, entries, processor, tmp_path)).ids

    def test_pieces_show_where_videos_stand(self, data: VambaDataset) -> None:
        found = data.describe(3)
        assert isinstance(found, Description)
        pieces = data.pieces(found)
        assert [piece.num_video_tokens for piece in pieces if piece.num_video_tokens] == list(found.num_video_tokens)
        text = "".join(piece.text for piece in pieces if not piece.num_video_tokens)
        assert "Is <|vision_start|><|vision_end|>like <|vision_start|><|vision_end|>?" in text

    def test_a_word_that_is_a_mark_is_refused(self, video: Path, processor: VambaProcessor, tmp_path: Path) -> None:
        entries = [entry("What does <video> mean?", video=str(video))]
        found = vamba_data(tmp_path, entries, processor, tmp_path)[0]
        assert isinstance(found, Failure)
        assert "2 places for 1 videos" in found.reason

    def test_random_frames_are_the_same_in_every_epoch(
        self, video: Path, processor: VambaProcessor, tmp_path: Path
    ) -> None:
        entries = [entry(video=str(video)), entry(video=str(video))]

        def chosen(index: int, seed: int = 0) -> tuple[int, ...]:
            data = vamba_data(tmp_path, entries, processor, tmp_path, sampling="random", seed=seed)
            found = data.describe(index)
            assert isinstance(found, Description)
            return found.clips[0].indices

        assert chosen(0) == chosen(0)
        assert len({chosen(0), chosen(1), chosen(0, seed=1)}) > 1

    def test_only_text_counts_for_the_limit(self, video: Path, processor: VambaProcessor, tmp_path: Path) -> None:
        entries = [entry(video=str(video))]
        size = len(made(vamba_data(tmp_path, entries, processor, tmp_path)).ids)
        assert isinstance(vamba_data(tmp_path, entries, processor, tmp_path, max_tokens=size)[0], Example)
        found = vamba_data(tmp_path, entries, processor, tmp_path, max_tokens=size - 1)[0]
        assert isinstance(found, Failure)
        assert f"{size} tokens" in found.reason

    def test_lengths_are_of_text_and_videos(self, data: VambaDataset, tmp_path: Path) -> None:
        lengths, failures = measure_lengths(data, workers=0, cache_file=tmp_path / "lengths.json")
        assert [failure.name for failure in failures] == [data.store.name(4)]
        for index in range(4):
            found = data.describe(index)
            assert isinstance(found, Description)
            assert lengths[index] == len(found.ids) + sum(found.num_video_tokens)
        assert measure_lengths(data, workers=0, cache_file=tmp_path / "lengths.json") == (lengths, failures)

    def test_a_check_counts_what_is_read(self, data: VambaDataset) -> None:
        report = check_samples(data, workers=0)
        assert len(report.failures) == 1
        assert report.frames is not None
        assert report.frames.total == 4 + 1 + 2
        assert report.num_by_kind == {"video": 2, "image": 2, "text": 1}

    def test_it_travels_to_other_processes(self, data: VambaDataset) -> None:
        again: VambaDataset = pickle.loads(pickle.dumps(data))
        assert made(again).ids == made(data).ids


class TestStreams:
    @pytest.fixture
    def data(self, processor: VambaProcessor) -> VambaDataset:
        options = {"seconds": 2, "size": "96x64", "fps": 10, "needles": 2, "needle_seconds": 0.5, "kinds": ["shape"]}
        source = Source(stream=Stream(videos=2, options=options))
        return VambaDataset(read_samples([source], 0), processor, Frames(count=4, sampling="middle"), "assistant_only")

    def test_each_question_is_a_conversation_about_the_same_video(self, data: VambaDataset) -> None:
        example = made(data)
        assert len(example.conversations) == len(example.branches) > 1
        assert len(example.patches) == 1
        for ids, labels in example.conversations:
            assert ids[0] == example.ids[0], "each begins with the system's turn"
            assert any(label != IGNORE for label in labels)
        assert [token for ids, _ in example.conversations for token in ids] == example.ids

    def test_all_questions_read_the_video_and_none_the_other_one(
        self, data: VambaDataset, processor: VambaProcessor
    ) -> None:
        examples = [made(data, 0), made(data, 1)]
        batch = VambaCollator(processor, Packing(samples=2))(examples)
        assert batch["video_segments"].tolist() == [1, 2]
        first = len(examples[0].ids)
        assert set(batch["text_segments"][0, :first].tolist()) == {1}
        assert set(batch["text_segments"][0, first:].tolist()) == {2}
        begins = (batch["position_ids"][0] == 0).sum()
        assert begins == sum(len(example.conversations) for example in examples)

    def test_its_length_is_known_without_planning(self, data: VambaDataset, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = sum(found.num_video_tokens[0] for found in [data.describe(0)] if isinstance(found, Description))

        def planned(_: NeedleStream, index: int) -> None:
            pytest.fail(f"video {index} was planned")

        monkeypatch.setattr(NeedleStream, "__getitem__", planned)
        assert data.measure(0) == expected > 0

    def test_pieces_show_the_video_in_each_conversation(self, data: VambaDataset) -> None:
        found = data.describe(0)
        assert isinstance(found, Description)
        shown = [piece for piece in data.pieces(found) if piece.num_video_tokens]
        assert len(shown) == len(found.branches)
        assert {piece.num_video_tokens for piece in shown} == set(found.num_video_tokens)


class TestCommand:
    @pytest.fixture
    def recipe(self, golden: Path, video: Path, picture: Path, tmp_path: Path) -> Path:
        """A recipe from random weights with the golden tokenizer, about a video, an image and a text."""
        entries = [entry(video=str(video)), entry(image=str(picture)), entry("How many?", "Seven.")]
        settings = vamba_settings(tmp_path / "run", tmp_path)
        settings["model"] = {**settings["model"], "tokenizer": str(golden / "vamba/config_a_default")}
        settings["data"] = {"sources": [{"json_path": str(write(tmp_path / "train.json", entries))}], "workers": 0}
        (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
        return tmp_path / "recipe.yaml"

    def test_a_sample_is_shown_with_its_video_beside_the_text(self, recipe: Path) -> None:
        done = CliRunner().invoke(app, ["data", "show", str(recipe)])
        assert done.exit_code == 0, done.output
        assert "of frames beside them" in done.stdout
        assert "<|vision_start|><|vision_end|><image> x " in done.stdout
        assert "[\n<|im_start|>assistant\nThat.<|im_end|>]" in done.stdout

    def test_all_samples_are_checked(self, recipe: Path) -> None:
        done = CliRunner().invoke(app, ["data", "check", str(recipe)])
        assert done.exit_code == 0, done.output
        assert "3 samples: 1 image, 1 text, 1 video" in done.stdout
        assert "0 of 3 samples cannot be read" in done.stdout
