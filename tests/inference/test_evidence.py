"""Where an answer comes from: scores are what they say, point at needles and disturb nobody; and what is refused."""

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

import bimba
from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.inference.evidence import Evidence
from bimba.inference.evidence.less_memory import recomputed_layers
from bimba.inference.evidence.result import moments_of
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_model, tiny_tokenizer
from bimba.needles import make_needles
from vamba_model import save_tiny_vamba

QUESTION = "What appears?"


def frames(count: int = 6) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 255, (count, 40, 60, 3), dtype=np.uint8)


def log_odds(log_probability: float) -> float:
    return log_probability - math.log1p(-math.exp(log_probability))


def with_compressor(compressor: dict[str, Any], **settings: Any) -> VideoQA:
    """A tiny model with another compressor, whose answers depend on the video."""
    config = BimbaConfig.from_dict(tiny_config(vocab_size=320).to_dict() | settings | {"compressor": compressor})
    processor = BimbaProcessor.from_config(config, tiny_tokenizer())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BimbaForConditionalGeneration(config)
    return VideoQA(model.eval(), processor)  # type: ignore[no-untyped-call] # untyped there


@pytest.fixture(scope="module")
def vamba(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoQA:
    loaded: VideoQA = bimba.load(save_tiny_vamba(golden, tmp_path_factory.mktemp("vamba") / "tiny"))
    return loaded


@pytest.fixture(scope="module")
def nano() -> VideoQA:
    return bimba.load("bimba-nano")


@pytest.mark.parametrize("newline", ["grid", "frame", "one_token", "no_token"])
def test_scores_add_up_to_what_the_video_does_to_the_log_odds(newline: str) -> None:
    qa = with_compressor({"type": "selective_scan"}, newline_position=newline)
    answer = qa.ask(frames(), QUESTION, max_new_tokens=1)
    evidence = qa.evidence(frames(), QUESTION, answer, max_new_tokens=1)
    risen = log_odds(evidence.log_probability) - log_odds(evidence.log_probability_without)
    assert abs(risen) > 1e-4
    assert sum(moment.score for moment in evidence.moments) == pytest.approx(risen, rel=0.01)
    assert len(evidence.moments) == 6


def test_scores_of_vamba_add_up_as_well(vamba: VideoQA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bimba.inference.evidence.find.NUM_PLACES", 64)  # its weights are large, its way winding
    answer = vamba.ask(frames(7), QUESTION, max_new_tokens=1)
    evidence = vamba.evidence(frames(7), QUESTION, answer, max_new_tokens=1)
    risen = log_odds(evidence.log_probability) - log_odds(evidence.log_probability_without)
    assert abs(risen) > 1e-2
    assert sum(moment.score for moment in evidence.moments) == pytest.approx(risen, rel=0.01)
    stretches = [(moment.first_frame, moment.last_frame) for moment in evidence.moments]
    assert stretches == [(0, 1), (2, 3), (4, 5), (6, 6)]


@pytest.mark.parametrize(
    "compressor",
    [
        {"type": "selective_scan"},
        {"type": "selective_scan", "num_layers": 2},
        {"type": "selective_scan", "question_conditioned": True},
        {"type": "self_attention"},
        {"type": "pooling"},
    ],
    ids=lambda compressor: " ".join(map(str, compressor.values())),
)
def test_pooled_compressors_have_evidence(compressor: dict[str, Any]) -> None:
    qa = with_compressor(compressor)
    stream = qa.stream(frames(4), QUESTION, max_new_tokens=2)
    list(stream)
    evidence = stream.evidence()
    assert len({moment.score for moment in evidence.moments}) == 4
    assert sum(moment.share for moment in evidence.moments) == pytest.approx(1)


def test_tokens_that_are_not_compressed_have_evidence() -> None:
    qa = with_compressor({"type": "none"}, spatial_pooling=1)
    assert len(qa.evidence(frames(4), QUESTION, "dog").moments) == 4


def test_occlusion_is_what_taking_a_moment_away_does(tiny: VideoQA) -> None:
    answer = tiny.ask(frames(), QUESTION, max_new_tokens=1)
    evidence = tiny.evidence(frames(), QUESTION, answer, method="occlusion", max_new_tokens=1)
    inputs = tiny.prepare(frames(), QUESTION)
    [tokens] = tiny.model.get_video_features(inputs["pixel_values_videos"])
    rows = tokens.detach().unflatten(0, (6, -1)).clone()
    rows[2] = rows.mean(0)
    with torch.no_grad():
        logits = tiny.model(input_ids=inputs["input_ids"], video_features=[rows.flatten(0, 1)]).logits[0, -1]
    without = float(logits.log_softmax(-1)[answer.token_ids[0]])
    assert evidence.moments[2].score == pytest.approx(log_odds(evidence.log_probability) - log_odds(without), abs=1e-4)


def test_top_moment_shows_the_needle_that_is_asked_for(nano: VideoQA, tmp_path: Path) -> None:
    run = make_needles(tmp_path, seed=9, seconds=30.0, needles=3, needle_seconds=2.0, scenes=2)
    video = run.manifest.videos[0]
    encoded = nano.encode(run.folder / video.file, num_frames=30)
    tried = []
    for one in video.questions:
        if one.kind in ("colour", "first", "last"):
            answer = nano.ask(encoded, one.question, max_new_tokens=12)
            [top] = nano.evidence(encoded, one.question, answer, max_new_tokens=12).top(1)
            assert top.start_seconds is not None
            hit = any(needle.start_seconds <= top.start_seconds < needle.end_seconds for needle in one.evidence)
            tried.append((answer.text == one.answer, hit))
    assert tried == [(True, True)] * 3


def test_stream_needs_neither_frames_nor_tower(tiny: VideoQA, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = tiny.stream(video, QUESTION, num_frames=4, max_new_tokens=3)
    with pytest.raises(ValueError, match="once the last piece"):
        stream.evidence()
    list(stream)
    again = tiny.evidence(video, QUESTION, stream.answer, num_frames=4, max_new_tokens=3)
    for name in ("get_vision_features", "compress"):
        monkeypatch.setattr(tiny.model, name, None)
    evidence = stream.evidence()
    assert evidence.moments == again.moments
    assert [moment.start_seconds for moment in evidence.moments] == stream.answer.frame_seconds


def test_encoded_video_and_chat_have_the_same_evidence(tiny: VideoQA, video: Path, tmp_path: Path) -> None:
    answer = tiny.ask(video, QUESTION, num_frames=4, max_new_tokens=3)
    evidence = tiny.evidence(video, QUESTION, answer, num_frames=4)
    file = tiny.encode(video, num_frames=4).save(tmp_path / "video.bimba")
    assert tiny.evidence(file, QUESTION, answer).moments == evidence.moments
    stream = tiny.chat(video, num_frames=4).stream(QUESTION, max_new_tokens=3)
    list(stream)
    assert [moment.score for moment in stream.evidence().moments] == pytest.approx(
        [moment.score for moment in evidence.moments], abs=1e-4
    )


def test_video_encoded_with_other_pooling_has_its_own_moments(video: Path, tmp_path: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.pool_frames(3)
    file = qa.encode(video, num_frames=8).save(tmp_path / "video.bimba")
    qa.pool_frames(1)
    evidence = qa.evidence(file, QUESTION, "a needle")
    assert [(moment.first_frame, moment.last_frame) for moment in evidence.moments] == [(0, 2), (3, 5)]
    assert evidence.moments[1].end_seconds is not None
    assert evidence.answer == "a needle"


def test_result_is_json_and_ranks_its_moments() -> None:
    moments = moments_of([0.5, -1.0, 1.5], [(0, 1), (2, 3), (4, 4)], [0.0, 1.0, 2.0, 3.0, 4.0])
    evidence = Evidence("gradient", "a dog", -0.1, -3.0, moments, 0.2)
    assert [moment.share for moment in moments] == [0.25, 0.0, 0.75]
    assert evidence.top(5) == [moments[2], moments[0]]
    assert evidence.top(1) == [moments[2]]
    told = json.loads(json.dumps(evidence.to_dict()))
    assert told["moments"][1] == {
        "first_frame": 2, "last_frame": 3, "start_seconds": 2.0, "end_seconds": 3.0, "score": -1.0, "share": 0.0,
    }  # fmt: skip
    assert moments_of([1.0], [(0, 0)], [])[0].start_seconds is None
    assert Evidence("gradient", "", 0.0, 0.0, moments_of([0.0, -1.0], [(0, 0), (1, 1)], []), 0.1).top() == []


def layers_of(qa: VideoQA) -> Iterator[torch.nn.Module]:
    return (module for module in qa.model.modules() if isinstance(module, GradientCheckpointingLayer))


def test_recomputing_changes_no_gradient_and_leaves_no_trace(tiny: VideoQA) -> None:
    ids = torch.arange(5, 25)[None]
    embeds = tiny.model.get_input_embeddings()(ids).detach().requires_grad_()

    def gradient() -> torch.Tensor:
        logits = tiny.model.language_model(inputs_embeds=embeds, use_cache=False).logits
        found: torch.Tensor = torch.autograd.grad(logits[0, -1].logsumexp(-1), embeds)[0]
        return found

    plain = gradient()
    with recomputed_layers(tiny.model):
        assert all("forward" in layer.__dict__ for layer in layers_of(tiny))
        assert torch.equal(gradient(), plain)
    with pytest.raises(RuntimeError, match="out of memory"), recomputed_layers(tiny.model):
        raise RuntimeError("out of memory")
    assert list(layers_of(tiny))
    assert not any("forward" in layer.__dict__ for layer in layers_of(tiny))


def test_whoever_generates_meanwhile_gets_the_same(tiny: VideoQA) -> None:
    expected = tiny.ask(frames(4), QUESTION, max_new_tokens=6).token_ids
    said: list[list[int]] = []
    with recomputed_layers(tiny.model):
        thread = threading.Thread(target=lambda: said.append(tiny.ask(frames(4), QUESTION, max_new_tokens=6).token_ids))
        thread.start()
        thread.join()
    assert said == [expected]


def test_without_a_video_there_is_nothing_to_point_at(tiny: VideoQA) -> None:
    stream = tiny.stream(None, QUESTION, max_new_tokens=2)
    list(stream)
    with pytest.raises(InputError, match="rests on no video"):
        stream.evidence()


def test_one_moment_is_no_evidence(tiny: VideoQA) -> None:
    with pytest.raises(InputError, match="one single moment"):
        tiny.evidence(frames(1), QUESTION, "dog")


@pytest.mark.parametrize(
    "compressor",
    [{"type": "selective_scan", "queries": "learned", "learned_grid": [4, 3, 3]}, {"type": "perceiver"}],
    ids=["learned", "perceiver"],
)
def test_learned_queries_stand_for_no_moment(compressor: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="learned queries") as caught:
        with_compressor(compressor).evidence(frames(4), QUESTION, "dog")
    assert "pooled" in caught.value.fix


def test_answer_to_another_prompt_is_refused(tiny: VideoQA, video: Path) -> None:
    answer = tiny.ask(video, QUESTION, num_frames=4, max_new_tokens=2)
    with pytest.raises(InputError, match="to a prompt of"):
        tiny.evidence(video, QUESTION, answer, num_frames=5)
    with pytest.raises(InputError, match="to a prompt of"):
        tiny.evidence(video, "What appears first of all?", answer, num_frames=4)


def test_empty_answers_and_unknown_methods_are_refused(tiny: VideoQA) -> None:
    with pytest.raises(InputError, match="no answer"):
        tiny.evidence(frames(), QUESTION, "")
    with pytest.raises(InputError, match="attention") as caught:
        tiny.evidence(frames(), QUESTION, "dog", method="attention")  # type: ignore[arg-type] # what a user might try
    assert "gradient, occlusion" in caught.value.fix


def test_numbers_out_of_range_are_no_evidence() -> None:
    qa = VideoQA(*tiny_model(seed=0))
    with torch.no_grad():
        qa.model.language_model.get_output_embeddings().weight.fill_(torch.inf)
    with pytest.raises(InputError, match=r"range of torch\.float32") as caught:
        qa.evidence(frames(), QUESTION, "dog")
    assert "bfloat16" in caught.value.fix
