"""What other people's code and habits depend on: public names, signatures, help texts, the tiny model's logits.

A change here is on purpose, comes with a version bump, and is made by running this module with BIMBA_REFREEZE=1.
"""

import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import bimba
from bimba import ops
from bimba.cli import app
from bimba.compressors import PoolingCompressor, SelectiveScanCompressor
from bimba.inference import VideoQA
from bimba.text.prompts import PROMPT_VERSION

FROZEN = Path(__file__).parent / "data" / "frozen"
REFREEZE = os.environ.get("BIMBA_REFREEZE") == "1"
COMMANDS = (
    "",
    "ask",
    "bench",
    "bench ablation",
    "bench compress",
    "bench scan",
    "chat",
    "convert",
    "encode",
    "data",
    "data cache",
    "data check",
    "data show",
    "demo",
    "doctor",
    "eval",
    "eval compare",
    "eval list",
    "eval lmms",
    "eval prepare",
    "eval run",
    "eval run benchmark",
    "eval run needles",
    "eval run several",
    "eval score",
    "eval show",
    "eval submit",
    "needles",
    "needles make",
    "needles show",
    "needles stats",
    "plan",
    "serve",
    "train",
    "watch",
)


def parameters(function: Any) -> str:
    """Parameters with their defaults, keyword-only ones behind a star."""
    words = []
    starred = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        text = ("**" if parameter.kind is parameter.VAR_KEYWORD else "") + parameter.name
        words.append(text if parameter.default is parameter.empty else f"{text}={parameter.default!r}")
    return ", ".join(words)


ASK = (
    "self, video, question, *, num_frames=64, sampling='uniform', time_sentence=True, max_new_tokens=512, **generation"
)
CONTRACT = {
    bimba.load: "model, *, base=None, device='auto', dtype='auto', attn_implementation=None, quantization=None, "
    "config_overrides=None",
    VideoQA.ask: ASK,
    VideoQA.stream: ASK,
    VideoQA.prepare: ASK,
    SelectiveScanCompressor.__init__: "self, dim, *, pool=(1, 2, 2), pool_mode='bilinear', num_layers=1, "
    "state_dim=16, conv_width=4, expand=2, bidirectional=True, query_position='interleaved', norm=True, "
    "norm_eps=1e-06, residual=True, multi_scale=True, queries='pooled', learned_grid=None, question_conditioned=False, "
    "scan_implementation='auto', chunk_size=None",
    SelectiveScanCompressor.forward: "self, tokens, queries=None, *, question=None",
    SelectiveScanCompressor.load_public_state_dict: "self, state",
    PoolingCompressor.__init__: "self, *, pool=(1, 2, 2), pool_mode='bilinear'",
    ops.selective_scan: "x, dt, A, B, C, D=None, z=None, dt_bias=None, dt_softplus=False, *, reverse=False, "
    "initial_state=None, return_final_state=False, positions=None, implementation='auto'",
    ops.ssd: "x, dt, A, B, C, D=None, dt_bias=None, dt_softplus=False, *, dt_limit=(0.0, inf), seq_idx=None, "
    "initial_state=None, return_final_state=False, implementation='auto'",
}


@pytest.mark.parametrize("function", CONTRACT, ids=lambda function: function.__qualname__)
def test_signature_is_that_of_the_contract(function: Any) -> None:
    assert parameters(function) == CONTRACT[function]


def test_public_names_are_frozen() -> None:
    assert sorted(bimba.__all__) == ["Answer", "AnswerStream", "Chat", "Video", "VideoQA", "__version__", "load"]
    assert PROMPT_VERSION == "1"
    assert list(inspect.signature(bimba.Answer).parameters) == [
        "text",
        "token_ids",
        "frame_seconds",
        "num_video_tokens",
        "num_prompt_tokens",
        "finish_reason",
        "timings",
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command or "bimba")
def test_help_text_is_frozen(command: str) -> None:
    path = FROZEN / f"help_{command.replace(' ', '_') or 'bimba'}.txt"
    result = CliRunner().invoke(
        app, [*command.split(), "--help"], env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}, prog_name="bimba"
    )
    lines = [line.rstrip() for line in result.output.splitlines()]
    text = "\n".join(lines).strip() + "\n"
    if REFREEZE:
        path.write_text(text)
    assert result.exit_code == 0
    assert text == path.read_text()


def test_logits_of_the_tiny_model_are_frozen(tiny: VideoQA) -> None:
    path = FROZEN / "tiny_logits.json"
    frames = torch.arange(4 * 20 * 30 * 3, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(4, 20, 30, 3)
    inputs = tiny.prepare(frames, "What is on the slide?")
    with torch.no_grad():
        logits = tiny.model(**inputs).logits[0, -3:, :8]
    if REFREEZE:
        path.write_text(json.dumps(logits.tolist()) + "\n")
    assert (logits - torch.tensor(json.loads(path.read_text()))).abs().max() < 1e-4
