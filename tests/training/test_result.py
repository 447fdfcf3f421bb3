"""The result of a run: the model as it was trained, in either form, with everything that is to be known of it."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import bimba
from adapted_models import distance, logits
from bimba.checkpoints import folder as folder_module
from bimba.checkpoints.tensors import open_folder
from bimba.errors import CheckpointError, InputError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.training.loop.counting import Counts
from bimba.training.model.parts import prepare_parts
from bimba.training.model.start import start_bimba
from bimba.training.recipe.reading import recipe_as_yaml
from bimba.training.recipe.settings import Recipe
from bimba.training.result.card import Story, model_card
from bimba.training.result.folder import RunFacts, describe_start, write_result
from bimba.training.result.loss_curve import loss_curve

LORA_AND_PROJECTOR = {
    "compressor": {"mode": "full"},
    "projector": {"mode": "full", "learning_rate": 1e-3},
    "separators": {"mode": "full"},
    "language_model": {"mode": "lora"},
    "lora": {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj"]},
}
COUNTS = Counts(samples=12, tokens=3456, video_tokens=3000, failed={"videos/a.mp4#3": "ends after\n2 of 9 frames"})
HISTORY = [{"step": step, "loss": 4.0 / step, "grad_norm": 1.0} for step in range(1, 7)] + [{"step": 7, "loss": 0.9}]


def make_recipe(path: Path | str, result: str = "merged", precision: str = "float32", **changes: Any) -> Recipe:
    model = {"start": "checkpoint", "path": str(path)} | changes.pop("model", {})
    settings = {
        "output": "runs/night shift",
        "model": model,
        "train": LORA_AND_PROJECTOR,
        "data": {"sources": [{"json_path": "x.json"}]},
        "compute": {"precision": precision},
        "save": {"result": result},
    }
    return Recipe.model_validate(settings | changes)


def train(recipe: Recipe) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    """Start as a run does, and move whatever is trained."""
    model, processor = start_bimba(recipe)
    prepare_parts(model, recipe.train)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model.eval()  # type: ignore[no-untyped-call] # untyped there
    return model, processor


def facts(recipe: Recipe, **changes: Any) -> RunFacts:
    base, dtype = describe_start(recipe)
    told: dict[str, Any] = {
        "recipe": recipe,
        "recipe_text": recipe_as_yaml(recipe),
        "counts": COUNTS,
        "sources": {"needles | a": 10, "x.json": 4},
        "history": HISTORY,
        "base": base,
        "dtype": dtype,
    }
    return RunFacts(**(told | changes))


@pytest.mark.parametrize("result", ["merged", "adapter"])
def test_result_is_the_model_that_was_trained(model: Path, tmp_path: Path, result: str) -> None:
    recipe = make_recipe(model, result)
    trained, processor = train(recipe)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    expected = logits(trained, processor)
    write_result(tmp_path / "model", trained, processor, facts(recipe))
    qa = bimba.load(tmp_path / "model", device="cpu")
    assert distance(logits(qa.model, qa.processor), expected) < 1e-5
    for auto in (AutoModelForImageTextToText, BimbaForConditionalGeneration):
        again = auto.from_pretrained(tmp_path / "model")
        assert distance(logits(again, AutoProcessor.from_pretrained(tmp_path / "model")), expected) < 1e-5
        assert again.generation_config.repetition_penalty == 1.3
    assert qa.ask(None, "hello", max_new_tokens=3).token_ids
    assert "use_cache" not in json.loads((tmp_path / "model" / "config.json").read_text())
    state = trained.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.items())
    assert state.keys() == before.keys()


@pytest.mark.parametrize("result", ["merged", "adapter"])
def test_fresh_compressor_that_is_not_trained_is_kept(golden: Path, tmp_path: Path, result: str) -> None:
    """It has the base's shapes, so that only the recipe tells that it is another."""
    pair = {"path": str(golden / "tiny_lora"), "base": str(golden / "tiny_base"), "compressor": {}}
    parts = {
        "projector": {"mode": "lora"},
        "compressor": {"mode": "frozen"},
        "lora": {"rank": 2, "targets": "all-linear"},
    }
    recipe = make_recipe("", result, model=pair, train=parts)
    trained, processor = train(recipe)
    write_result(tmp_path / "model", trained, processor, facts(recipe))
    qa = bimba.load(tmp_path / "model", device="cpu")
    assert distance(logits(qa.model, qa.processor), logits(trained, processor)) < 1e-5
    if result == "adapter":
        names = load_file(tmp_path / "model" / "adapter" / "adapter_model.safetensors")
        assert {name.split(".")[2] for name in names} == {"compressor", "projector"}


@pytest.mark.parametrize("start", ["bfloat16", "float32"])
def test_merged_weights_have_the_dtype_of_the_start(model: Path, tmp_path: Path, start: str) -> None:
    path = model
    if start == "bfloat16":
        qa = bimba.load(model, device="cpu", dtype="bfloat16")
        path = tmp_path / "halved"
        qa.model.save_pretrained(path)
        qa.processor.save_pretrained(path)
    recipe = make_recipe(path, precision="bf16")
    trained, processor = train(recipe)
    dtypes = {parameter.dtype for parameter in trained.parameters()}
    assert dtypes == {torch.float32, torch.bfloat16}
    write_result(tmp_path / "model", trained, processor, facts(recipe))
    stored = open_folder(tmp_path / "model")
    for name, tensor in stored.items():
        assert tensor.dtype == (torch.float32 if name.endswith("A_log") else getattr(torch, start))
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == start
    weight = "language_model.model.layers.0.self_attn.q_proj"
    own = {name.removeprefix(weight): value.double() for name, value in trained.state_dict().items()}
    exact = own[".base_layer.weight"] + 2.0 * own[".lora_B.default.weight"] @ own[".lora_A.default.weight"]
    rounding = 2 * torch.finfo(getattr(torch, start)).eps
    assert (stored[f"{weight}.weight"][...].double() - exact).abs().max() < rounding * exact.abs().max()


def test_whole_state_may_come_from_elsewhere(model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(model)
    trained, processor = train(recipe)
    state = {name: tensor * 1.0 for name, tensor in trained.state_dict().items()}
    expected = logits(trained, processor)
    with torch.no_grad():
        trained.get_parameter("projector.layers.0.weight").zero_()  # as if this process held only a part
    write_result(tmp_path / "model", trained, processor, facts(recipe), state=state)
    assert distance(logits(bimba.load(tmp_path / "model", device="cpu").model, processor), expected) < 1e-5


def test_card_tells_the_facts(model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(model)
    trained, processor = train(recipe)
    write_result(tmp_path / "model", trained, processor, facts(recipe))
    card = (tmp_path / "model" / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "video-text-to-text",
        "tags": ["bimba", "video", "video-question-answering", "arxiv:2503.09590"],
    }
    for words in (
        "# night shift",
        f"trained with `bimba train` from `{model}`",
        'qa = bimba.load("THIS_FOLDER")',
        "num_frames=64",
        "| needles \\| a | 10 |",
        "| all | 14 |",
        "Seen in 7 optimizer steps: 12 samples, 3,456 tokens, of which 3,000 of videos",
        "- `videos/a.mp4#3`: ends after 2 of 9 frames",
        "| projector | full, learning rate 0.001 |",
        "| vision_tower | frozen |",
        "rank 4, alpha 8, dropout 0.05, on q_proj, v_proj",
        "| first | 1 | 4.0000 |",
        "| last | 7 | 0.9000 |",
        "| lowest | 6 | 0.6667 |",
        "![Loss over steps](loss.svg)",
        f"torch {torch.__version__}",
    ):
        assert words in text, words
    written = re.search(r"```yaml\n(.*?)\n```", text, re.DOTALL)
    assert written is not None
    assert yaml.safe_load(written[1]) == yaml.safe_load((tmp_path / "model" / "recipe.yaml").read_text())
    counts = json.loads((tmp_path / "model" / "counts.json").read_text())
    assert counts["failed"] == COUNTS.failed
    made_with = json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert made_with["bimba"] == bimba.__version__


@pytest.mark.parametrize(
    ("start", "base_model", "words"),
    [
        ({"path": "owner/name", "compressor": {}}, "owner/name", "with a fresh compressor"),
        ({"path": "owner/name", "base": "other/base"}, "owner/name", "`owner/name` on `other/base`"),
        ({"start": "parts", "vision": "v/siglip", "language": "q/lm"}, ["v/siglip", "q/lm"], "which had not met"),
        ({"start": "scratch", "config": {}}, None, "random weights"),
    ],
)
def test_card_names_where_training_started(start: dict[str, Any], base_model: Any, words: str) -> None:
    recipe = _replaced(start)
    story = Story(recipe, "", Counts(failed={f"s{i}": "gone" for i in range(60)}), {}, [], _nothing_known())
    card = model_card(story)
    front = yaml.safe_load(card.split("---\n", 2)[1])
    assert front.get("base_model") == base_model
    assert ("base_model_relation" in front) == (base_model is not None)
    assert words in card
    assert "No loss was logged." in card
    assert "and 10 more, in `counts.json`" in card
    assert "no GPU" in card


def _replaced(start: dict[str, Any]) -> Recipe:
    settings = make_recipe("x").model_dump() | {
        "model": {"start": "checkpoint"} | start,
        "frames": {"sampling": "fps", "time_sentence": False},
    }
    return Recipe.model_validate(settings)


def _nothing_known() -> dict[str, Any]:
    names = ("bimba", "python", "system", "processor", "time")
    return dict.fromkeys(names, "?") | {"code": None, "gpus": [], "num_cores": 1, "versions": {"peft": None}}


def test_adapter_card_tells_of_its_base(model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(model, "adapter")
    trained, processor = train(recipe)
    write_result(tmp_path / "model", trained, processor, facts(recipe))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "An adapter for a video language model" in card
    assert 'base="..."' in card


def test_adapter_without_a_base_is_refused(model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(model, "adapter")
    trained, processor = train(recipe)
    with pytest.raises(InputError, match=r"save\.result=merged"):
        write_result(tmp_path / "model", trained, processor, facts(recipe, base=None))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("result", ["merged", "adapter"])
def test_interrupted_writing_leaves_nothing(
    model: Path, tmp_path: Path, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(model, result)
    trained, processor = train(recipe)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    told = facts(recipe)
    monkeypatch.setattr(folder_module, "save_file", fail)
    with pytest.raises(CheckpointError, match="no space left"):
        write_result(tmp_path / "model", trained, processor, told)
    assert not list(tmp_path.iterdir())


def test_state_that_does_not_fit_is_listed(model: Path, tmp_path: Path) -> None:
    recipe = make_recipe(model)
    trained, processor = train(recipe)
    state = dict(trained.state_dict())
    del state["projector.layers.0.bias"]
    state["projector.layers.1.bias"] = torch.zeros(3)
    state["mystery"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        write_result(tmp_path / "model", trained, processor, facts(recipe), state=state)
    for words in ("missing   projector.layers.0.bias [64]", "misshapen projector.layers.1.bias", "unknown   mystery"):
        assert words in str(caught.value)


def test_start_without_a_checkpoint_has_no_base() -> None:
    scratch = _replaced({"start": "scratch", "config": {}})
    assert describe_start(scratch) == (None, torch.float32)
    parts = _replaced({"start": "parts", "vision": "v/siglip", "language": "q/lm"})
    assert describe_start(parts) == (None, torch.float32)
    halves = Recipe.model_validate(parts.model_dump() | {"compute": {"precision": "bf16"}})
    assert describe_start(halves) == (None, torch.bfloat16)


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [(3, float("nan"))],
        [(3, 1.5)],
        [(1, 2.0), (2, 2.0)],
        [(step, 5.0 / step) for step in range(1, 5000)],
        [(1, 1e-7), (2, float("inf")), (3, -4e6)],
    ],
    ids=["none", "no number", "one", "flat", "many", "far apart"],
)
def test_loss_curve_is_a_picture(losses: list[tuple[int, float]]) -> None:
    text = loss_curve(losses)
    root = ET.fromstring(text)
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    finite = [loss for _, loss in losses if abs(loss) < float("inf")]
    assert len(lines) == (2 if finite else 0)
    assert len(text) < 100_000
    for line in lines:
        places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
        assert all(0 <= x <= 640 and 0 <= y <= 320 for x, y in places)
