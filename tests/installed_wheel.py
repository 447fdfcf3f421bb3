"""The wheel as users get it: built, installed with its core dependencies alone, used from another folder.

Run by `make wheel`; not a pytest module, because it makes a virtual environment of its own.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPES = REPOSITORY / "recipes" / "train"
SAVE_TINY_MODEL = """
import sys, bimba, pathlib
from bimba.models.bimba.tiny import tiny_model
assert pathlib.Path(bimba.__file__).is_relative_to(sys.prefix), bimba.__file__
for part in tiny_model(seed=0):
    part.save_pretrained("tiny")
"""
MISSING_EXTRAS = ("peft", "accelerate", "triton", "gradio")


def run(*command: object, cwd: Path, typed: str = "") -> str:
    """Run a command, show it, and return what it printed; stop if it fails."""
    print("$", *(str(word).replace(str(cwd), ".") for word in command), flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BIMBA_MODEL")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, text=True, input=typed, stdout=subprocess.PIPE, env=environment)
    if done.returncode != 0:
        sys.exit(f"failed with exit code {done.returncode}:\n{done.stdout}")
    return done.stdout


def check_wheel(wheel: Path) -> None:
    """The package, its types and its metadata are in it, and nothing else is."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"bimba", next(top for top in tops if top.endswith(".dist-info"))}, tops
    assert "bimba/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "bimba/shipped/bimba-nano/model.safetensors" in names
    for path in sorted((REPOSITORY / "recipes").rglob("*.yaml")):
        assert f"bimba/{path.relative_to(REPOSITORY).as_posix()}" in names, path


def check_training(bimba: Path, place: Path) -> None:
    """The recipes are listed without the extra that training needs, and an error names it."""
    recipes = json.loads(run(bimba, "train", "--list", "--json", cwd=place))
    there = sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))
    assert sorted(recipes) == there, recipes
    assert all(Path(recipe["path"]).is_relative_to(place / "venv") for recipe in recipes.values()), recipes
    assert "cpu  " in run(bimba, "train", cwd=place)
    done = subprocess.run([bimba, "train", "cpu"], cwd=place, text=True, capture_output=True, check=False)
    assert done.returncode == 2, done
    assert 'pip install "bimba[train]"' in done.stderr, done


def check_evaluation(bimba: Path, place: Path, video: str) -> None:
    """A benchmark is prepared, run and scored with the core alone."""
    assert len(json.loads(run(bimba, "eval", "list", "--json", cwd=place))["benchmarks"]) == 17
    record = {"video": Path(video).name, "question": "Which?", "candidates": ["A. x", "B. y"], "answer": "A"}
    (place / "short.json").write_text(json.dumps([{"id": number} | record for number in range(3)]))
    prepare = ("eval", "prepare", "tempcompass", "--from", "short.json", "--any-count", "--out", "prepared")
    print(run(bimba, *prepare, cwd=place))
    words = ("eval", "run", "tempcompass", "--prepared", "prepared", "--videos", Path(video).parent, "--out", "results")
    print(run(bimba, *words, "--model", "tiny", "--frames", "8", "--score", "likelihood", cwd=place))
    results = json.loads(run(bimba, "eval", "show", "results", "--json", cwd=place))
    assert results["covers"]["answered"] == 3, results
    for name in ("report.md", "answers.jsonl", "accuracy.png"):
        assert (place / "results" / name).is_file(), name


def check_serving(bimba: Path, place: Path, pip: Sequence[object], wheel: Path, video: str) -> None:
    """Without its extra the server names it; with it, a page and answers come, and it ends when it is told to."""
    serve = (bimba, "serve", "--port", "0")
    done = subprocess.run(serve, cwd=place, text=True, capture_output=True, check=False)
    assert (done.returncode, 'pip install "bimba[serve]"' in done.stderr) == (2, True), done
    run(*pip, f"{wheel}[serve]", cwd=place)
    told = place / "serve.txt"
    print("$ bimba serve --port 0 --media-root videos")
    command = (*serve, "--media-root", Path(video).parent)
    with told.open("w") as stderr, subprocess.Popen(command, cwd=place, stderr=stderr) as server:
        try:
            address = _address(told, server)
            assert json.loads(_asked(f"{address}/healthz"))["status"] == "ok"
            assert "gradio" in _asked(f"{address}/")
            url = {"type": "video_url", "video_url": {"url": Path(video).name}}
            content = [url, {"type": "text", "text": "What appears first in the video?"}]
            body = {
                "model": "bimba-nano",
                "messages": [{"role": "user", "content": content}],
                "bimba": {"evidence": True},
            }
            answer = json.loads(_asked(f"{address}/v1/chat/completions", body))
            print(answer["choices"][0]["message"]["content"], answer["usage"])
            assert answer["bimba"]["evidence"]["moments"], answer
            server.terminate()
            assert server.wait(60) == 0
        finally:
            server.kill()
            print(told.read_text())


def _address(told: Path, server: subprocess.Popen[bytes]) -> str:
    """Where a server is that has said so."""
    while server.poll() is None:
        found = re.search(r"^page +(\S+)/$", told.read_text(), re.MULTILINE)
        if found:
            return found.group(1)
        time.sleep(0.1)
    sys.exit(f"the server ended with {server.returncode}")


def _asked(url: str, body: Mapping[str, object] | None = None) -> str:
    """What a server of this machine answers."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=120) as response:
        text: str = response.read().decode()
    return text


def main() -> None:
    """Build, install, use."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", place / "dist", REPOSITORY, cwd=place)
        (wheel,) = (place / "dist").glob("*.whl")
        check_wheel(wheel)
        venv.create(place / "venv", with_pip=True)
        binaries = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
        pip = (binaries / "python", "-m", "pip", "install", "--quiet", "-c", REPOSITORY / "constraints.txt")
        run(*pip, "torch", cwd=place)
        run(*pip, wheel, cwd=place)
        listed = run(binaries / "python", "-m", "pip", "list", "--format=freeze", cwd=place)
        present = {line.split("==")[0].lower() for line in listed.splitlines()}
        assert not present & set(MISSING_EXTRAS), "the core install stays lean"
        bimba = binaries / "bimba"
        print(run(bimba, "--version", cwd=place), end="")
        run(binaries / "python", "-c", SAVE_TINY_MODEL, cwd=place)
        made = json.loads(run(bimba, "needles", "make", "--out", "videos", "--seconds", "20", "--json", cwd=place))
        words = (bimba, "ask", made["videos"][0], "What appears?", "--model", "tiny", "--frames", "8")
        answer = json.loads(run(*words, "--max-new-tokens", "8", "--json", cwd=place))
        assert answer["num_video_tokens"] == 96
        assert len(answer["token_ids"]) == 8
        print(run(bimba, "plan", made["videos"][0], "--model", "tiny", "--frames", "8", cwd=place))
        isolated = json.loads(run(*words, "--max-new-tokens", "8", "--json", "--isolate", cwd=place))
        assert isolated["token_ids"] == answer["token_ids"], "decoded in a process of its own, it is the same"
        chat = (bimba, "chat", words[2], *words[4:], "--max-new-tokens", "8", "--json")
        assert json.loads(run(*chat, cwd=place, typed="What appears?\n"))["token_ids"] == answer["token_ids"]
        doctor = json.loads(run(bimba, "doctor", "--json", cwd=place))
        assert doctor["runs_tiny_model"], doctor
        shown = run(bimba, "demo", cwd=place)
        assert "4 of 4 right" in shown, shown
        print(shown)
        check_training(bimba, place)
        check_evaluation(bimba, place, made["videos"][0])
        print(run(bimba, "convert", "--reverse", "tiny", "released", cwd=place))
        again = json.loads(run(*words[:5], "released", *words[6:], "--max-new-tokens", "8", "--json", cwd=place))
        assert again["token_ids"] == answer["token_ids"], "the released layout holds the same model"
        check_serving(bimba, place, pip, wheel, made["videos"][0])
    print("the installed wheel works")


if __name__ == "__main__":
    main()
