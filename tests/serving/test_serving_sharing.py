"""Models whose answers cannot share steps are found out, and answer one at a time as they would elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch
from batch_runs import QUESTIONS, asked, run, without_numbers, written
from transformers import GPT2Config, Mamba2Config, MistralConfig

import bimba
from bimba.errors import GenerationError
from bimba.inference import VideoQA
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_config, tiny_model
from bimba.serving.engine.alone import answer_alone
from bimba.serving.engine.batch import Batch, why_failed
from bimba.serving.engine.rows import Rows
from bimba.serving.engine.sharing import reads_together, why_alone
from vamba_model import save_tiny_vamba


def other_language(config: Any) -> VideoQA:
    """The tiny model with another language model."""
    _, processor = tiny_model(seed=0)
    ours = tiny_config(320)
    ours.text_config = config
    ours.tokenizer_size, ours.video_token_id = len(processor.tokenizer), processor.video_token_id
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BimbaForConditionalGeneration(ours)
    model.eval()  # type: ignore[no-untyped-call] # untyped there
    return VideoQA(model, processor)


def test_absolute_places_are_each_rows_own() -> None:
    qa = other_language(GPT2Config(vocab_size=320, n_embd=64, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2))
    assert why_alone(qa) is None
    batch = Batch(qa, most_running=3, prefill_tokens=20)
    told = [asked(question, max_new_tokens=8) for question in QUESTIONS]
    for kept in told:
        batch.add(written(qa, kept))
    run(batch)
    for kept, question in zip(told, QUESTIONS, strict=True):
        assert list(kept.done.token_ids) == qa.ask(None, question, max_new_tokens=8).token_ids


@pytest.mark.parametrize(
    "config",
    [
        Mamba2Config(
            vocab_size=320, hidden_size=64, num_heads=8, head_dim=16, state_size=16, num_hidden_layers=2, n_groups=1
        ),
        MistralConfig(
            vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, sliding_window=16,
        ),
    ],
    ids=["recurrent", "sliding window"],
)  # fmt: skip
def test_models_whose_rows_cannot_share_steps_are_found_out(config: Any) -> None:
    assert "no plain keys and values" in (why_alone(other_language(config)) or "")


def test_a_model_that_does_not_keep_places_apart_is_found_out(tiny: VideoQA, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Rows.step

    def with_the_longest_ones_places(self: Rows, *how: Any) -> Any:
        cache, mask, places = step(self, *how)
        return cache, mask, places.max().expand_as(places)

    monkeypatch.setattr(Rows, "step", with_the_longest_ones_places)
    assert "answers otherwise" in (why_alone(tiny) or "")
    assert not reads_together(tiny)


def test_prompts_are_read_together_where_attention_takes_what_each_token_sees() -> None:
    for name, is_so in (("sdpa", True), ("eager", True), ("flex_attention", False)):
        qa = VideoQA(*tiny_model(seed=0))
        qa.model.language_model.config._attn_implementation = name
        assert reads_together(qa) == is_so


@pytest.mark.parametrize("options", [{}, {"temperature": 0.9}], ids=["greedy", "sampled"])
def test_vamba_answers_alone_as_asked_alone(options: dict[str, Any], golden: Path, tmp_path: Path) -> None:
    qa: VideoQA[Any, Any] = bimba.load(save_tiny_vamba(golden, tmp_path / "vamba"))
    assert "beside the prompt" in (why_alone(qa) or "")
    kept = asked("Why?", max_new_tokens=8, seed=5, options=options)
    answer_alone(qa, written(qa, kept))
    torch.manual_seed(5)
    alone = qa.ask(None, "Why?", max_new_tokens=8, **options)
    assert list(kept.done.token_ids) == alone.token_ids
    assert kept.text == alone.text


def test_an_answer_alone_stops_at_its_stop_text_and_when_nobody_waits(tiny: VideoQA) -> None:
    whole = tiny.ask(None, "Why?", max_new_tokens=16)
    stopped = asked("Why?", max_new_tokens=16, stops=(whole.text[4:6],))
    answer_alone(tiny, written(tiny, stopped))
    assert stopped.text == whole.text[:4]
    assert stopped.done.reason == "stop"
    assert len(stopped.done.token_ids) < len(whole.token_ids)
    given_up = asked("Why?", max_new_tokens=16)
    prompt = written(tiny, given_up)
    given_up.ticket.give_up()
    answer_alone(tiny, prompt)
    assert given_up.refusal.code == "cancelled"


def test_an_answer_alone_of_no_numbers_is_the_server_s_failure() -> None:
    qa = without_numbers(VideoQA(*tiny_model(seed=0)))
    with pytest.raises(GenerationError) as caught:
        answer_alone(qa, written(qa, asked("Why?", max_new_tokens=3)))
    assert why_failed(caught.value).status == 500
