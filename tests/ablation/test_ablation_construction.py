"""What pooling cannot tell by construction, and the scan can: frames of a real video, two of them swapped."""

from pathlib import Path

import pytest
import torch
from ablation_runs import recipes
from torch import Tensor

from bimba.ablation.contenders import CONTENDERS, SHAPES
from bimba.ablation.measuring import measurements
from bimba.ablation.plan import Run, recipe_of
from bimba.ablation.settings import Settings
from bimba.evaluation.needles.asked import asked_videos
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.training.model.start import start_bimba
from bimba.training.recipe.settings import Recipe
from needle_model import make_needle_model


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_needle_model(tmp_path_factory.mktemp("start") / "model"))


def pair_swapped(recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Tokens that the language model reads of a video, and of the same with its two paired frames swapped."""
    model, processor = start_bimba(recipe)
    fill(model)
    asked = next(asked_videos(measurements("m", 1)["within_window"]))
    earlier, later = (needle.first_frame for needle in asked.video.record.questions[0].evidence)
    frames = list(asked.video.frames())
    swapped = list(frames)
    swapped[earlier], swapped[later] = frames[later], frames[earlier]
    with torch.no_grad():
        both = [
            model.encode_features(model.get_vision_features(processor.make_pixels(each)))[0]
            for each in (frames, swapped)
        ]
    return both[0], both[1]


def fill(model: BimbaForConditionalGeneration) -> None:
    """Let a fresh compressor do something: its last projection starts at zero."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.compressor.named_parameters():
        if name.endswith("out_proj.weight") or "o_proj" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=generator)


@pytest.mark.parametrize("factor", SHAPES)
def test_pooling_is_the_same_with_the_pair_swapped(factor: int, start: str) -> None:
    recipe = recipe_of(Run("pooling", factor, 0), Settings(start=start), Path("out"))
    there, swapped = pair_swapped(recipe)
    assert there.shape == swapped.shape
    torch.testing.assert_close(there, swapped, rtol=1e-5, atol=1e-5)


# Behind all tokens a fresh state has forgotten nearly all of the pair; only learning could keep it.
FORGETS = ("pooling", "none", "queries_at_the_end")


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name not in FORGETS])
def test_every_other_compressor_could_tell(name: str, start: str) -> None:
    there, swapped = pair_swapped(recipes((name,), start)[name])
    assert (there - swapped).abs().max() > 1e-3 * there.abs().max()


def test_nothing_is_lost_without_compression(start: str) -> None:
    there, swapped = pair_swapped(recipes(("none",), start)["none"])
    assert not torch.equal(there, swapped)
    torch.testing.assert_close(there.sum(0), swapped.sum(0), rtol=1e-4, atol=1e-4)
