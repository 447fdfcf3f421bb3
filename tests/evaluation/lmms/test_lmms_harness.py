"""lmms-eval itself asks our models: it is installed by `make lmms-eval`, and these tests skip without it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import bimba
from benchmark_runs import make_benchmark
from bimba.errors import InputError
from bimba.evaluation.benchmarks import find_benchmark
from bimba.evaluation.lmms.tasks import write_task
from bimba.evaluation.running import BenchmarkEvaluation, run_benchmark
from bimba.inference import VideoQA

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed; make lmms-eval brings it")
pytestmark = pytest.mark.filterwarnings("default")

TEMPCOMPASS = find_benchmark("tempcompass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_benchmark(tmp_path_factory.mktemp("benchmark"))


def lmms_eval(*words: object, cwd: Path) -> str:
    environment = {**os.environ, "HF_HOME": str(cwd / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-m", "lmms_eval", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_knows_our_model_and_all_of_its_own_tasks() -> None:
    from lmms_eval.models import get_model, list_available_models
    from lmms_eval.tasks import TaskManager

    from bimba.evaluation.lmms.model import BimbaModel

    assert "bimba" in list_available_models()
    assert get_model("bimba") is BimbaModel
    assert len(TaskManager().all_tasks) >= 1985


def test_a_task_gives_the_answers_and_the_score_of_our_own_runner(model: Path, folder: Path, tmp_path: Path) -> None:
    task = write_task(TEMPCOMPASS, folder / "videos", tmp_path / "tasks", prepared=folder / "prepared")
    lmms_eval(
        "--model", "bimba", "--model_args", f"pretrained={model},num_frames=4,time_sentence=False,dtype=float32",
        "--tasks", task.stem, "--include_path", task.parent, "--batch_size", "1", "--log_samples",
        "--output_path", tmp_path / "results", cwd=tmp_path,
    )  # fmt: skip
    [results] = (tmp_path / "results").rglob("*_results.json")
    [samples] = (tmp_path / "results").rglob("*_samples_*.jsonl")
    theirs = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    settings = BenchmarkEvaluation.checked(
        {"benchmark": "tempcompass", "model": str(model), "frames": 4, "dtype": "float32"}
    )
    run_benchmark(settings, tmp_path / "ours", folder / "videos", prepared=folder / "prepared")
    ours = {
        line["id"]: line["prediction"]
        for line in map(json.loads, (tmp_path / "ours/answers.jsonl").read_text(encoding="utf-8").splitlines())
    }
    assert len(theirs) == len(ours) == 18
    said = {sample["accuracy"]["id"]: sample["accuracy"]["prediction"] for sample in theirs}
    assert said == {name: text.strip() for name, text in ours.items()}  # as lmms-eval strips what it keeps
    score = json.loads(results.read_text(encoding="utf-8"))["results"][task.stem]["accuracy,none"]
    expected = json.loads((tmp_path / "ours/results.json").read_text(encoding="utf-8"))["scores"]["accuracy"]["value"]
    assert score == pytest.approx(100 * expected, abs=1e-3)


@pytest.fixture(scope="module")
def plugin(model: Path) -> Any:
    from bimba.evaluation.lmms.model import BimbaModel

    return BimbaModel(str(model), num_frames=4, dtype="float32", device="cpu", max_new_tokens=8)


def request(plugin: Any, kind: str, context: str, second: object, visuals: object) -> Any:
    from lmms_eval.api.instance import Instance

    plugin.task_dict = {"task": {"test": [{"context": context}]}}
    arguments = (context, second, lambda doc: visuals if doc["context"] == context else None, 0, "task", "test")
    return Instance(request_type=kind, arguments=arguments, idx=0, metadata={"task": "task", "doc_id": 0, "repeats": 1})


def test_answers_are_those_of_ask(plugin: Any, model: Path, video: Path) -> None:
    qa = bimba.load(str(model), dtype="float32", device="cpu")
    for shown, asked in ((video, [str(video)]), (None, None)):
        whole = qa.ask(shown, "What is it?", num_frames=4, max_new_tokens=6).text
        assert plugin.generate_until(
            [request(plugin, "generate_until", "What is it?", {"max_new_tokens": 6}, asked)]
        ) == [whole]
    stop = whole[2:4]
    cut = plugin.generate_until(
        [request(plugin, "generate_until", "What is it?", {"max_new_tokens": 6, "until": [stop, "\n\n"]}, None)]
    )
    assert cut == [whole[: whole.index(stop)]]


def test_pictures_are_seen(plugin: Any) -> None:
    said = [
        plugin.generate_until(
            [request(plugin, "generate_until", "<image> Which?", {}, [Image.new("RGB", (60, 40), colour)])]
        )
        for colour in ("red", "white")
    ]
    assert all(len(texts) == 1 for texts in said)


def test_losses_are_those_of_the_plain_forward_pass(plugin: Any, video: Path) -> None:
    qa: VideoQA = plugin.qa
    for shown, asked in ((video, [str(video)]), (None, None)):
        inputs = qa.prepare(shown, "Which?", num_frames=4)
        for continuation in ("yes", " no, it is not"):
            more = torch.tensor(qa.processor.tokenizer(continuation, add_special_tokens=False)["input_ids"])
            ids = torch.cat([inputs["input_ids"][0], more])[None]
            given = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
            with torch.no_grad():
                shares = qa.model(**given).logits[0, -len(more) - 1 : -1].log_softmax(-1)
            [(loss, greedy)] = plugin.loglikelihood([request(plugin, "loglikelihood", "Which?", continuation, asked)])
            assert loss == pytest.approx(float(-shares.gather(1, more[:, None]).mean()), abs=1e-4)
            assert greedy == bool((shares.argmax(-1) == more).all())
    called = plugin.loglikelihood([request(plugin, "loglikelihood", "Which?", lambda doc: doc["context"], None)])
    assert called == plugin.loglikelihood([request(plugin, "loglikelihood", "Which?", "Which?", None)])


def test_a_video_is_looked_at_once_for_questions_in_a_row(
    plugin: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    look = type(plugin.qa.model).get_vision_features

    def counting(*given: Any, **more: Any) -> Any:
        calls.append(1)
        return look(*given, **more)

    monkeypatch.setattr(type(plugin.qa.model), "get_vision_features", counting)
    plugin._looked = None
    for question in ("Which?", "Who?", "Why?"):
        plugin.generate_until([request(plugin, "generate_until", question, {}, [str(video)])])
    assert len(calls) == 1


def test_what_is_not_there_is_said(plugin: Any, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        plugin.generate_until([request(plugin, "generate_until", "Which?", {"image_aspect_ratio": "pad"}, None)])
    assert caplog.text.count("image_aspect_ratio") == 1
    with pytest.raises(InputError, match="several rounds"):
        plugin.generate_until_multi_round([1, 2])
    with pytest.raises(InputError, match="continuation is empty"):
        plugin.loglikelihood([request(plugin, "loglikelihood", "Which?", "", None)])
