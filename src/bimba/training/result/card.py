"""What a run did in; the model card of its result out: Markdown with the front matter that the hub reads."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bimba.checkpoints.source import HUB_ID
from bimba.training.loop.counting import Counts
from bimba.training.recipe.data_settings import BIMBA_SAMPLING, Frames
from bimba.training.recipe.settings import Checkpoint, Parts, Recipe

CURVE_NAME = "loss.svg"
_MOST_SKIPPED = 50
"""Skipped samples that the card names; all of them are in `counts.json`."""
_ARXIV = {"bimba": "2503.09590", "vamba": "2503.11579"}
_WHAT = {
    "bimba": "with a selective scan between eye and words ([BIMBA](https://arxiv.org/abs/2503.09590))",
    "vamba": "that drops no token of a video: Mamba-2 mixes them, and text reads them by cross-attention "
    "([Vamba](https://arxiv.org/abs/2503.11579))",
}


@dataclass(frozen=True)
class Story:
    """What a card tells.

    Args:
        recipe: of the run.
        recipe_text: the same as YAML.
        counts: what was seen.
        sources: samples of each source.
        losses: (step, loss) of each logged step.
        facts: code, machine and versions, see `provenance`.
    """

    recipe: Recipe
    recipe_text: str
    counts: Counts
    sources: Mapping[str, int]
    losses: Sequence[tuple[int, float]]
    facts: Mapping[str, Any]


def model_card(story: Story) -> str:
    """The whole card."""
    sections = (
        _front_matter(story.recipe),
        _what_it_is(story.recipe),
        _how_to_load(story.recipe),
        _data(story),
        _settings(story.recipe),
        _losses(story),
        _made_with(story.facts),
        f"## Recipe\n\n```yaml\n{story.recipe_text.strip()}\n```",
    )
    return "\n\n".join(sections) + "\n"


def _front_matter(recipe: Recipe) -> str:
    """YAML between two rules; every value is written as JSON, which YAML contains."""
    bases = _hub_bases(recipe)
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "video-text-to-text",
        "tags": [*_tags(recipe), "video", "video-question-answering", f"arxiv:{_ARXIV[recipe.train.kind]}"],
    }
    if bases:
        fields["base_model"] = bases[0] if len(bases) == 1 else bases
        fields["base_model_relation"] = "adapter" if recipe.save.result == "adapter" else "finetune"
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(("---", *lines, "---"))


def _tags(recipe: Recipe) -> list[str]:
    return list(dict.fromkeys(("bimba", recipe.train.kind)))


def _hub_bases(recipe: Recipe) -> list[str]:
    """Hub ids that training started from; folders mean nothing to others."""
    start = recipe.model
    if isinstance(start, Checkpoint):
        names = [start.path]
    elif isinstance(start, Parts):
        names = [start.vision, start.language]
    else:
        names = []
    return [name for name in names if HUB_ID.fullmatch(name) and not Path(name).exists()]


def _what_it_is(recipe: Recipe) -> str:
    start = recipe.model
    if isinstance(start, Checkpoint):
        origin = f"`{start.path}`" + (f" on `{start.base}`" if start.base else "")
        origin += ", with a fresh compressor" if start.compressor is not None else ""
    elif isinstance(start, Parts):
        origin = f"the vision tower of `{start.vision}` and the language model `{start.language}`, which had not met"
    else:
        origin = "random weights"
    kind = "An adapter for a video language model" if recipe.save.result == "adapter" else "A video language model"
    return f"# {recipe.output.name}\n\n{kind} {_WHAT[recipe.train.kind]}, trained with `bimba train` from {origin}."


def _how_to_load(recipe: Recipe) -> str:
    frames = recipe.frames
    options = [f"num_frames={frames.count}"]
    if frames.sampling != "uniform" and frames.sampling in BIMBA_SAMPLING:
        options.append(f'sampling="{frames.sampling}"')
    if not frames.time_sentence and recipe.train.kind == "bimba":
        options.append("time_sentence=False")
    note = ""
    if recipe.save.result == "adapter":
        note = (
            '\n\nThe base is looked up where `base.json` says; `bimba.load("THIS_FOLDER", base="...")` names another '
            "place. PEFT opens the sub-folder `adapter/` on a base of the same architecture."
        )
    return f"""## Use

```python
import bimba

qa = bimba.load("THIS_FOLDER")
print(qa.ask("talk.mp4", "What happens?", {", ".join(options)}).text)
```

With transformers alone: `import bimba`, then `AutoModelForImageTextToText.from_pretrained("THIS_FOLDER")` and
`AutoProcessor.from_pretrained("THIS_FOLDER")`. {_frames_of_the_example(frames)}{note}"""


def _frames_of_the_example(frames: Frames) -> str:
    if frames.sampling in BIMBA_SAMPLING:
        return "The frames of the example are those of the training."
    return f"The example looks at as many frames as training did, which chose them by {frames.sampling!r}."


def _data(story: Story) -> str:
    rows = [(name, f"{count:,}") for name, count in story.sources.items()]
    counts, steps = story.counts, max((step for step, _ in story.losses), default=0)
    text = "## Data\n\n" + _table(("source", "samples"), [*rows, ("all", f"{sum(story.sources.values()):,}")])
    text += (
        f"\n\nSeen in {steps:,} optimizer steps: {counts.samples:,} samples, {counts.tokens:,} tokens, of which "
        f"{counts.video_tokens:,} of videos."
    )
    failed = counts.failed
    if not failed:
        return text + " No sample was skipped."
    named = [f"- `{name}`: {_on_one_line(reason)}" for name, reason in list(failed.items())[:_MOST_SKIPPED]]
    if len(failed) > _MOST_SKIPPED:
        named.append(f"- and {len(failed) - _MOST_SKIPPED:,} more, in `counts.json`")
    return text + f"\n\nSkipped because they could not be read: {len(failed):,}.\n\n" + "\n".join(named)


def _settings(recipe: Recipe) -> str:
    schedule, lora, frames = recipe.schedule, recipe.train.lora, recipe.frames
    rows = []
    for name in recipe.train.parts:
        part = recipe.train.part(name)
        rate = part.learning_rate if part.learning_rate is not None else schedule.learning_rate
        rows.append((name, part.mode if part.mode == "frozen" else f"{part.mode}, learning rate {rate:g}"))
    if any(recipe.train.part(name).mode == "lora" for name in recipe.train.parts):
        targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
        rows.append(("LoRA", f"rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, on {targets}"))
    length = f"{schedule.epochs:g} epochs" if schedule.max_steps is None else f"{schedule.max_steps} steps"
    batch = (
        f"{schedule.global_batch_size} samples a step"
        if schedule.global_batch_size is not None
        else f"{schedule.batch_size} samples a process, {schedule.accumulation} times a step"
    )
    rows += [
        ("frames", f"{frames.count}, {frames.sampling}, {'with' if frames.time_sentence else 'without'} their times"),
        ("labels", recipe.data.labels),
        ("length", length),
        ("batch", batch),
        ("learning rate", f"{schedule.learning_rate:g}, {schedule.scheduler}, warm-up {schedule.warmup:g}"),
        ("optimizer", f"{schedule.optimizer}, weight decay {schedule.weight_decay:g}"),
        ("precision", recipe.compute.precision),
        ("seed", str(schedule.seed)),
    ]
    return "## Settings\n\n" + _table(("setting", "value"), rows)


def _losses(story: Story) -> str:
    finite = [(step, loss) for step, loss in story.losses if math.isfinite(loss)]
    if not finite:
        return "## Loss\n\nNo loss was logged."
    lowest = min(finite, key=lambda entry: entry[1])
    named = (("first", finite[0]), ("last", finite[-1]), ("lowest", lowest))
    rows = [(name, str(step), f"{loss:.4f}") for name, (step, loss) in named]
    return (
        "## Loss\n\n" + _table(("loss", "step", "value"), rows) + f"\n\n![Loss over steps]({CURVE_NAME})\n\n"
        "Each logged step, and their running mean. They are losses of the training samples, and say nothing of others."
    )


def _made_with(facts: Mapping[str, Any]) -> str:
    code = facts["code"]
    gpus: dict[str, int] = {}
    for name in facts["gpus"]:
        gpus[name] = gpus.get(name, 0) + 1
    hardware = ", ".join(f"{count} x {name}" for name, count in gpus.items()) or "no GPU"
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number is not None)
    changed = "" if code is None else (" and changes to it" if code["is_dirty"] else "")
    rows = [
        ("bimba", facts["bimba"] + ("" if code is None else f", commit {code['commit']}{changed}")),
        ("hardware", f"{hardware}; {facts['processor']}, {facts['num_cores']} cores"),
        ("system", f"{facts['system']}, Python {facts['python']}"),
        ("libraries", versions),
        ("finished", facts["time"]),
    ]
    return "## Made with\n\n" + _table(("what", "which"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(_on_one_line(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
