"""A conversation's second prompt is read from where it differs from the first, and answered as if it were new."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from bimba.inference import VideoQA
from bimba.inference.prefix import Prefix, empty_cache

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 32,
}  # fmt: skip


@pytest.fixture
def qwen() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**SIZES))
    model.eval()
    return model


def read(model: Any, prefix: Prefix, ids: list[int]) -> tuple[torch.Tensor, int]:
    """Logits behind the last id, and how many ids were read for them."""
    with prefix.reading(ids) as cache, torch.no_grad():
        assert cache is not None
        new = ids[cache.get_seq_length() :]
        return model(torch.tensor([new]), past_key_values=cache).logits[0, -1], len(new)


def test_only_what_is_new_is_read(qwen: Qwen2ForCausalLM) -> None:
    prefix = Prefix(qwen)
    for ids, num_read in (([1, 2, 3, 4], 4), ([1, 2, 3, 4, 5, 6], 2), ([1, 2, 9], 1), ([1, 2, 9], 1), ([7, 8], 2)):
        logits, count = read(qwen, prefix, ids)
        assert count == num_read
        with torch.no_grad():
            torch.testing.assert_close(logits, qwen(torch.tensor([ids])).logits[0, -1], rtol=1e-5, atol=1e-6)
        assert prefix.num_kept == len(ids)


def test_what_was_generated_is_not_kept_and_errors_spoil_nothing(qwen: Qwen2ForCausalLM) -> None:
    prefix = Prefix(qwen)
    with prefix.reading([1, 2, 3]) as cache, torch.no_grad():
        qwen(torch.tensor([[1, 2, 3, 30, 31]]), past_key_values=cache)
    assert prefix.num_kept == 3
    with pytest.raises(KeyboardInterrupt), prefix.reading([1, 2, 3, 4, 5]) as cache:
        raise KeyboardInterrupt
    assert prefix.num_kept == 3
    assert read(qwen, prefix, [1, 2, 3, 4])[1] == 1


def test_language_models_without_plain_keys_read_anew() -> None:
    assert empty_cache(MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1))) is None
    sliding = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4))
    assert empty_cache(sliding) is None
    prefix = Prefix(sliding)
    with prefix.reading([1, 2]) as cache:
        assert cache is None
    assert prefix.num_kept == 0


@pytest.fixture
def counted(tiny: VideoQA, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens that each call of the language model read."""
    seen: list[int] = []
    forward = tiny.model.language_model.model.forward

    def counting(*given: Any, **more: Any) -> Any:
        given_ids = more["inputs_embeds"] if more.get("input_ids") is None else more["input_ids"]
        seen.append(given_ids.shape[1])
        return forward(*given, **more)

    monkeypatch.setattr(tiny.model.language_model.model, "forward", counting)
    return seen


def test_a_chat_answers_as_prompts_by_themselves_do(tiny: VideoQA, video: Path, counted: list[int]) -> None:
    chat = tiny.chat(video, num_frames=4)
    told: list[dict[str, str]] = []
    for question in ("What is it?", "And then?", "Why?"):
        told.append({"role": "user", "content": question})
        expected = tiny.ask(video, told, num_frames=4, max_new_tokens=5)
        counted.clear()
        answer = chat.ask(question, max_new_tokens=5)
        assert answer.text == expected.text
        assert answer.num_prompt_tokens == expected.num_prompt_tokens
        # After the first question the video is never read again.
        assert (counted[0] >= chat.num_video_tokens) == (len(told) == 1)
        told.append({"role": "assistant", "content": answer.text})
    chat.reset()
    counted.clear()
    again = chat.ask("Who?", max_new_tokens=5)
    assert again.text == tiny.ask(video, "Who?", num_frames=4, max_new_tokens=5).text


def test_an_answer_that_was_given_up_leaves_the_next_one_right(tiny: VideoQA, video: Path) -> None:
    chat = tiny.chat(video, num_frames=4)
    stream = chat.stream("What is it?", max_new_tokens=50)
    next(stream)
    stream.close()
    expected = tiny.ask(video, "And then?", num_frames=4, max_new_tokens=5)
    assert chat.ask("And then?", max_new_tokens=5).text == expected.text
    beams = tiny.ask(video, "And then?", num_frames=4, max_new_tokens=5, num_beams=2)
    chat.reset()
    assert chat.ask("And then?", max_new_tokens=5, num_beams=2).text == beams.text
