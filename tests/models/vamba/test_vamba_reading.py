"""What a video leaves behind is the same however it came: whole, in pieces, in a batch, for one question or several."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.cross_attention import CrossAttention
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.tiny import tiny_config, tiny_vamba
from bimba.models.vamba.video_stream import Pictures

GRIDS = torch.tensor([[5, 4, 6], [2, 4, 4], [1, 8, 2]])


def pixels(grids: Tensor = GRIDS) -> Tensor:
    """Random patches of some videos."""
    return torch.randn(int(grids.prod(-1).sum()), 1176, generator=torch.Generator().manual_seed(1))


def model_with(*, positions: bool = False, norm: bool = False, implementation: str = "sdpa") -> Any:
    config = tiny_config()
    config.cross_attn_use_position_embeddings, config.cross_attn_use_layer_norm = positions, norm
    config._attn_implementation = implementation
    model = tiny_vamba(config)
    # Fresh weights are small: with larger ones a mistake is seen.
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
            if name.endswith("alpha"):
                weight.fill_(0.4)
    return model


def prompt(length: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 400, (1, length), generator=torch.Generator().manual_seed(seed))


OPPOSITES = pytest.mark.parametrize("special", [False, True], ids=["default", "opposite"])


@OPPOSITES
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_video_in_pieces_is_the_whole_video(size: int, special: bool) -> None:
    model, grid = model_with(positions=special, norm=special), GRIDS[:1]
    frames = pixels(grid).split(24)
    whole = model.read_videos(model.gather(Pictures(pixels(grid), grid), 1))
    pieces = [
        Patches(torch.cat(frames[begin : begin + size]), (len(frames[begin : begin + size]), 4, 6))
        for begin in range(0, 5, size)
    ]
    streamed = model.encode_stream(pieces, 10)
    assert streamed.num_tokens == whole.num_tokens == (30,)
    for one, other in zip(streamed.layers, whole.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(one.values, other.values, atol=2e-5, rtol=1e-5)
    ids = prompt(7)
    with torch.no_grad():
        expected = model(ids, pixel_values_videos=pixels(grid), video_grid_thw=grid).logits
        torch.testing.assert_close(model(ids, video_features=streamed).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("told", [1, 10, 64], ids=["too few", "as many", "too many"])
def test_room_for_a_video_is_made_once_if_its_frames_are_as_many_as_told(told: int) -> None:
    model, frames = model_with(), pixels(GRIDS[:1]).split(24)
    whole = model.encode_stream([Patches(torch.cat(frames), (5, 4, 6))], 10)
    streamed = model.encode_stream([Patches(frame, (1, 4, 6)) for frame in frames], told)
    assert streamed.num_tokens == (30,)
    for one, other in zip(streamed.layers, whole.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(one.values, other.values, atol=2e-5, rtol=1e-5)
        for part in one:
            assert part.untyped_storage().nbytes() == part.nbytes  # no room is left over


def test_context_may_be_kept_in_less_room() -> None:
    model, grid = model_with(), GRIDS[:1]
    exact = model.encode_stream([Patches(pixels(grid), (5, 4, 6))], 10)
    model.keep_on, model.keep_as = "cpu", torch.bfloat16
    kept = model.encode_stream([Patches(pixels(grid), (5, 4, 6))], 10)
    assert kept.num_bytes * 2 == exact.num_bytes == 3 * 2 * 2 * 30 * 16 * 4
    for one, other in zip(kept.layers, exact.to(dtype=torch.bfloat16).layers, strict=True):
        assert one.keys.equal(other.keys)
        assert one.values.equal(other.values)
    with torch.no_grad():
        read = model(prompt(5), video_features=kept).logits
        torch.testing.assert_close(read, model(prompt(5), video_features=exact).logits, atol=0.05, rtol=0.05)


@OPPOSITES
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_row_of_a_batch_is_what_it_is_alone(implementation: str, special: bool) -> None:
    """Rows with two videos, with none, and with one; padded on the left, as for generation."""
    model = model_with(positions=special, norm=special, implementation=implementation)
    lengths, videos = [6, 9, 4], [2, 0, 1]
    rows = [prompt(length, seed=length) for length in lengths]
    ids = torch.cat([torch.nn.functional.pad(row, (9 - row.shape[1], 0)) for row in rows])
    mask = (torch.arange(9) >= 9 - torch.tensor(lengths)[:, None]).long()
    batch = {"pixel_values_videos": pixels(), "video_grid_thw": GRIDS, "num_videos": torch.tensor(videos)}
    with torch.no_grad():
        together = model(ids, attention_mask=mask, **batch).logits
        answers = model.generate(
            ids, attention_mask=mask, **batch, max_new_tokens=6, do_sample=False, eos_token_id=None
        )
    for row, (own, length) in enumerate(zip(rows, lengths, strict=True)):
        grids = GRIDS[sum(videos[:row]) : sum(videos[: row + 1])]
        begin = int(GRIDS[: sum(videos[:row])].prod(-1).sum())
        alone: dict[str, Any] = {}
        if len(grids):
            own_pixels = pixels()[begin : begin + int(grids.prod(-1).sum())]
            alone = {"pixel_values_videos": own_pixels, "video_grid_thw": grids}
        with torch.no_grad():
            expected = model(own, **alone).logits[0]
            torch.testing.assert_close(together[row, -length:], expected, atol=1e-4, rtol=1e-4)
            answer = model.generate(own, **alone, max_new_tokens=6, do_sample=False, eos_token_id=None)
        assert answers[row, -6:].tolist() == answer[0, -6:].tolist()


def test_text_alone_is_read_as_qwen2_vl_reads_it() -> None:
    model = model_with()
    text = model.config.text_config.to_dict()
    plain = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(text_config=text, vision_config=model.config.vision_config.to_dict())
    ).eval()
    ours = model.state_dict()
    renamed = {
        name: ours[name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")]
        for name in plain.state_dict()
    }
    plain.load_state_dict(renamed)
    ids = prompt(12)
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
    answers = [one.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None) for one in (model, plain)]
    assert answers[0].equal(answers[1])


@OPPOSITES
def test_beams_read_one_video_as_copies_of_it_would(special: bool) -> None:
    model, grids = model_with(positions=special, norm=special), GRIDS[:2]
    ids = torch.cat([prompt(6, seed=1), prompt(6, seed=2)])
    inputs = {"pixel_values_videos": pixels(grids), "video_grid_thw": grids}
    context = model.read_videos(model.gather(Pictures(pixels(grids), grids), 2))
    with torch.no_grad():
        rows = ids.repeat_interleave(3, dim=0) + torch.arange(3).repeat(2)[:, None]
        shared = model(rows, video_features=context).logits
        copies = torch.cat([pixels(grids).split([120, 32])[row // 3] for row in range(6)])
        expected = model(rows, pixel_values_videos=copies, video_grid_thw=grids.repeat_interleave(3, dim=0)).logits
    torch.testing.assert_close(shared, expected, atol=1e-4, rtol=1e-4)
    found = model.generate(
        ids, **inputs, max_new_tokens=5, num_beams=3, num_return_sequences=2, do_sample=False, eos_token_id=None,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    with torch.no_grad():
        logits = model(found.sequences, video_features=context).logits[:, 5:-1].log_softmax(-1)
    likelihood = logits.gather(2, found.sequences[:, 6:, None]).mean((1, 2))
    torch.testing.assert_close(found.sequences_scores, likelihood, atol=1e-4, rtol=1e-4)
    assert not found.sequences[0].equal(found.sequences[1])


def test_cache_and_context_go_on_where_the_prompt_ended() -> None:
    model, grid = model_with(positions=True), GRIDS[:1]
    ids = prompt(9)
    with torch.no_grad():
        whole = model(ids, pixel_values_videos=pixels(grid), video_grid_thw=grid).logits
        begun = model(ids[:, :5], pixel_values_videos=pixels(grid), video_grid_thw=grid, use_cache=True)
        rest = model(ids[:, 5:], past_key_values=begun.past_key_values, video_features=begun.video_features)
    torch.testing.assert_close(rest.logits, whole[:, 5:], atol=1e-4, rtol=1e-4)


def test_weights_of_attention_to_the_video() -> None:
    model = model_with(implementation="eager")
    inputs = {"pixel_values_videos": pixels(), "video_grid_thw": GRIDS, "num_videos": [2, 0, 1]}
    ids = torch.cat([prompt(4, seed) for seed in range(3)])
    with torch.no_grad():
        output = model(ids, **inputs, output_attentions=True)
    assert len(output.cross_attentions) == len(output.attentions) == 3
    assert output.cross_attentions[0].shape == (3, 4, 4, 38)
    for row, length in ((0, 38), (2, 4)):
        weights = output.cross_attentions[0][row]
        torch.testing.assert_close(weights[..., :length].sum(-1), torch.ones(4, 4))
    with pytest.raises(ValueError, match="eager"):
        model_with()(ids, **inputs, output_attentions=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_model_is_the_same(dtype: torch.dtype, tmp_path: Path) -> None:
    model_with().save_pretrained(tmp_path / "first")
    model: Any = VambaForConditionalGeneration.from_pretrained(tmp_path / "first", dtype=dtype)
    model.save_pretrained(tmp_path / "second")
    again: Any = VambaForConditionalGeneration.from_pretrained(tmp_path / "second")
    assert again.config.mixer == model.config.mixer
    assert {weight.dtype for name, weight in again.named_parameters() if "A_log" not in name} == {dtype}
    assert again.model.layers[0].vision_mixer.mixer.A_log.dtype == torch.float32
    inputs = {"pixel_values_videos": pixels(GRIDS[:1]), "video_grid_thw": GRIDS[:1]}
    with torch.no_grad():
        assert again(prompt(5), **inputs).logits.equal(model(prompt(5), **inputs).logits)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input_ids": None}, "exactly one of input_ids"),
    ({"video_grid_thw": None}, "need their grids"),
    ({"num_videos": [1]}, r"1 rows with \[1\] videos are told of, but 3 are given"),
    ({"num_videos": [1, 2]}, r"1 rows with \[1, 2\] videos"),
    ({"video_grid_thw": GRIDS[:2]}, "have 152 patches, pixel_values has 168"),
    ({"pixel_values": torch.zeros(4, 1176), "image_grid_thw": GRIDS[:1]}, "images or videos, not both"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_inputs_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    inputs = {"input_ids": prompt(4), "pixel_values_videos": pixels(), "video_grid_thw": GRIDS}
    with pytest.raises(ValueError, match=message):
        model_with()(**inputs | change)


def test_bytes_are_not_taken_for_pixels() -> None:
    model, grid = model_with(), GRIDS[:1]
    with pytest.raises(ValueError, match="are bytes; normalise them first"):
        model(prompt(4), pixel_values_videos=pixels(grid).to(torch.uint8), video_grid_thw=grid)


def test_two_forwards_may_wait_for_one_backward() -> None:
    model, grid = model_with().train(), GRIDS[:1]
    inputs = {"pixel_values_videos": pixels(grid), "video_grid_thw": grid, "labels": prompt(6)}
    model(prompt(6), **inputs).loss.backward()
    once = [layer.alpha.grad.clone() for layer in model.model.layers]
    model.zero_grad()
    (model(prompt(6), **inputs).loss + model(prompt(6), **inputs).loss).backward()
    for layer, gradient in zip(model.model.layers, once, strict=True):
        torch.testing.assert_close(layer.alpha.grad, 2 * gradient, atol=1e-6, rtol=1e-5)


def test_nothing_is_cached_where_activations_are_computed_again(caplog: pytest.LogCaptureFixture) -> None:
    model, grid = model_with().train(), GRIDS[:1]
    new_name = hasattr(model, "activation_checkpointing_enable")
    (model.activation_checkpointing_enable if new_name else model.gradient_checkpointing_enable)(
        {"use_reentrant": False}
    )
    output = model(prompt(6), pixel_values_videos=pixels(grid), video_grid_thw=grid, labels=prompt(6), use_cache=True)
    assert "nothing is cached" in caplog.text
    assert output.past_key_values is None
    output.loss.backward()


def test_contexts_of_samples_are_joined_to_those_of_a_batch() -> None:
    model = model_with()
    one, other = (
        model.encode_stream([Patches(pixels(GRIDS[row : row + 1]), tuple(GRIDS[row].tolist()))], 0) for row in (0, 1)
    )
    rows = torch.cat([prompt(5, seed) for seed in range(3)])
    with torch.no_grad():
        together = model(rows, video_features=[one, None, other]).logits
        for row, context in enumerate((one, None, other)):
            alone = model(rows[row : row + 1], video_features=context).logits
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)
    for wrong, message in (
        ([one, other], "2 contexts of videos for 3 rows"),
        ([one, other, torch.zeros(3)], "something else is among them"),
        ([one, other, tiny_vamba(tiny_config(num_layers=2)).encode_stream([Patches(pixels(GRIDS[:1]), (5, 4, 6))], 0)],
         "other numbers of layers"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            model(rows, video_features=wrong)


def test_masks_of_pairs_may_be_numbers() -> None:
    model, grid = model_with(), GRIDS[:1]
    inputs = {"pixel_values_videos": pixels(grid), "video_grid_thw": grid}
    sees = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    with torch.no_grad():
        usual = model(prompt(6), **inputs).logits
        for mask in (sees, sees.long(), torch.zeros(sees.shape).masked_fill(~sees, -1e9)):
            torch.testing.assert_close(model(prompt(6), attention_mask=mask, **inputs).logits, usual)


def test_context_is_kept_elsewhere_whoever_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, grid = model_with(), GRIDS[:1]
    inputs = {"pixel_values_videos": pixels(grid), "video_grid_thw": grid}
    model.keep_on, model.keep_as = "cpu", torch.bfloat16
    asked: list[Any] = []
    move = torch.Tensor.to

    def noted(self: Tensor, *how: Any, **named: Any) -> Tensor:
        asked.append(how)
        return move(self, *how, **named)

    monkeypatch.setattr(torch.Tensor, "to", noted)
    with torch.no_grad():
        read = model.read_videos(model.gather(Pictures(pixels(grid), grid), 1))
        kept = [read, model(prompt(4), **inputs).video_features]
    assert asked.count(("cpu", torch.bfloat16)) == 2 * 2 * 3  # keys and values of three layers, twice
    for context in kept:
        assert {part.dtype for layer in context.layers for part in layer} == {torch.bfloat16}


MISPLACED: list[tuple[dict[str, Any], str]] = [
    ({"video_grid_thw": GRIDS}, "whose pixels are not given"),
    ({"pixel_values_videos": torch.zeros(4, 1176), "video_grid_thw": torch.tensor([[1, 2, 2]]), "num_images": [1]},
     "whose pixels are not given"),
    ({"pixel_values_videos": torch.zeros(6, 1176), "video_grid_thw": torch.tensor([[1, 2, 3]])}, "whole squares"),
    ({"pixel_values_videos": torch.zeros(4, 1176), "video_grid_thw": torch.tensor([[-1, 2, -2]])}, "whole squares"),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "message"), MISPLACED)
def test_inputs_that_would_be_ignored_or_misread_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_with()(prompt(4), **inputs)


def test_flash_attention_reads_each_sample_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels are not here; what it is called with is, and a stand-in without masks computes the same."""
    model = model_with()
    rows = torch.cat([prompt(5, seed) for seed in range(3)])
    inputs = {"pixel_values_videos": pixels(), "video_grid_thw": GRIDS}
    with torch.no_grad():
        usual = model(rows, **inputs).logits

        def maskless(
            module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **_: Any
        ) -> tuple[Tensor, None]:
            assert mask is None
            groups = module.num_key_value_groups
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
            read = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=module.scaling)
            return read.transpose(1, 2), None

        attend = CrossAttention._attend

        def as_flash(self: CrossAttention, *how: Any) -> Any:
            with monkeypatch.context() as patched:
                patched.setattr(self.config, "_attn_implementation_internal", "flash_attention_2")
                patched.setattr(ALL_ATTENTION_FUNCTIONS, "get_interface", lambda *_: maskless)
                return attend(self, *how)

        monkeypatch.setattr(CrossAttention, "_attend", as_flash)
        torch.testing.assert_close(model(rows, **inputs).logits, usual, atol=1e-4, rtol=1e-4)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown mixer settings"):
        VambaConfig(mixer={"d_stat": 3})
    with pytest.raises(ValueError, match="whole number of at least 1"):
        VambaConfig(mixer={"d_state": 0})
    with pytest.raises(ValueError, match="cannot be cut into heads"):
        VambaConfig(mixer={"headdim": 50})
    with pytest.raises(ValueError, match="vision tokens are 64 wide, the language model 3584"):
        VambaConfig(vision_config={"hidden_size": 64})
    for wrong in ({"dt_limit": [5, 1]}, {"A_init_range": [0, 1]}, {"dt_min": "x"}, {"dt_limit": 3}):
        with pytest.raises(ValueError, match="mixer setting"):
            VambaConfig(mixer=wrong)
    with pytest.raises(ValueError, match="no mrope_section"):
        VambaConfig(text_config={"hidden_size": 3584})
