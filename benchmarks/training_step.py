"""A training step as it is here beside the same step done naively, and how long training waits for data: a section.

Naive means: logits of all places as float32, and the compressor's block as a plain sequence of L = tokens + queries.
Each step runs in a process of its own, since memory is that of a process; the variants take turns.

Sizes: 16 frames of 27 x 27 patches, a language model of width 512 and two layers with the released vocabulary of
152,064, LoRA on it, projector and compressor trained whole, float32. The vision tower is left out: its features are
given, as they are to a frozen tower with a cache.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from bimba.cli.bench.peak import begin_peak, peak_bytes
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.ops import interleave, pool_video, query_positions
from bimba.training.loop.watching import LOG_NAME, read_log
from bimba.training.model.parts import parameter_groups, prepare_parts
from bimba.training.recipe.reading import read_recipe
from bimba.training.recipe.settings import Schedule
from bimba.training.recipe.train_settings import Lora, Part, Train
from bimba.training.run import train

FRAMES, SIDE, WIDTH, VOCABULARY, QUESTION, ANSWER = 16, 27, 512, 152_064, 60, 40
VARIANTS = {
    "as it is here": (True, True),
    "logits of all places": (False, True),
    "plain block": (True, False),
    "both naive": (False, False),
}
"""Name -> whether only learned places have logits, and whether the compressor goes in one pass."""

ROUNDS = 3
STEPS_OF_RECIPE = 60


def report() -> str:
    """Both sections."""
    return f"{step_section()}\n\n{waiting_section()}"


def step_section() -> str:
    """Speed and memory of each variant."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for turn in range(ROUNDS):
        for name in VARIANTS:
            print(f"  {name}, {turn + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", "benchmarks.training_step", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results[name].append(json.loads(done.stdout.splitlines()[-1]))
    ours = _medians(results["as it is here"])
    tokens = FRAMES * SIDE * SIDE
    lines = [
        f"## A training step: {FRAMES} frames, {tokens:,} patches, width {WIDTH}, vocabulary {VOCABULARY:,}",
        "",
        "| | samples a second | as it is here / this | peak memory above weights | this / as it is here | loss |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, measured in results.items():
        seconds, peak, loss = _medians(measured)
        lines.append(
            f"| {name} | {1 / seconds:.3g} | {seconds / ours[0]:.2f} | {peak / 1e9:.2f} GB | {peak / ours[1]:.1f} "
            f"| {loss:.6f} |"
        )
    lines += ["", f"Forward, backward and AdamW, the second step of a process; medians of {ROUNDS}, taking turns."]
    return "\n".join(lines)


def _medians(measured: list[dict[str, float]]) -> tuple[float, float, float]:
    return tuple(statistics.median(one[key] for one in measured) for key in ("seconds", "peak", "loss"))  # type: ignore[return-value]


def waiting_section() -> str:
    """The share of the time that the shipped CPU recipe waits for data."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = read_recipe(
            "cpu",
            [
                f"output={folder}/run",
                f"data.sources.0.needles.folder={folder}/needles",
                f"schedule.max_steps={STEPS_OF_RECIPE}",
            ],
        )
        train(recipe)
        lines = read_log(recipe.output / LOG_NAME)[1:]  # workers start in the first entry
    shares = [line["waiting_share"] for line in lines]
    rates = [line["samples_per_second"] for line in lines]
    return (
        f"## Waiting for data: the recipe `cpu`, {STEPS_OF_RECIPE} steps\n\n"
        f"{100 * statistics.median(shares):.1f} % of the time of a step (median of {len(shares)} log entries, largest "
        f"{100 * max(shares):.1f} %), at {statistics.median(rates):.3g} samples a second with "
        f"{recipe.data.workers} worker."
    )


def run_once(name: str) -> dict[str, float]:
    """Two steps of a variant; the second is measured."""
    learned_only, one_pass = VARIANTS[name]
    model, optimizer = _model()
    if not one_pass:
        model.compressor.forward = MethodType(_plain_forward, model.compressor)
    batch = _batch(model)
    if not learned_only:
        del batch["logits_to_keep"]
    _step(model, optimizer, batch)
    before = begin_peak()
    begun = time.perf_counter()
    loss = _step(model, optimizer, batch)
    seconds = time.perf_counter() - begun
    peak = peak_bytes()
    if before is None or peak is None:
        raise SystemExit("this system does not tell the peak of a process's memory")
    return {"seconds": seconds, "peak": float(peak - before), "loss": loss}


def _model() -> tuple[BimbaForConditionalGeneration, torch.optim.Optimizer]:
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": SIDE * 14,
        "patch_size": 14,
        "vision_use_head": False,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
    }
    torch.manual_seed(0)
    model = BimbaForConditionalGeneration(BimbaConfig(vision_config=vision, text_config=text))
    model.config.video_token_id = VOCABULARY - 1
    recipe = Train(language_model=Part(mode="lora"), lora=Lora(rank=16))
    prepare_parts(model, recipe)
    torch.nn.init.normal_(model.compressor.layers[0].mixer.out_proj.weight, std=0.02)
    model.eval()  # type: ignore[no-untyped-call] # untyped there; without dropout all variants have one loss
    return model, torch.optim.AdamW(parameter_groups(model.named_parameters(), recipe, Schedule()))


def _batch(model: BimbaForConditionalGeneration) -> dict[str, Any]:
    """One sample: a question, a video's placeholders, an answer."""
    _, height, width = model.compressor.output_grid(FRAMES, SIDE, SIDE)
    num_video_tokens = FRAMES * height * (width + 1)
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(0, VOCABULARY - 1, (QUESTION + ANSWER,), generator=generator)
    video = torch.full((num_video_tokens,), VOCABULARY - 1)
    ids = torch.cat([video, words])[None]
    labels = ids.clone()
    labels[:, :-ANSWER] = -100
    return {
        "input_ids": ids,
        "labels": labels,
        "vision_features": torch.randn(FRAMES, SIDE * SIDE, 64, generator=generator),
        "logits_to_keep": torch.arange(ids.shape[1] - ANSWER - 1, ids.shape[1] - 1),
    }


def _step(model: BimbaForConditionalGeneration, optimizer: torch.optim.Optimizer, batch: dict[str, Any]) -> float:
    loss = model(**batch, use_cache=False).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _plain_forward(compressor: Any, tokens: Tensor) -> Tensor:
    """The compressor without its one pass: every output of the joint sequence, of which the queries are kept."""
    queries = pool_video(tokens, compressor.pool, compressor.pool_mode)
    flat, rows = queries.flatten(1, -2), tokens.flatten(1, 3)
    positions = query_positions(rows.shape[1], flat.shape[1], compressor.query_position)
    outputs: Tensor = compressor.layers[-1](interleave(rows, flat, positions))
    return outputs.index_select(1, positions).reshape(queries.shape)


if __name__ == "__main__":
    print(json.dumps(run_once(sys.argv[1])))
