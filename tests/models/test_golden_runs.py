"""Every golden run of the public implementation: same ids, same logits, same greedy tokens."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import GenerationConfig

import bimba
from bimba.inference import VideoQA
from bimba.text.labels import expand_placeholders
from bimba.text.prompts import Message

LOGITS_BAR = 1e-3
PLACEHOLDER = -200


@dataclass(frozen=True)
class GoldenRun:
    """A run of the public code and the folder, prompt and pixels that reproduce it."""

    name: str
    folder: str
    prompt: str | None = None
    pixels: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


RUNS = [
    GoldenRun("lora_8", "tiny_lora", "readme_8", "lora_8"),
    GoldenRun("lora_8", "tiny_lora_safetensors", "readme_8", "lora_8"),
    GoldenRun("lora_8_mc4", "tiny_lora", "mc4", "lora_8"),
    GoldenRun("lora_16_tp4", "tiny_lora", "readme_16", "lora_16_tp4", {"temporal_pooling": 4}),
    GoldenRun("all_linear_8", "tiny_lora_all_linear", "readme_8", "lora_8"),
    GoldenRun("base_8", "tiny_base", "readme_8", "lora_8"),
    GoldenRun("text_only", "tiny_lora"),
]


@pytest.fixture(scope="module")
def tensors(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "e2e_small.safetensors")


@pytest.fixture(scope="module")
def record(golden: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((golden / "e2e.json").read_text())
    return content


def load_run(run: GoldenRun, golden: Path) -> VideoQA:
    base = None if run.folder == "tiny_base" else golden / "tiny_base"
    return bimba.load(golden / run.folder, base=base, dtype="float32", device="cpu", config_overrides=run.overrides)


def collapsed(ids: list[int], placeholder: int) -> list[int]:
    """Ids with each run of placeholders as one, under the public code's number."""
    kept: list[int] = []
    for token in ids:
        if token != placeholder:
            kept.append(token)
        elif not kept or kept[-1] != PLACEHOLDER:
            kept.append(PLACEHOLDER)
    return kept


def inputs_of(run: GoldenRun, qa: VideoQA, golden: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if run.prompt is None or run.pixels is None:
        return {"input_ids": tensors["text_only.input_ids"]}
    prompt = json.loads((golden / "prompts.json").read_text())[run.prompt]["prompt"]
    # The resized frames are stored as bytes; this gives the pixel values of the public code, bit for bit.
    pixels = (tensors[f"{run.pixels}.pixels_uint8"].float() / 255 - 0.5) / 0.5
    return dict(qa.processor([prompt], pixel_values_videos=[pixels]))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.name}-{run.folder}")
def test_run_has_the_ids_logits_and_greedy_tokens_of_the_public_code(
    run: GoldenRun, golden: Path, tensors: dict[str, Tensor], record: dict[str, Any]
) -> None:
    qa = load_run(run, golden)
    inputs = inputs_of(run, qa, golden, tensors)
    ids = inputs["input_ids"][0].tolist()
    assert collapsed(ids, qa.processor.video_token_id) == tensors[f"{run.name}.input_ids"][0].tolist()

    with torch.no_grad():
        logits = qa.model(**inputs).logits
    assert logits.shape[-1] == 1024, "all embedding rows are kept"
    wanted = tensors[f"{run.name}.logits"]
    positions = tensors.get(f"{run.name}.positions")
    compared = logits if positions is None else logits[:, positions]
    assert compared[..., :1003].shape == wanted.shape
    assert (compared[..., :1003] - wanted).abs().max() < LOGITS_BAR

    if run.name == "text_only":
        return
    expected = record[run.name]["greedy"]["as_loaded_generation_config"]["ids"]
    output = qa.model.generate(**inputs, do_sample=False, temperature=1.0, top_p=1.0, top_k=50, max_new_tokens=24)
    assert output[0, len(ids) :].tolist() == expected


@pytest.mark.parametrize("penalty", ["1.0", "1.05", "1.3", "2.0"])
def test_repetition_penalty_sees_new_tokens_only(
    penalty: str, golden: Path, tensors: dict[str, Tensor], record: dict[str, Any]
) -> None:
    qa = load_run(RUNS[0], golden)
    inputs = inputs_of(RUNS[0], qa, golden, tensors)
    expected = record["generate_variants_readme_8"][f"rp{penalty}_96_no_eos"]["ids"]
    output = qa.model.generate(
        **inputs,
        do_sample=False,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        max_new_tokens=96,
        repetition_penalty=float(penalty),
        eos_token_id=-1,
    )
    assert output[0, inputs["input_ids"].shape[1] :].tolist() == expected


@pytest.mark.parametrize("ends", [[362], [725, 714]])
def test_generation_stops_at_end_tokens_and_returns_them(
    ends: list[int], golden: Path, tensors: dict[str, Tensor], record: dict[str, Any]
) -> None:
    qa = load_run(RUNS[0], golden)
    inputs = inputs_of(RUNS[0], qa, golden, tensors)
    output = qa.model.generate(
        **inputs,
        do_sample=False,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        max_new_tokens=96,
        repetition_penalty=1.0,
        eos_token_id=ends,
    )
    new = output[0, inputs["input_ids"].shape[1] :].tolist()
    assert new == record["generate_variants_readme_8"][f"rp1.0_eos_{ends}"]["ids"]


def test_lora_changes_the_answer(golden: Path, tensors: dict[str, Tensor]) -> None:
    """The bar means something: without the adapter the same question gets other logits by far."""
    pair, base = (load_run(RUNS[index], golden) for index in (0, 5))
    with torch.no_grad():
        with_adapter = pair.model(**inputs_of(RUNS[0], pair, golden, tensors)).logits
        without = base.model(**inputs_of(RUNS[0], base, golden, tensors)).logits
    assert (with_adapter - without).abs().max() > 1.0


@pytest.mark.parametrize(("folder", "state"), [("tiny_lora", "trained"), ("tiny_base", "zero_init")])
def test_training_loss_is_that_of_the_public_code(
    folder: str, state: str, golden: Path, tensors: dict[str, Tensor]
) -> None:
    """A conversation of two turns; the untrained adapter is a zero change, so the base alone stands for it."""
    qa = load_run(GoldenRun(state, folder), golden)
    sample = json.loads((golden / "train_step.json").read_text())
    turns = sample["sample"][0]["conversations"]
    first = Message("user", sample["first_message_after_one_fetch"])
    rest = [Message("user" if turn["from"] == "human" else "assistant", turn["value"]) for turn in turns[1:]]
    placeholder = qa.processor.video_token_id
    ids, labels = qa.processor.training_ids_and_labels([first, *rest])
    ids, labels = expand_placeholders(ids, labels, placeholder, [qa.processor.num_video_tokens(8)])
    golden_labels = load_file(golden / "train_step_small.safetensors")
    assert labels == golden_labels["trained.expanded_labels"][0].tolist()
    with torch.no_grad():
        loss = qa.model(
            input_ids=torch.tensor([ids]),
            labels=torch.tensor([labels]),
            pixel_values_videos=(tensors["lora_8.pixels_uint8"].float() / 255 - 0.5) / 0.5,
        ).loss
    assert abs(loss - golden_labels[f"{state}.loss"]) < 1e-4


def test_assistance_by_looking_up_the_prompt_changes_no_token(golden: Path, tensors: dict[str, Tensor]) -> None:
    """Decoding tricks that read token ids must not make the model read placeholders in place of the video."""
    qa = load_run(RUNS[0], golden)
    inputs = inputs_of(RUNS[0], qa, golden, tensors)
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 16, "repetition_penalty": 1.0, "eos_token_id": -1}
    plain = qa.model.generate(**inputs, **options)
    looked_up = qa.model.generate(**inputs, **options, prompt_lookup_num_tokens=3)
    assert looked_up.tolist() == plain.tolist()
    with pytest.raises(ValueError, match="assistant_model"):
        qa.model.generate(**inputs, **options, assistant_model=qa.model.language_model)


def test_result_as_a_dictionary_holds_prompt_and_answer(golden: Path, tensors: dict[str, Tensor]) -> None:
    qa = load_run(RUNS[0], golden)
    inputs = inputs_of(RUNS[0], qa, golden, tensors)
    plain = qa.model.generate(**inputs, do_sample=False, max_new_tokens=4)
    result = qa.model.generate(
        **inputs, do_sample=False, max_new_tokens=4, return_dict_in_generate=True, output_scores=True
    )
    assert result.sequences.tolist() == plain.tolist()
    assert len(result.scores) == 4


def test_callers_generation_config_leaves_the_models_own_defaults(golden: Path, tensors: dict[str, Tensor]) -> None:
    qa = load_run(RUNS[0], golden)
    inputs = inputs_of(RUNS[0], qa, golden, tensors)
    by_words = qa.model.generate(**inputs, do_sample=False, max_new_tokens=90)
    by_config = qa.model.generate(**inputs, generation_config=GenerationConfig(do_sample=False, max_new_tokens=90))
    assert by_config.tolist() == by_words.tolist()
    without_penalty = qa.model.generate(**inputs, do_sample=False, max_new_tokens=90, repetition_penalty=1.0)
    assert without_penalty.tolist() != by_words.tolist(), "the checkpoint's penalty was at work"
