"""One training step of the released model's size, with random weights: its time and memory, as a section.

`python -m benchmarks.released_step` needs a GPU with 80 GB. LoRA of rank 128 on vision tower and language model,
projector and compressor trained whole, 64 frames, 13,440 video tokens, bfloat16 with trained weights in float32,
gradient checkpointing: the recipe `bimba_llava_qwen2_7b` on one GPU. `--tiny` takes the tiny model, anywhere.
"""

import argparse
import statistics
import sys
import time

import torch

from benchmarks.reports import write_report
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_config
from bimba.training.model.parts import Trained, parameter_groups, prepare_parts
from bimba.training.recipe.reading import read_recipe

FRAMES, QUESTION, ANSWER, STEPS = 64, 300, 100, 3
RECIPE = "bimba_llava_qwen2_7b"


def report(config: BimbaConfig, device: torch.device) -> str:
    """Measure steps on a device."""
    recipe = read_recipe(RECIPE)
    model, trained = _model(config, device)
    groups = parameter_groups(model.named_parameters(), recipe.train, recipe.schedule)
    optimizer = torch.optim.AdamW(groups, fused=device.type == "cuda")
    side, patch = int(config.vision_config.image_size), int(config.vision_config.patch_size)
    _, height, width = model.compressor.output_grid(FRAMES, side // patch, side // patch)
    num_video_tokens = FRAMES * height * (width + 1)
    placeholder = int(config.text_config.vocab_size) - 1
    config.video_token_id = placeholder
    words = torch.randint(0, placeholder, (1, QUESTION + ANSWER))
    ids = torch.cat([torch.full((1, num_video_tokens), placeholder), words], dim=1).to(device)
    labels = ids.clone()
    labels[:, :-ANSWER] = -100
    pixels = torch.randn(FRAMES, 3, side, side, device=device)
    kept = torch.arange(ids.shape[1] - ANSWER - 1, ids.shape[1] - 1, device=device)
    seconds, losses = [], []
    for _ in range(1 + STEPS):
        _wait(device)
        begun = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(
                input_ids=ids, labels=labels, pixel_values_videos=pixels, logits_to_keep=kept, use_cache=False
            ).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        _wait(device)
        seconds.append(time.perf_counter() - begun)
    peak = f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB" if device.type == "cuda" else "not counted here"
    size = f"{trained.num_all / 1e9:.3g} billion weights, {trained.num_parameters / 1e6:.3g} million of them trained"
    prompt = f"{FRAMES} frames, {num_video_tokens:,} video tokens in a prompt of {ids.shape[1]:,}, on {_name(device)}"
    speed = f"{statistics.median(seconds[1:]):.2f} s a step (median of {STEPS} after the first, of {seconds[0]:.2f} s)"
    shown = ", ".join(f"{loss:.3f}" for loss in losses)
    return f"## A training step of {size}\n\n{prompt}: {speed}, peak memory {peak}. Losses: {shown}."


def _model(config: BimbaConfig, device: torch.device) -> tuple[BimbaForConditionalGeneration, Trained]:
    """The model with random weights, made where it is used, in bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = BimbaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    trained = prepare_parts(model, read_recipe(RECIPE).train)
    # transformers renamed the switch; before 5.2x it has only the old name.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
    model.train()
    return model.to(device), trained  # type: ignore[arg-type] # the wrapper in transformers hides the signature


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"


def main() -> None:
    """Measure, print, write results/<date>-released-step.md; the tiny model is only printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="the tiny model, anywhere")
    if parser.parse_args().tiny:
        print(report(tiny_config(320), torch.device("cpu")))
        return
    if not torch.cuda.is_available():
        sys.exit("the released size needs a GPU with 80 GB; --tiny tries the script without one")
    section = report(BimbaConfig(), torch.device("cuda"))
    print(section)
    print(f"written to {write_report('Training step', [section], suffix='-released-step')}")


if __name__ == "__main__":
    main()
