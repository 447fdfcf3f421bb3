"""transformers' Auto classes know our models in either import order; importing bimba imports neither it nor torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from bimba.inference import VideoQA
from bimba.models.vamba.processing import VambaProcessor

LOAD = """
folder = {folder!r}
names = [type(auto.from_pretrained(folder)).__name__ for auto in (Config, Processor, Model)]
print(*names)
"""
AUTO = "from transformers import AutoConfig as Config, AutoProcessor as Processor, AutoModelForImageTextToText as Model"
ORDERS = {
    "bimba first": f"import bimba\n{AUTO}",
    "transformers first": f"{AUTO}\nimport bimba",
    "bare transformers first": f"import transformers\nimport bimba\n{AUTO}",
    "one auto class before": f"from transformers import AutoConfig\nimport bimba\n{AUTO}",
    "our module directly": f"from bimba.models.bimba import processing\n{AUTO}",
    "a model of transformers before": f"import bimba\nfrom transformers import LlamaForCausalLM\n{AUTO}",
    "its layers before": f"import bimba\nfrom transformers.modeling_layers import GradientCheckpointingLayer\n{AUTO}",
    "a Qwen2-VL before": f"import bimba\nfrom transformers import Qwen2VLForConditionalGeneration\n{AUTO}",
    "a part of ours directly": f"from bimba.models.vamba import layer\n{AUTO}",
    "our config directly": f"from bimba.models.bimba.configuration import BimbaConfig\n{AUTO}",
}


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def folder(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("auto")
    tiny.model.save_pretrained(place)
    tiny.processor.save_pretrained(place)
    return place


@pytest.mark.parametrize("order", ORDERS)
def test_auto_classes_load_our_models(order: str, folder: Path) -> None:
    out = run_python(ORDERS[order] + LOAD.format(folder=str(folder)))
    assert out.splitlines()[-1] == "BimbaConfig BimbaProcessor BimbaForConditionalGeneration"


@pytest.mark.parametrize("order", ["bimba first", "our module directly"])
def test_the_auto_class_loads_vambas_processor(order: str, golden: Path, tmp_path: Path) -> None:
    VambaProcessor.from_pretrained(golden / "vamba/config_a_default").save_pretrained(tmp_path)
    load = f"\nprint(type(Processor.from_pretrained({str(tmp_path)!r})).__name__)"
    assert run_python(ORDERS[order] + load).splitlines()[-1] == "VambaProcessor"


def test_import_bimba_imports_neither_torch_nor_transformers() -> None:
    heavy = "[name for name in ('torch', 'transformers', 'numpy', 'av', 'PIL', 'rich') if name in sys.modules]"
    assert run_python(f"import sys, bimba; print(bimba.__version__, {heavy})").endswith("[]")


def test_public_names_are_found_and_others_are_not() -> None:
    code = "import bimba; print(bimba.load.__name__, bimba.VideoQA.__name__, sorted(bimba.__all__) == dir(bimba))"
    assert run_python(code) == "load VideoQA True"
    code = "import bimba\ntry:\n    bimba.lood\nexcept AttributeError as error:\n    print(error)"
    assert "no attribute 'lood'" in run_python(code)
