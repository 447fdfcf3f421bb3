"""A video that was encoded before is asked like the video itself, and never mistaken for another one."""

import copy
import io
import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from bimba import Video
from bimba.errors import InputError, VideoError
from bimba.inference import VideoQA
from bimba.inference.encoded import EncodedVideo, encoder_identity, read_encoded
from bimba.inference.encoded.video import read_about
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_config, tiny_model
from bimba.needles import make_needles

OPTIONS: dict[str, Any] = {"max_new_tokens": 6}


@pytest.fixture
def talk(tmp_path: Path, made: Path) -> Path:
    """A video that a test may change."""
    (tmp_path / "videos").mkdir()
    return Path(shutil.copy(made, tmp_path / "videos" / "talk.mp4"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at 5 frames a second."""
    run = make_needles(tmp_path_factory.mktemp("made"), seconds=4.0, size="64x48", fps=5, needles=1, needle_seconds=1.0)
    return run.folder / run.manifest.videos[0].file


def test_answers_are_those_about_the_video(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    direct = tiny.ask(talk, "What appears?", num_frames=7, **OPTIONS)
    encoded = tiny.encode(talk, num_frames=7)
    kept = encoded.save(tmp_path / "talk.bimba")
    for video in (encoded, kept, str(kept), read_encoded(kept)):
        answer = tiny.ask(video, "What appears?", **OPTIONS)
        assert answer.token_ids == direct.token_ids
        assert answer.frame_seconds == direct.frame_seconds
        assert answer.num_video_tokens == direct.num_video_tokens
        assert "decode" not in answer.timings
        assert "vision" not in answer.timings
    chat = tiny.chat(kept)
    assert chat.ask("What appears?", **OPTIONS).token_ids == direct.token_ids
    assert chat.num_video_tokens == direct.num_video_tokens
    assert "".join(tiny.stream(kept, "What appears?", **OPTIONS)) == direct.text


def test_prepared_inputs_give_the_logits_of_the_video(tiny: VideoQA, talk: Path) -> None:
    theirs = tiny.prepare(talk, "What?", num_frames=5)
    ours = tiny.prepare(tiny.encode(talk, num_frames=5), "What?")
    with torch.no_grad():
        torch.testing.assert_close(tiny.model(**ours).logits, tiny.model(**theirs).logits, atol=1e-4, rtol=1e-4)


def test_file_tells_what_was_encoded(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    encoded = tiny.encode(Video(talk, start=1, end="0:03"), num_frames=4, sampling="fps")
    about = read_about(encoded.save(tmp_path / "talk.bimba"))
    assert about.settings == {
        "num_frames": 4, "sampling": "fps", "start": 1.0, "end": 3.0, "temporal_pooling": 1, "spatial_pooling": 2,
        "video_stream": None, "image_fps": None, "allow_truncated": False,
    }  # fmt: skip
    assert about.frame_seconds == pytest.approx([1.0, 2.0])
    assert about.num_frames == len(about.indices) == 2
    assert about.origin is not None
    assert about.origin.path == "videos/talk.mp4"
    assert about.made_with["versions"]["torch"] == torch.__version__
    assert repr(encoded).startswith("EncodedVideo(talk.mp4, 2 frames, ")


def test_frames_are_decoded_again_while_the_video_is_there(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    kept = read_encoded(tiny.encode(talk, num_frames=3).save(tmp_path / "talk.bimba"))
    assert [frame.shape for frame in kept.clip.frames()] == [(48, 64, 3)] * 3
    talk.unlink()
    gone = read_encoded(tmp_path / "talk.bimba")
    assert tiny.ask(gone, "What?", **OPTIONS).num_video_tokens == 3 * 12
    with pytest.raises(VideoError, match="not at hand"):
        list(gone.clip.frames())


def test_video_that_changed_is_refused(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    kept = tiny.encode(talk, num_frames=3).save(tmp_path / "talk.bimba")
    os.utime(talk, ns=(1, 1))  # copied, say
    read_encoded(kept)
    changed = bytearray(talk.read_bytes())
    changed[len(changed) // 2] ^= 1
    talk.write_bytes(changed)
    with pytest.raises(VideoError, match="is not what it was") as caught:
        tiny.ask(kept, "What?")
    assert "encode it again" in caught.value.fix
    talk.write_bytes(changed + b"more")
    with pytest.raises(VideoError, match="is not what it was"):
        read_encoded(kept)


def test_video_that_changes_while_it_is_encoded_is_noticed_later(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    encoded = tiny.encode(talk, num_frames=3)
    talk.write_bytes(talk.read_bytes() + b"more")
    with pytest.raises(VideoError, match="is not what it was"):
        read_encoded(encoded.save(tmp_path / "talk.bimba"))


def test_both_may_be_moved_together(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "encoded").mkdir()
    tiny.encode(talk, num_frames=3).save(tmp_path / "encoded" / "talk.bimba")
    (tmp_path / "elsewhere").mkdir()
    for name in ("videos", "encoded"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    kept = read_encoded(tmp_path / "elsewhere" / "encoded" / "talk.bimba")
    assert len(list(kept.clip.frames())) == 3


def test_encoding_of_another_model_is_refused(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    kept = tiny.encode(talk, num_frames=3).save(tmp_path / "talk.bimba")
    other = VideoQA(*tiny_model(seed=1))
    with pytest.raises(InputError, match="encoded by another model") as caught:
        other.ask(kept, "What?")
    assert "bimba encode" in caught.value.fix
    with pytest.raises(InputError, match="encoded by another model"):
        other.chat(kept)


def test_identity_is_that_of_the_encoder() -> None:
    model, processor = tiny_model(seed=0)
    identity = encoder_identity(model, processor)
    assert encoder_identity(*tiny_model(seed=0)) == identity
    assert encoder_identity(tiny_model(seed=0)[0].bfloat16(), processor) == identity
    pooled = copy.deepcopy(model)
    pooled.config.temporal_pooling = 4
    assert encoder_identity(pooled, processor) == identity
    reader = copy.deepcopy(model)
    next(reader.language_model.parameters()).data += 1
    assert encoder_identity(reader, processor) == identity
    for part in ("vision_tower", "projector", "compressor", "separators"):
        changed = copy.deepcopy(model)
        list(getattr(changed, part).parameters())[-1].data += 1
        assert encoder_identity(changed, processor) != identity, part
    brighter = copy.deepcopy(processor)
    brighter.image_mean = [0.4, 0.5, 0.5]
    assert encoder_identity(model, brighter) != identity


def test_frames_and_pipes_come_from_no_file(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), dtype=np.uint8)
    for video in (frames, io.BytesIO(talk.read_bytes())):
        encoded = tiny.encode(video, num_frames=3)
        assert encoded.about.origin is None
        kept = read_encoded(encoded.save(tmp_path / "talk.bimba"))
        assert tiny.ask(kept, "What?", **OPTIONS).token_ids == tiny.ask(encoded, "What?", **OPTIONS).token_ids


def test_folder_of_pictures_is_known_again(tiny: VideoQA, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (80 * number, 0, 0)).save(tmp_path / "pictures" / f"{number}.png")
    kept = tiny.encode(tmp_path / "pictures").save(tmp_path / "pictures.bimba")
    assert len(list(read_encoded(kept).clip.frames())) == 3
    (tmp_path / "pictures" / "notes.txt").write_text("no frame")
    assert len(list(read_encoded(kept).clip.frames())) == 3
    changed = bytearray((tmp_path / "pictures" / "1.png").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "pictures" / "1.png").write_bytes(changed)
    with pytest.raises(VideoError, match="is not what it was"):
        read_encoded(kept)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, -1])
def test_torn_file_is_refused(tiny: VideoQA, talk: Path, tmp_path: Path, size: int) -> None:
    kept = tiny.encode(talk, num_frames=3).save(tmp_path / "talk.bimba")
    kept.write_bytes(kept.read_bytes()[:size])
    with pytest.raises(VideoError, match="damaged") as caught:
        tiny.ask(kept, "What?")
    assert "again" in caught.value.fix


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "of this version"),
        ({"format": "bimba encoded video 99"}, "'bimba encoded video 99'"),
        ({"format": "bimba encoded video 1"}, "damaged"),
        ({"format": "bimba encoded video 1", "about": "{}"}, "damaged"),
        ({"format": "bimba encoded video 1", "about": '{"origin": 3}'}, "damaged"),
        ({"format": "bimba encoded video 1", "about": "[]"}, "damaged"),
    ],
)
def test_other_safetensors_are_refused(tmp_path: Path, metadata: dict[str, str] | None, words: str) -> None:
    save_file({"video": torch.zeros(2, 3)}, tmp_path / "talk.bimba", metadata)
    with pytest.raises(VideoError, match=words):
        read_encoded(tmp_path / "talk.bimba")


def test_tokens_of_another_shape_are_refused(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    encoded = tiny.encode(talk, num_frames=3)
    for tensor in (torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(0, 3)):
        kept = replace(encoded, features=tensor).save(tmp_path / "talk.bimba")
        with pytest.raises(VideoError, match="its tokens are"):
            read_encoded(kept)


def test_missing_file_is_named(tiny: VideoQA, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"there is no file .*nothing\.bimba"):
        tiny.ask(tmp_path / "nothing.bimba", "What?")


def test_what_is_longer_than_the_model_reads_is_refused(tiny: VideoQA, talk: Path) -> None:
    encoded = tiny.encode(talk, num_frames=3)
    assert tiny.context_length is not None
    long = replace(encoded, features=encoded.features.repeat(tiny.context_length, 1))
    with pytest.raises(InputError, match="tokens") as caught:
        tiny.ask(long, "What?")
    assert "encode the video again" in caught.value.fix


def test_model_that_reads_the_question_first_encodes_for_nobody(tiny: VideoQA, talk: Path) -> None:
    config = tiny_config(len(tiny.processor.tokenizer))
    asking = BimbaConfig(**config.to_dict() | {"compressor": config.compressor | {"question_conditioned": True}})
    qa = VideoQA(BimbaForConditionalGeneration(asking), tiny.processor)
    with pytest.raises(InputError, match="reads the question"):
        qa.encode(talk)


def test_full_disk_is_a_clear_error_and_leaves_what_was_there(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    encoded = tiny.encode(talk, num_frames=3)
    kept = encoded.save(tmp_path / "talk.bimba")
    before, limit = kept.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(InputError, match=r"talk\.bimba cannot be written: .* bytes") as caught:
            encoded.save(kept)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "make room" in caught.value.fix
    assert kept.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talk.bimba", "videos"]


def test_folder_that_is_not_there_is_a_clear_error(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    encoded = tiny.encode(talk, num_frames=3)
    with pytest.raises(InputError, match="cannot be written"):
        encoded.save(tmp_path / "nowhere" / "talk.bimba")


def test_nothing_is_no_video(tiny: VideoQA) -> None:
    with pytest.raises(InputError, match="no video to encode"):
        tiny.encode(None)  # type: ignore[arg-type] # what users may pass


def test_encoded_once_is_not_encoded_twice(tiny: VideoQA, talk: Path) -> None:
    encoded = tiny.encode(talk, num_frames=3)
    assert isinstance(encoded, EncodedVideo)
    with pytest.raises(InputError, match="is encoded already"):
        tiny.encode(encoded)
    with pytest.raises(InputError, match="none of uniform, fps"):
        tiny.ask(encoded, "What?", sampling="nonsense")


def test_model_that_has_learned_since_is_another_one(talk: Path, tmp_path: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    kept = qa.encode(talk, num_frames=3).save(tmp_path / "talk.bimba")
    qa.ask(kept, "What?", **OPTIONS)
    with torch.no_grad():
        next(qa.model.projector.parameters()).add_(0.5)
    with pytest.raises(InputError, match="encoded by another model"):
        qa.ask(kept, "What?", **OPTIONS)


def test_chat_goes_on_when_frames_are_pooled_otherwise(talk: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    chat = qa.chat(talk, num_frames=4)
    qa.pool_frames(2)
    assert chat.ask("What?", **OPTIONS).num_video_tokens == 4 * 12
    assert qa.ask(talk, "What?", num_frames=4, **OPTIONS).num_video_tokens == 2 * 12


def test_library_behind_a_link_finds_its_video(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "down")
    kept = tiny.encode(talk, num_frames=3).save(tmp_path / "link" / "talk.bimba")
    assert len(list(read_encoded(kept).clip.frames())) == 3
    assert len(list(read_encoded(tmp_path / "deep" / "down" / "talk.bimba").clip.frames())) == 3


def test_saved_elsewhere_while_its_video_is_away(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    kept = tiny.encode(talk, num_frames=3).save(tmp_path / "talk.bimba")
    talk.rename(tmp_path / "away.mp4")
    (tmp_path / "deep").mkdir()
    copy_ = read_encoded(kept).save(tmp_path / "deep" / "copy.bimba")
    (tmp_path / "away.mp4").rename(talk)
    assert len(list(read_encoded(copy_).clip.frames())) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"num_frames": "3"}, {"num_frames": 0}, {"reading": None}, {"reading": {"zoom": 2}}, {"settings": None},
        {"frame_seconds": [0.0]}, {"indices": ["a", "b", "c"]}, {"origin": {"path": "x"}},
    ],
)  # fmt: skip
def test_headers_that_make_no_sense_are_refused(
    tiny: VideoQA, talk: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    kept = tiny.encode(talk, num_frames=3).save(tmp_path / "talk.bimba")
    with safe_open(kept, framework="pt") as opened:
        metadata, tensor = dict(opened.metadata()), opened.get_tensor("video")
    metadata["about"] = json.dumps(json.loads(metadata["about"]) | change)
    save_file({"video": tensor}, kept, metadata)
    with pytest.raises(VideoError, match="damaged"):
        tiny.ask(kept, "What?")


def test_tokens_of_another_width_are_refused(tiny: VideoQA, talk: Path) -> None:
    encoded = tiny.encode(talk, num_frames=3)
    with pytest.raises(VideoError, match="wide"):
        tiny.ask(replace(encoded, features=torch.zeros(36, 7)), "What?")


def test_names_in_any_letters(tiny: VideoQA, talk: Path, tmp_path: Path) -> None:
    other = talk.with_name("café 映像.mp4")
    talk.rename(other)
    kept = tiny.encode(other, num_frames=3).save(tmp_path / "映像.bimba")
    assert len(list(read_encoded(kept).clip.frames())) == 3
    assert json.loads(json.dumps(read_about(kept).settings))["num_frames"] == 3
