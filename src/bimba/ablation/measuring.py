"""A trained model in, shares of right answers about videos that training has not seen out.

Two evaluations on needle videos of the split `test`. One asks for the order of two needles that share a window of four
frames; whoever knows that one of the two is right, and not which, is right half of the time. The other asks questions
of all kinds about videos without such a pair.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bimba.evaluation.needles import NeedleEvaluation, Progress, evaluate_needles

PAIR = "pair"
"""Kind of the question about two needles in one window."""
WINDOW = 4
FRAMES = 32
_VIDEOS_A_VIDEO = 8
"""Videos with a pair for each one without: these are asked about a dozen things."""
_SHARED: dict[str, Any] = {
    "frames": (FRAMES,),
    "sizes": ((128, 72),),
    "needle_kinds": ("shape", "digit", "letter", "caption"),
    "dtype": "float32",
}

MEASURES = ("within_window", "all_kinds")
Report = Callable[[int, int], None]


def measurements(model: str, videos: int) -> dict[str, NeedleEvaluation]:
    """What is asked, by the name of the measure.

    Args:
        model: folder.
        videos: with a pair.
    """
    within = {"videos": videos, "kinds": (PAIR,), "needles": (2, 3), "pair_window": WINDOW, "unknown": 0}
    others = {"videos": -(-videos // _VIDEOS_A_VIDEO), "needles": (1, 4), "unknown": 1}
    return {
        name: NeedleEvaluation.checked({"model": model} | _SHARED | values)
        for name, values in zip(MEASURES, (within, others), strict=True)
    }


def measure(model: Path, videos: int, out: Path, report: Report) -> dict[str, Any]:
    """Ask a trained model; what was answered before an interruption stays.

    Args:
        model: folder.
        videos: with a pair.
        out: folder, in which each measure gets its own.
        report: told of the frames that are through, and of all there are.

    Returns:
        "within_window", "within_window_by_option" (the likelier of the two) and "all_kinds" (mean over kinds), each 0
        to 1; "by_kind" of the second; "counts" of questions; "intervals" of each share for these questions (Wilson).

    Raises:
        InputError: the folder holds another run.
        CheckpointError: the model cannot be loaded.
    """
    asked = measurements(str(model), videos)
    total = sum(sum(settings.frames) * settings.videos for settings in asked.values())
    results, before = {}, 0
    for name, settings in asked.items():

        def tell(progress: Progress, before: int = before) -> None:
            report(before + progress.done, total)

        results[name] = evaluate_needles(settings, out / name, device="cpu", on_progress=tell).results
        before += sum(settings.frames) * settings.videos
    return summary(results["within_window"], results["all_kinds"])


def summary(within: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """What an ablation keeps of the results of its two evaluations; see `measure`."""
    pair, option = within["open"]["by_kind"][PAIR], within["choice"]["by_kind"][PAIR]
    kinds = others["open"]["by_kind"]
    everything = others["open"]["all"]
    return {
        "within_window": pair["accuracy"],
        "within_window_by_option": option["accuracy"],
        "all_kinds": everything["mean_over_kinds"],
        "by_kind": {kind: share["accuracy"] for kind, share in kinds.items()},
        "counts": {
            "within_window": pair["count"],
            "all_kinds": everything["micro"]["count"],
            "by_kind": {kind: share["count"] for kind, share in kinds.items()},
        },
        "intervals": {
            "within_window": [pair["low"], pair["high"]],
            "within_window_by_option": [option["low"], option["high"]],
        },
    }
