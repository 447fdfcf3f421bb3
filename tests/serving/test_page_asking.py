"""What a page shows of a question, however it ends; and previews of what a browser cannot play."""

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bimba.inference import VideoQA
from bimba.needles import make_needles
from bimba.serving.engine.engine import Engine
from bimba.serving.engine.ticket import Media
from bimba.serving.media.files import FileStore
from bimba.serving.metrics import Metrics
from bimba.serving.page.asking import Asking, Wishes
from bimba.serving.page.knowing import Known
from bimba.serving.page.opening import Opening
from bimba.serving.page.previews import Previews
from bimba.serving.page.talks import Talk, Talks
from bimba.serving.refusals import RefusedError
from bimba.serving.settings import MediaLimits, ServeSettings
from bimba.video.source import Video

WISHES = Wishes(frames=4, sampling="uniform", video_tokens=None, new_tokens=3, temperature=0, seed=None, evidence=False)


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    """An empty store."""
    return FileStore(tmp_path / "files", MediaLimits())


@pytest.fixture
def engine(tiny: VideoQA, tmp_path: Path) -> Iterator[Engine]:
    """That takes one question, and no more."""
    settings = ServeSettings(model_name="tiny", store=tmp_path, running=1, waiting=0)
    engine = Engine(tiny, settings, Metrics())
    engine.start()
    yield engine
    engine.end()


def asking(engine: Engine, seconds: float = 60.0, model: str = "tiny") -> Asking:
    return Asking(engine, Metrics(), seconds, Known(model, "mine"))


def opened(engine: Engine, files: FileStore, video: Path) -> tuple[Talk, dict[str, Any]]:
    """A talk about a video, and what is shown of that."""
    opening = Opening(engine.qa, files, MediaLimits(), Known("tiny", "mine"), None)
    with video.open("rb") as file:
        stored = files.add(file, "talk.mp4", "page", "page-me")
    talk = Talk("page-me")
    shown = asyncio.run(opening.open(talk, stored.id, "talk.mp4", WISHES.look))
    assert shown is not None
    return talk, shown


def ask(asking: Asking, talk: Talk, question: str, wishes: Wishes = WISHES) -> dict[str, Any]:
    """The turn, when it has come to its end."""

    async def to_the_end() -> None:
        async for _ in asking.ask(talk, question, wishes):
            pass

    asyncio.run(to_the_end())
    return talk.shown[-1]


def test_a_plan_says_what_is_looked_at(engine: Engine, files: FileStore, video: Path) -> None:
    _, shown = opened(engine, files, video)
    assert shown["file"] == {"kind": "video", "seconds": 4.0, "width": 96, "height": 64, "frames": 40}
    assert shown["plan"]["frames"] == 4
    assert shown["plan"]["at"] == [0.0, 1.3, 2.6, 3.9]


def test_follow_up_questions_are_about_what_was_said(engine: Engine, files: FileStore, video: Path) -> None:
    talk, _ = opened(engine, files, video)
    first = ask(asking(engine), talk, "What?")
    second = ask(asking(engine), talk, "And then?")
    assert (first["state"], first["was_encoded"], second["was_encoded"]) == ("done", False, True)
    assert [turn.role for turn in talk.turns] == ["user", "assistant"] * 2
    assert talk.turns[1].content == first["text"]
    assert talk.ticket is None


def test_tokens_of_the_video_are_bounded_in_plan_and_answer(engine: Engine, files: FileStore, video: Path) -> None:
    talk, shown = opened(engine, files, video)
    each = shown["plan"]["tokens"] // shown["plan"]["frames"]
    opening = Opening(engine.qa, files, MediaLimits(), Known("tiny", "mine"), None)
    for frames in (4, None):
        few = WISHES.model_copy(update={"video_tokens": 3 * each, "frames": frames})
        planned = opening.shown(talk, few.look)
        assert planned is not None
        assert (planned["plan"]["frames"], planned["plan"]["tokens"]) == (3, 3 * each)
        assert ask(asking(engine), talk, "What?", few)["tokens"] == 3 * each
    none = opening.shown(talk, WISHES.model_copy(update={"video_tokens": 1}).look)
    assert none is not None
    assert "max_video_tokens" in none["plan"]["error"]


def test_without_a_video_or_room_or_time_a_page_says_what_to_do(engine: Engine, files: FileStore, video: Path) -> None:
    assert "Open one first" in ask(asking(engine), Talk("page-me"), "What?")["error"]
    talk, _ = opened(engine, files, video)
    late = ask(asking(engine, seconds=1e-9), talk, "What?")
    assert late["state"] == "failed"
    assert "longer than this server allows. Try fewer frames" in late["error"]
    assert talk.turns == []
    long = ask(asking(engine), talk, "What?", WISHES.model_copy(update={"new_tokens": 10**6}))
    assert long["state"] == "failed"
    assert "may be answered" in long["error"]
    engine.leave()
    assert "Load this page again" in ask(asking(engine), talk, "What?")["error"]


def test_a_full_queue_says_when_to_come_back(engine: Engine, files: FileStore, video: Path) -> None:
    talk, _ = opened(engine, files, video)
    other, _ = opened(engine, files, video)

    async def two() -> None:
        first = asking(engine).ask(talk, "What?", WISHES.model_copy(update={"new_tokens": 400}))
        await anext(first)  # the question is with the engine
        async for _ in asking(engine).ask(other, "What?", WISHES):
            pass
        await first.aclose()

    asyncio.run(two())
    assert other.shown[-1]["state"] == "failed"
    assert "Try again in" in other.shown[-1]["error"]


def test_a_file_that_is_gone_or_not_ones_own_is_not_opened(engine: Engine, files: FileStore, video: Path) -> None:
    talk, shown = opened(engine, files, video)
    opening = Opening(engine.qa, files, MediaLimits(), Known("tiny", "mine"), None)
    stranger = asyncio.run(opening.open(Talk("page-you"), shown["id"], "talk.mp4", WISHES.look))
    assert stranger is not None
    assert "no such file" in stranger["error"]
    opening.close(talk)
    assert files.of("page-me") == []
    missing = asyncio.run(opening.open(talk, "example", "x", WISHES.look))
    assert missing is not None
    assert missing["error"]


def test_an_answer_about_another_video_is_not_said_of_the_next(engine: Engine, files: FileStore, video: Path) -> None:
    talk, _ = opened(engine, files, video)
    opening = Opening(engine.qa, files, MediaLimits(), Known("tiny", "mine"), None)

    async def close_early() -> None:
        turns = asking(engine).ask(talk, "What?", WISHES.model_copy(update={"new_tokens": 400}))
        async for _ in turns:
            if talk.shown[-1]["text"]:
                break
        opening.close(talk)
        async for _ in turns:
            pass

    asyncio.run(close_early())
    assert (talk.turns, talk.shown, talk.ticket) == ([], [], None)


def test_of_two_videos_that_are_opened_at_once_the_second_is_talked_about(
    engine: Engine, files: FileStore, video: Path
) -> None:
    opening = Opening(engine.qa, files, MediaLimits(), Known("tiny", "mine"), None)
    names = []
    for _ in range(2):
        with video.open("rb") as file:
            names.append(files.add(file, "talk.mp4", "page", "page-me").id)
    talk = Talk("page-me")

    async def both() -> list[dict[str, Any] | None]:
        return await asyncio.gather(*(opening.open(talk, name, "talk.mp4", WISHES.look) for name in names))

    first, second = asyncio.run(both())
    assert first is None
    assert second is not None
    assert second["id"] == talk.file_id == names[1]
    assert [one.id for one in files.of("page-me")] == [names[1]]


def test_a_page_that_was_closed_while_its_video_was_opened_leaves_nothing(
    engine: Engine, files: FileStore, video: Path
) -> None:
    opening = Opening(engine.qa, files, MediaLimits(), Known("tiny", "mine"), None)
    talks = Talks(opening.end)
    with video.open("rb") as file:
        name = files.add(file, "talk.mp4", "page", "page-me").id
    talk = talks.of("page-me", "a")

    async def close_early() -> dict[str, Any] | None:
        task = asyncio.create_task(opening.open(talk, name, "talk.mp4", WISHES.look))
        await asyncio.sleep(0)
        talks.forget("page-me", "a")
        return await task

    shown = asyncio.run(close_early())
    assert shown is None or "error" in shown
    assert talk.media is None
    assert files.of("page-me") == []


def test_uploads_that_come_at_once_have_to_fit_together(video: Path, tmp_path: Path) -> None:
    num_bytes = video.stat().st_size
    files = FileStore(tmp_path / "files", MediaLimits(stored_bytes=2 * num_bytes - 1))

    class Slow(io.BytesIO):
        """In the middle of which another one comes."""

        def read(self, size: int | None = -1, /) -> bytes:
            if not self.tell():
                return super().read(size)
            with video.open("rb") as other, pytest.raises(RefusedError, match="keeps no more files"):
                files.add(other, "b.mp4", "page", "page-me")
            return super().read(size)

    kept = files.add(Slow(video.read_bytes()), "a.mp4", "page", "page-me")
    assert [one.id for one in files.of("page-me")] == [kept.id]
    with pytest.raises(RefusedError, match="cannot be opened"):
        files.add(io.BytesIO(b"0" * (num_bytes - 1)), "c.mp4", "page", "page-me")  # there is room, if it were one


def test_a_talk_that_is_forgotten_is_stopped_and_its_file_deleted() -> None:
    ended: list[Talk] = []
    talks = Talks(ended.append)
    talk = talks.of("page-me", "a")
    assert talks.of("page-me", "a") is talk
    assert talks.of("page-you", "a") is not talk
    talks.forget("page-me", "a")
    talks.forget("page-me", "a")
    assert ended == [talk]


@pytest.mark.parametrize(("answer", "is_told"), [("I cannot tell.", True), ("red star", False)])
def test_the_small_model_names_who_could_tell(answer: str, is_told: bool) -> None:
    assert ("mmiemon/BIMBA" in Known("bimba-nano", "small").remark_on(answer)) is is_told
    assert Known("mine", "mine").remark_on(answer) == ""


def test_a_preview_shows_the_frames_at_their_times(tmp_path: Path) -> None:
    run = make_needles(
        tmp_path / "made", seconds=12.0, size="1280x720", fps=25, needles=1, codec="mpeg4", container="mkv"
    )
    media = Media(tmp_path / "made" / run.manifest.videos[0].file, "the file", "0" * 64)
    previews = Previews(tmp_path / "previews", MediaLimits())
    path = previews.of(media)
    assert previews.of(media) == path
    with Video(path) as made, Video(media.path) as original:
        assert (made.info.codec, made.info.width, made.info.height) == ("h264", 640, 360)
        times = [round(float(seconds), 3) for seconds in made.info.frame_seconds]
        known = [round(float(seconds), 3) for seconds in original.info.frame_seconds]
        assert set(times[:-1]) <= set(known)
        assert 55 <= len(times) <= 62
        assert made.info.frame_seconds[-1] == pytest.approx(original.info.duration_seconds, abs=0.05)


def test_what_cannot_be_previewed_is_said(video: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"no video")
    media = Media(broken, "the file", "1" * 64)
    with pytest.raises(RefusedError) as caught:
        Previews(tmp_path / "previews", MediaLimits()).of(media)
    assert "/" not in caught.value.message.split("To fix it")[0]
    narrow = Previews(tmp_path / "narrow", MediaLimits(duration_seconds=1))
    with pytest.raises(RefusedError, match="it lasts 4 seconds"):
        narrow.of(replace(media, path=video))
    assert list((tmp_path / "narrow").iterdir()) == []
