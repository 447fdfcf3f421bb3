"""Figures in, the sections of Markdown that the page and the model card share out."""

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.nano.bars import Judged, judge
from benchmarks.nano.comparing import MOST, differences, is_close
from benchmarks.nano.figures import NanoFigures
from benchmarks.nano.measuring import HAYSTACK, LENGTHS, SHIPPED, Measured
from benchmarks.nano.stages import Stage
from bimba.evaluation.shares import Share

_MISSING = "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; numbers stand right, the first column left."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bars_section(figures: NanoFigures) -> str:
    """Every bar, what was measured, and whether it holds."""
    judged = judge(figures.measured)
    rows = [(one.bar.words, _needed(one), *_share_cells(one.share), one.verdict) for one in judged]
    text = table(("questions", "at least", "right", "95 % interval", "questions asked", "verdict"), rows)
    verdicts = Counter(one.verdict for one in judged)
    counts = "; ".join(f"{verdict}: {count}" for verdict, count in verdicts.most_common())
    return (
        f"{text}\n\nOf {len(judged)}: {counts}. A line holds if the share reaches it. All kinds are all questions, "
        "each counted alike, and those among them that the video does not answer."
    )


def kinds_section(measured: Measured) -> str:
    """Accuracy of each kind of question, in words and by likelihood."""
    choice, rows = measured.choice, []
    for kind, share in sorted(measured.open.by_kind.items()):
        option = None if choice is None else choice.by_kind.get(kind)
        guess = None if choice is None else choice.guess_by_kind.get(kind)
        rows.append((kind, *_share_cells(share), *_share_cells(option), _MISSING if guess is None else percent(guess)))
    choice_all = (None, None, None) if choice is None else (choice.all, choice.guess, choice.mean_over_kinds)
    guess_all = _MISSING if choice_all[1] is None else percent(choice_all[1])
    rows.append(("all questions", *_share_cells(measured.open.all), *_share_cells(choice_all[0]), guess_all))
    mean = _MISSING if choice_all[2] is None else percent(choice_all[2])
    rows.append(("mean of kinds", percent(measured.open.mean_over_kinds), "", "", mean, "", "", ""))
    header = ("kind", "in words", "95 % interval", "of", "by option", "95 % interval", "of", "guessing")
    text = table(header, rows)
    if measured.refused is not None:
        text += f'\n\n"I cannot tell" was said of {_in_words(measured.refused)} questions that the video answers.'
    return text


def lengths_section(figures: NanoFigures) -> str:
    """Accuracy by length, and in videos that were never seen."""
    rows = []
    for measurement in (*LENGTHS, HAYSTACK):
        found = figures.measured.get(measurement.name)
        if found is not None:
            where = "somebody's own" if measurement.in_own_videos else "drawn"
            option = None if found.choice is None else found.choice.all
            rows.append((f"{found.frames}", where, f"{found.videos}", *_share_cells(found.open.all), *_short(option)))
    header = ("frames", "haystacks", "videos", "in words", "95 % interval", "of", "by option", "of")
    return table(header, rows)


def held_out_sentence(measured: Measured) -> str:
    """Whether pictures are known where the training split never has them."""
    held = measured.open.by_held_out
    if set(held) != {"held out", "not held out"}:
        return ""
    return (
        f"Pictures in a third of the video where no video of the training split has them: "
        f"{_in_words(held['held out'])} right; elsewhere {_in_words(held['not held out'])}."
    )


def training_section(stages: Sequence[Stage]) -> str:
    """What each stage saw, for how long."""
    columns = [_stage_column(stage) for stage in stages]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    text = table(("", *(stage.name for stage in stages)), rows)
    counted = max((stage.seen.counted_videos for stage in stages if stage.seen), default=0)
    notes = [
        "A sample is a video with the questions of a round; its frames count each time, also if its tokens were kept.",
        "Hours are those of the logged steps; what an interruption made repeat is not in them.",
        f"Questions and answer tokens are estimated from the first {counted:,} videos of a stage's random order.",
    ]
    changed = [f"- {stage.name}: {line}" for stage in stages for line in stage.changed]
    if changed:
        notes.append("Settings other than those of the shipped recipe (there) that this run had (here):")
    ran = list(dict.fromkeys(f"{stage.machine.hardware}; {stage.machine.code}" for stage in stages if stage.machine))
    made = [f"- made on {one}" for one in ran]
    return "\n\n".join([text, " ".join(notes), *(["\n".join(changed)] if changed else []), "\n".join(made)])


def weights_section(figures: NanoFigures) -> str:
    """Size and hash."""
    weights = figures.weights
    if weights is None:
        return ""
    machine = figures.stages[-1].machine
    versions = "" if machine is None else ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    rows = [
        ("parameters", f"{weights.num_parameters:,} ({', '.join(weights.dtypes)})"),
        ("model.safetensors", f"{weights.num_bytes / 1e6:.1f} MB"),
        ("its SHA-256", f"`{weights.sha256}`"),
        ("recipes", ", ".join(f"`nano/{stage.name}`" for stage in figures.stages)),
        ("code", "unknown" if machine is None else machine.code),
        ("libraries", versions or "unknown"),
        ("finished", "unknown" if machine is None else machine.time),
    ]
    return table(("what", "which"), rows).replace("---:", "---")


def reproduction_section(figures: NanoFigures) -> str:
    """Differences to a run that repeats this one."""
    again = figures.reproduction
    if again is None or SHIPPED not in figures.measured:
        return "It was not trained a second time."
    rows = []
    for name, (ours, theirs, difference) in differences(figures.measured[SHIPPED], again).items():
        close = "yes" if is_close(difference) else "no"
        rows.append(
            (name, percent(ours.accuracy), percent(theirs.accuracy), f"{difference:+.3f}", str(ours.count), close)
        )
    text = table(("kind", "this run", "again", "difference", "questions", f"within {MOST:g}"), rows)
    told = (
        f"{text}\n\nThe same questions, in words, at {SHIPPED} frames. The repeated run's model, weights and settings, "
        f"has the hash `{again.model_sha256}`"
    )
    if again.model_sha256 != figures.measured[SHIPPED].model_sha256:
        return f"{told}."
    return (
        f"{told}, which is that of this run: the same seeds gave the same weights, bit by bit. That tells nothing of "
        "other seeds; where sums are taken in another order, as on other processors, the weights may differ."
    )


def percent(share: float) -> str:
    """A share in per cent."""
    return f"{100 * share:.1f} %"


def _needed(judged: Judged) -> str:
    bar = judged.bar
    if bar.than == "itself":
        return percent(bar.least)
    words = (
        f"{bar.least:g} of that at {SHIPPED} frames"
        if bar.than == "times"
        else f"that at {SHIPPED} frames - {bar.least:g}"
    )
    return words if judged.needed is None else f"{percent(judged.needed)} ({words})"


def _share_cells(share: Share | None) -> tuple[str, str, str]:
    """Accuracy, interval and count."""
    if share is None:
        return _MISSING, _MISSING, _MISSING
    return percent(share.accuracy), f"{100 * share.low:.1f} to {100 * share.high:.1f}", f"{share.count:,}"


def _short(share: Share | None) -> tuple[str, str]:
    accuracy, _, count = _share_cells(share)
    return accuracy, count


def _in_words(share: Share) -> str:
    return f"{percent(share.accuracy)} ({100 * share.low:.1f} to {100 * share.high:.1f}) of {share.count:,}"


def _stage_column(stage: Stage) -> dict[str, str]:
    seen = stage.seen
    learned = seen is not None and seen.questions > 0
    seeds = ", ".join(str(seed) for seed in stage.data_seeds)
    return {
        "how far": stage.state,
        "steps": f"{stage.step:,} of {stage.num_steps:,}" if stage.num_steps else _MISSING,
        "samples": _MISSING if seen is None else f"{seen.samples:,}",
        "different videos": _MISSING if seen is None else f"{seen.videos:,}",
        "frames": _MISSING if seen is None else f"{seen.frames:,}",
        "tokens, videos' included": _MISSING if seen is None else f"{seen.tokens:,}",
        "questions learned, about": f"{seen.questions:,}" if seen is not None and learned else _MISSING,
        "answer tokens learned, about": f"{seen.answer_tokens:,}" if seen is not None and learned else _MISSING,
        "samples left out": _MISSING if seen is None else f"{seen.failed:,}",
        "seed; of the videos": _MISSING if stage.seed is None else f"{stage.seed}; {seeds}",
        "hours": f"{stage.seconds / 3600:.2f}" if stage.seconds else _MISSING,
        "peak memory": f"{stage.memory_gb:.1f} GB" if stage.memory_gb else _MISSING,
    }
