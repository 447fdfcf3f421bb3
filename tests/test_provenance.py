"""Provenance: what a result was made with, as JSON, from a clone or not."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import bimba
from bimba.provenance import code_and_machine, commit, gpus


def git(folder: Path, *arguments: str) -> str:
    program = shutil.which("git")
    if program is None:
        pytest.skip("there is no git")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        [program, "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "src" / "bimba").mkdir(parents=True)
    (tmp_path / "src" / "bimba" / "a.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_everything_is_told_and_fits_into_json() -> None:
    told = json.loads(json.dumps(code_and_machine()))
    assert told["bimba"] == bimba.__version__
    assert told["versions"]["torch"] == torch.__version__
    named = {"transformers", "accelerate", "peft", "numpy", "numba", "av", "safetensors", "pillow"}
    assert named <= told["versions"].keys()
    assert len(told["gpus"]) == torch.cuda.device_count()
    assert told["processor"]
    assert told["python"].startswith("3.")


def test_commit_of_a_clone_is_told_and_whether_the_package_was_changed(clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    assert commit(clone) == {"commit": head, "is_dirty": False}
    (clone / "notes.txt").write_text("beside the package")
    assert commit(clone) == {"commit": head, "is_dirty": False}
    (clone / "src" / "bimba" / "b.py").write_text("b = 2\n")
    assert commit(clone) == {"commit": head, "is_dirty": True}


def test_installed_packages_have_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert commit(tmp_path) is None, "somebody else's repository"
    (tmp_path / "src" / "bimba").mkdir(parents=True)
    assert commit(tmp_path) is None, "no repository at all"


def test_without_git_nothing_is_told(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("git", 1)

    monkeypatch.setattr(subprocess, "run", slow)
    assert commit(clone) is None
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert commit(clone) is None


def test_accelerators_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert gpus() == ["Apple GPU (mps)"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert gpus() == ["GPU 0", "GPU 1"]
