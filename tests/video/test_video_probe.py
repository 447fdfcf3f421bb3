"""What a file holds: counts, rates and presentation times, and a clear word about files that are no video."""

import shutil
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import cut, drawn_frame, shared_file, write_audio, write_video

from bimba.errors import VideoError
from bimba.video.probe import probe

NTSC = Fraction(30000, 1001)


def test_the_golden_video_has_the_public_codes_numbers() -> None:
    info = probe(shared_file("video/example.mp4"))
    assert (info.width, info.height, info.num_frames) == (640, 480, 750)
    assert info.average_fps == 29.97002997002997
    assert info.duration_seconds == 25.025000000000002
    assert f"{info.duration_seconds:.2f}" == "25.03"
    assert not info.is_image


@pytest.mark.parametrize("name", ["bigbuckbunny", "bikes", "example", "magic"])
def test_times_of_a_constant_rate_are_exactly_index_over_rate(name: str) -> None:
    info = probe(shared_file(f"video/{name}.mp4"))
    assert info.frame_seconds.dtype == np.float64
    assert info.frame_seconds.tolist() == [index / info.average_fps for index in range(info.num_frames)]


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("rate", [Fraction(25), NTSC], ids=["25", "29.97"])
def test_a_containers_rounded_times_still_count_as_a_constant_rate(
    tmp_path: Path, container: str, rate: Fraction
) -> None:
    codec = "mpeg4" if container == "avi" else "libx264"
    info = probe(write_video(tmp_path / f"even.{container}", rate=rate, codec=codec))
    assert info.num_frames == 60
    assert info.average_fps == pytest.approx(float(rate), rel=1e-4)
    assert info.frame_seconds.tolist() == [index / info.average_fps for index in range(60)]


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_times_of_a_variable_rate_are_presentation_times(tmp_path: Path, container: str) -> None:
    milliseconds = [0, 40, 90, 95, 400, 1000, 1010, 2500]
    path = write_video(tmp_path / f"uneven.{container}", times=milliseconds, time_base=Fraction(1, 1000))
    info = probe(path)
    np.testing.assert_allclose(info.frame_seconds, np.array(milliseconds) / 1000, atol=1e-9)
    assert info.duration_seconds == pytest.approx(info.num_frames / info.average_fps)
    assert info.duration_seconds == pytest.approx(2.5, rel=0.15)


def test_a_misleading_header_rate_gives_way_to_the_times(tmp_path: Path) -> None:
    times = [*range(0, 400, 10), *range(1000, 21_000, 1000)]
    info = probe(write_video(tmp_path / "burst.mkv", times=times, time_base=Fraction(1, 1000), rate=100))
    assert info.average_fps == pytest.approx(60 / 20, rel=0.1)


def test_times_count_from_the_first_frame_where_the_file_starts_late(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.ts", times=range(100, 120), time_base=Fraction(1, 25))
    with av.open(path) as container:
        assert container.streams.video[0].start_time not in (None, 0)
    assert probe(path).frame_seconds.tolist() == [index / 25 for index in range(20)]


def test_frames_stored_out_of_order_are_counted_in_order_of_display(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "b.mp4", options={"bf": "3", "g": "20"}))
    assert info.packets is not None
    assert (np.diff(info.packets.timestamps) < 0).any()
    assert (np.diff(info.packets.frame_timestamps) > 0).all()
    assert sorted(info.packets.frame_positions) == list(range(60))


def test_a_file_of_one_frame(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "one.mp4", num_frames=1))
    assert info.num_frames == 1
    assert info.average_fps == 25
    assert info.frame_seconds.tolist() == [0.0]
    assert info.duration_seconds == 1 / 25


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mp4", options={"bf": "3", "g": "15"})
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12  # after name, version and count: duration in ms, start in ticks of 1/12800 s
    _, first_tick = struct.unpack(">Ii", content[at : at + 8])
    content[at : at + 8] = struct.pack(">Ii", 1000, first_tick + 20 * 512)
    path.write_bytes(content)
    info = probe(path)
    assert info.num_frames == 25
    assert info.frame_seconds[0] == 0


def test_a_turned_phone_video_has_the_size_of_its_upright_picture(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "turned.mp4", num_frames=3, rotation=90))
    assert (info.width, info.height) == (48, 64)


def test_a_still_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    Image.fromarray(drawn_frame(3)).save(path)
    info = probe(str(path))
    assert info.is_image
    assert (info.width, info.height, info.num_frames) == (64, 48, 1)
    assert info.frame_seconds.tolist() == [0.0]
    assert info.duration_seconds == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nowhere\.mp4 does not exist"):
        probe(tmp_path / "nowhere.mp4")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder without a picture: it holds no file at all"):
        probe(tmp_path)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(VideoError, match=r"empty\.mp4 is empty"):
        probe(path)


def test_text_renamed_to_mp4_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.mp4"
    path.write_text("Dear reader, " * 200)
    with pytest.raises(VideoError, match=r"letter\.mp4 cannot be opened as a video"):
        probe(path)


def test_a_file_of_sound_alone_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"song\.m4a has no video stream \(its streams: audio\)"):
        probe(write_audio(tmp_path / "song.m4a"))


def test_a_stream_without_frames_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"none\.mp4 (has|cannot)"):
        probe(path)


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "secret.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match=r"secret\.mp4 holds a video of a codec that this FFmpeg build cannot decode"):
        probe(path)


def test_a_damaged_first_picture_leaves_the_size_to_the_header(tmp_path: Path) -> None:
    path = write_video(tmp_path / "broken.mp4", num_frames=5)
    with av.open(path) as container:
        packet = next(container.demux(video=0))
    assert packet.pos is not None
    content = bytearray(path.read_bytes())
    content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    info = probe(path)
    assert (info.width, info.height, info.num_frames) == (64, 48, 5)


def test_two_uneven_frames_of_a_container_without_durations(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "two.flv", num_frames=2, options={"bf": "0"}))
    assert info.average_fps == pytest.approx(25, rel=0.1)


def test_pictures_without_times_are_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="stores no presentation time for 60 of 60 frames"):
        probe(write_video(tmp_path / "raw.h264"))


def test_reordered_frames_in_avi_are_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"reorders its frames \(codec h264\)"):
        probe(write_video(tmp_path / "b.avi", options={"bf": "2"}))


def test_a_truncated_mp4_says_how_many_frames_came(tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mp4", container_options={"movflags": "faststart"})
    with pytest.raises(VideoError, match=r"ends after \d+ of 60 frames(.|\n)*--allow-truncated"):
        probe(cut(path, 0.7, "part.mp4"))


def test_sound_that_outlasts_the_pictures_is_no_truncation(tmp_path: Path) -> None:
    path = tmp_path / "long_sound.mkv"
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=25)
        audio = container.add_stream("aac", rate=16000)
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(drawn_frame(number), format="rgb24")))
        container.mux(video.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 64000), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(audio.encode(silence))
        container.mux(audio.encode(None))
    with av.open(path) as written:
        assert written.duration is not None
        assert written.duration > 3_500_000
    info = probe(path)
    assert info.num_frames == 10
    assert info.duration_seconds == pytest.approx(0.4)


def test_a_truncated_mkv_says_how_many_seconds_came(tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mkv")
    with pytest.raises(VideoError, match=r"ends after 0\.\d+ of 2\.40 seconds"):
        probe(cut(path, 0.5, "part.mkv"))


def test_an_mp4_cut_before_its_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"ends after [\d,]+ of [\d,]+ bytes, before the index"):
        probe(cut(write_video(tmp_path / "whole.mp4"), 0.5, "part.mp4"))


def test_a_file_cut_within_its_last_frame_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"ends within frame \d+, its last one"):
        probe(cut(write_video(tmp_path / "whole.flv", options={"bf": "0"}), 0.52, "part.flv"))


def test_an_image_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(VideoError, match="mode I;16"):
        probe(tmp_path / "deep.png")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    Image.fromarray(drawn_frame(0)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "part.png").write_bytes(content[:20])
    with pytest.raises(
        VideoError, match=r"part\.png looks like an image but cannot be read|part\.png cannot be opened"
    ):
        probe(tmp_path / "part.png")


def test_the_extension_does_not_decide(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", num_frames=4)
    shutil.copy(path, tmp_path / "video.png")
    assert probe(tmp_path / "video.png").num_frames == 4
