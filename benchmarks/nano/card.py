"""Figures in, the model card of the shipped folder out: Markdown with the front matter that the hub reads."""

import json
from typing import Any

from benchmarks.nano.figures import NanoFigures
from benchmarks.nano.measuring import SHIPPED, Measured
from benchmarks.nano.sections import (
    bars_section,
    held_out_sentence,
    kinds_section,
    lengths_section,
    reproduction_section,
    training_section,
    weights_section,
)
from bimba.needles.openmoji import concepts

_FRONT: dict[str, Any] = {
    "license": "apache-2.0",
    "language": ["en"],
    "library_name": "transformers",
    "pipeline_tag": "video-text-to-text",
    "tags": ["bimba", "video", "video-question-answering", "needle-in-a-haystack", "mamba", "arxiv:2503.09590"],
    "datasets": [],
}

_WHAT = """# bimba-nano

A small video language model that comes with the Python package `bimba`: a ConvNeXt tower, a compressor with a
bidirectional selective scan ([BIMBA](https://arxiv.org/abs/2503.09590)), and a small Qwen2-type language model, all
trained from random weights. It answers questions about needle videos: made videos in which shapes, digits, letters,
captions and pictures appear for a moment."""

_USE = """## Use

```python
import bimba

qa = bimba.load("bimba-nano")
print(qa.ask("clip.mp4", "What appears first in the video?").text)
```

On the command line: `bimba needles make --out clips --needles 3`, then
`bimba ask clips/video_00000.mp4 "What appears first in the video?"`. With transformers alone: `import bimba`, then
`AutoModelForImageTextToText.from_pretrained` and `AutoProcessor.from_pretrained` with this folder."""

_INTENDED = """## Intended use

- To see on a laptop, without a GPU or a network, what the package does.
- As a model whose words mean something in tests, demos and benchmarks.
- To study how a compressor of video tokens keeps short events.

It can answer questions like these, in the words of the package's needle videos:

| kind | for example |
| --- | --- |
| retrieval | Which picture appears in the video? |
| colour, shape, glyph | What colour is the star? Which shape is red? Which letter is shown? |
| count | How many times does the dog appear? |
| first, last, after, before | What appears right after the red star? |
| position | In which part of the video is the dog: beginning, middle or end? |
| order | In which order do these appear: dog, digit 7 and red star? |
| existence, list | Does the digit 7 appear in the video? List everything that appears in the video. |

It cannot answer anything else. It knows no people, actions, speech, sound or scenes, nothing of the world, no language
but the English of these questions, and no times in seconds. Asked such things it was trained to say "I cannot tell";
it will not always do so."""

_LIMITS = """## Limits

- What it says is right or wrong by chance outside its few hundred words; never rely on it for a decision about people
  or safety.
- Needles that are smaller in the frame, more at a time, or there for less than one of the frames that it sees, are
  other than those it was trained on.
- It sees frames of {side} x {side} pixels. A needle that no chosen frame shows cannot be found: a longer video needs
  more frames, or is asked about in parts.
- Accuracy falls with the length of the video; the table by length tells how far. It was not trained on more than 256
  frames.
- Some emoji look alike when they are small, and names of pictures are OpenMoji's, shortened to one or two words.
- Questions about a single needle are answered better than those about several, such as order and count."""

_CITATION = """## Citation

The method is that of the paper; this model is no work of its authors.

```bibtex
@inproceedings{islam2025bimba,
  title     = {BIMBA: Selective-Scan Compression for Long-Range Video Question Answering},
  author    = {Islam, Md Mohaiminul and Nagarajan, Tushar and Wang, Huiyu and Bertasius, Gedas and Torresani, Lorenzo},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2025},
  eprint    = {2503.09590},
  archivePrefix = {arXiv}
}
```"""

_AGAIN = """## How to reproduce

In a clone of the package at the commit named above:

```sh
make nano
```

This trains the four stages, each from its recipe in `recipes/train/nano`, measures, and writes `docs/nano.md`."""


def model_card(figures: NanoFigures, image_size: int) -> str:
    """The whole card.

    Args:
        figures: of a run that is trained and measured.
        image_size: pixels of a frame's side as the model sees it.
    """
    shipped = figures.measured[SHIPPED]
    asked = (
        f"Test split, {shipped.num_questions:,} questions about {shipped.videos:,} videos of {shipped.frames} frames, "
        "answers in words unless it says otherwise."
    )
    sections = (
        _front_matter(),
        _WHAT,
        _USE,
        _INTENDED,
        _data(),
        f"### What was seen\n\n{training_section(figures.stages)}",
        _limits(shipped, image_size),
        f"## Accuracy\n\n{asked}\n\n{bars_section(figures)}",
        f"### By kind of question\n\n{kinds_section(shipped)}",
        f"### By length\n\n{lengths_section(figures)}",
        f"## Weights, recipe, commit\n\n{weights_section(figures)}",
        _AGAIN,
        reproduction_section(figures),
        _CITATION,
    )
    return "\n\n".join(sections) + "\n"


def _limits(shipped: Measured, image_size: int) -> str:
    limits = _LIMITS.format(side=image_size)
    held_out = held_out_sentence(shipped)
    return f"{limits}\n- {held_out}" if held_out else limits


def _front_matter() -> str:
    """YAML between two rules; every value is written as JSON, which YAML contains."""
    lines = [f"{name}: {json.dumps(value)}" for name, value in _FRONT.items()]
    return "\n".join(("---", *lines, "---"))


def _data() -> str:
    return f"""## Training data and licences

All videos were drawn by `bimba.needles` while training, and none was stored. No published data set, no pretrained
weights, no photo and no camera's video went into it.

- Haystacks are procedural: drifting gradients, moving blobs, scrolling clouds, and a camera that pans over drawn leaves
  (discs, boxes and slabs, or textured things, that hide one another).
- Needles are coloured shapes, digits, letters and captions, drawn by the package, and {len(concepts())} pictures of
  [OpenMoji](https://openmoji.org): reduced, given a rim, and put into the frames. All emojis designed by OpenMoji, the
  open-source emoji and icon project. License: [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/). The
  pictures are not in this folder; who passes on frames or videos that show them passes on adapted OpenMoji pictures,
  under that license.
- Questions and answers are made by templates from the list of what was put into a video.

The test split shares no video with the training split; one in ten pairs of a picture and a third of the video is in the
test split alone. These weights are licensed as the package is (Apache-2.0; see its NOTICE)."""
