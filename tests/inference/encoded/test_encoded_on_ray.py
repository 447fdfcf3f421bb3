"""Two workers of Ray encode a library; one of them is lost, and its video done again."""

import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.inference.encoded import EncodedVideo, read_encoded
from bimba.inference.encoded.encoding import Encoding
from bimba.inference.encoded.library import list_entries
from bimba.inference.encoded.on_ray import encode_on_ray
from bimba.needles import make_needles

ray = pytest.importorskip("ray", reason="ray is not installed; make ray brings it")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True)
class Mortal(Encoding):
    """The first worker that is at a certain video dies of it."""

    marker: str = ""

    def encode(self, qa: VideoQA, path: Path) -> EncodedVideo:
        marker = Path(self.marker)
        if path.stem.endswith("1") and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(qa, path)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos, and something that is none."""
    folder = tmp_path_factory.mktemp("videos") / "videos"
    run = make_needles(folder, videos=4, seconds=2, fps=4, size="64x48", needles=1, needle_seconds=1)
    (run.folder / "broken.mp4").write_bytes(b"no video")
    return run.folder


def test_a_lost_worker_loses_nothing(videos: Path, model: Path, tiny: VideoQA, tmp_path: Path) -> None:
    loading = {"model": str(model), "device": "cpu"}
    mortal = Mortal(loading, frames=4, marker=str(tmp_path / "died"))
    entries = list_entries(videos, tmp_path / "library")
    outcomes = {
        outcome.entry.video.name: outcome for outcome in encode_on_ray(entries, mortal, workers=2, overwrite=False)
    }
    assert (tmp_path / "died").exists()
    assert len(outcomes) == 5
    assert "broken.mp4" in outcomes.pop("broken.mp4").problem
    for entry in entries[1:]:
        assert outcomes[entry.video.name].problem == ""
        direct = tiny.encode(entry.video, num_frames=4)
        kept = read_encoded(entry.target)
        assert kept.about.encoder == tiny.encoder_identity
        assert kept.features.shape == direct.features.shape
        assert (kept.features - direct.features).abs().max() < 1e-4
    again = list(encode_on_ray(entries, Encoding(loading, frames=4), workers=1, overwrite=False))
    assert sorted(outcome.was_there for outcome in again) == [False, True, True, True, True]
    with pytest.raises(InputError, match="num_frames 4 there, 3 now"):
        list(encode_on_ray(entries[1:], Encoding(loading, frames=3), workers=1, overwrite=False))
    shutil.rmtree(tmp_path / "library")
