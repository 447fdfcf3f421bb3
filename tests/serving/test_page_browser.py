"""The page as people use it, in a headless Chromium: no request leaves the server, nothing goes wrong in silence."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bimba
from bimba.cli.demo import FRAMES, demo_video, four_questions
from bimba.inference import VideoQA
from bimba.needles import make_needles
from bimba.serving.page.example import Example
from bimba.serving.page.page import PageSettings
from serving_runs import Running, endless, running, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("gradio")
sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 90_000
KEY = "right-key"
FIRST = "What is the first thing that appears?"
ENCODED = 'bimba_encodings_total{source="video"}'


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A browser without a window."""
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def needles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The demo's video, and questions about it."""
    path, video = demo_video(tmp_path_factory.mktemp("demo"))
    return path, [question.question for question in four_questions(video)]


@pytest.fixture(scope="module")
def server(needles: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """bimba-nano with a page."""
    page = PageSettings("bimba-nano", Example("Needle video", lambda: needles))
    qa = bimba.load("bimba-nano")
    with running(qa, tmp_path_factory.mktemp("store"), page=page, frames=FRAMES, max_new_tokens=64) as started:
        yield started


@contextmanager
def opened(
    browser: "Browser", server: Running, width: int = 1280, path: str = "/", also: tuple[str, ...] = ()
) -> Iterator["Page"]:
    """The page, watched: every request goes to the server, and nothing is complained about but what a test expects."""
    context = browser.new_context(viewport={"width": width, "height": 840})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.address + path)
    try:
        yield page
        assert [url for url in asked if not url.startswith((server.address, "blob:", "data:"))] == []
        expected = ("status of 400", "status of 401", "status of 429", *also)
        assert [text for text in complaints if not any(one in text for one in expected)] == []
    finally:
        context.close()


def give(page: "Page", file: Path) -> None:
    """Choose a file, as in the system's own window."""
    page.get_by_role("button", name="Choose a file").wait_for()
    page.locator('[data-part="input"]').set_input_files(file)


def ask(page: "Page", question: str) -> None:
    """Ask, by the keyboard."""
    page.locator('[data-part="ideas"] button:enabled').first.wait_for()
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_label("Question", exact=True).press("Enter")


def test_a_video_is_uploaded_asked_about_and_its_moments_are_shown(
    browser: "Browser", server: Running, needles: tuple[Path, list[str]]
) -> None:
    with opened(browser, server) as page:
        give(page, needles[0])
        frames = page.locator('[data-part="facts"] dd').nth(2)
        assert frames.inner_text() == f"{FRAMES} of 750"
        ask(page, FIRST)
        page.locator(".turn.done .text").wait_for()
        assert page.locator(".turn.done .text").inner_text() == "digit 7"
        moment = page.locator(".moments button").first
        moment.click()
        at = page.evaluate("document.querySelector('video').currentTime")
        minutes, seconds = moment.locator("b").inner_text().split(":")
        assert at == pytest.approx(60 * int(minutes) + float(seconds), abs=0.06)
        assert 3.2 <= at <= 5.4  # the digit 7 is there from 3.3 to 5.3 seconds
        before = server.metric(ENCODED)
        ask(page, "List everything that appears in the video.")
        page.locator(".turn.done .text").nth(1).wait_for()
        assert "not encoded again" in page.locator(".turn.done .foot").nth(1).inner_text()
        assert server.metric(ENCODED) == before
        ask(page, "What is the man doing?")
        page.locator(".turn.done .remark").wait_for()
        assert "mmiemon/BIMBA-LLaVA-Qwen2-7B" in page.locator(".turn.done .remark").inner_text()
    wait_until(lambda: not list(server.store.glob("files/*")))  # gone with the page


def test_the_example_works_by_the_keyboard_alone_on_a_narrow_screen(browser: "Browser", server: Running) -> None:
    with opened(browser, server, width=390) as page:
        page.get_by_role("button", name="Try the example").wait_for()
        for _ in range(2):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == "Try the example"
        page.keyboard.press("Enter")
        page.locator('[data-part="ideas"] button:enabled').first.wait_for()
        while page.evaluate("document.activeElement.innerText") != FIRST:
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator(".moments button").first.wait_for()
        page.locator(".turn.done").wait_for()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Temperature", exact=False).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_wrong_with_a_file_is_said(browser: "Browser", server: Running, tmp_path: Path) -> None:
    broken = tmp_path / "<b>talk.mp4"
    broken.write_bytes(b"no video at all")
    with opened(browser, server) as page:
        give(page, broken)
        error = page.locator('[data-part="error"]')
        error.wait_for()
        assert error.inner_text().startswith("<b>talk.mp4: the file ")
        assert "To fix it" in error.inner_text()
        assert page.get_by_role("button", name="Choose a file").is_visible()


def test_a_key_is_asked_for_and_an_answer_is_stopped(
    browser: "Browser", needles: tuple[Path, list[str]], tmp_path: Path
) -> None:
    page_settings = PageSettings("tiny", Example("Needle video", lambda: needles))
    with running(endless(), tmp_path, page=page_settings, api_keys=(KEY,), max_new_tokens=4000, frames=2) as server:
        with opened(browser, server) as page:
            page.get_by_label("Key").fill("wrong")
            page.keyboard.press("Enter")
            page.get_by_role("alert").wait_for()
            page.get_by_label("Key").fill(KEY)
            page.keyboard.press("Enter")
            page.get_by_role("button", name="Try the example").click()
            ask(page, "Why?")
            page.get_by_role("button", name="Stop").click()
            page.locator(".turn.stopped").wait_for()
            ask(page, "And why not?")
            page.get_by_role("button", name="Stop").wait_for()
        # The browser has gone, and with it the answer.
        wait_until(lambda: not server.serving.engine.num_open)


def test_a_running_server_with_an_open_page_ends_and_the_page_says_so(
    browser: "Browser", tiny: VideoQA, tmp_path: Path
) -> None:
    with (
        running(tiny, tmp_path, page=PageSettings("tiny"), grace_seconds=60) as server,
        opened(browser, server, also=("ERR_CONNECTION_REFUSED",)) as page,
    ):
        page.get_by_role("button", name="Choose a file").wait_for()
        server.serving.server.handle_exit(15, None)
        wait_until(lambda: not server.thread.is_alive())
        page.get_by_text("The server does not answer").wait_for()


def test_a_page_of_an_earlier_server_asks_to_be_loaded_again(browser: "Browser", server: Running) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Choose a file").wait_for()
        page.context.clear_cookies()  # a new server knows none of them
        page.get_by_role("button", name="Load this page again").click()
        page.wait_for_load_state()
        page.get_by_role("button", name="Try the example").click()
        page.locator('[data-part="ideas"] button:enabled').first.wait_for()


def test_what_the_browser_cannot_play_is_previewed(browser: "Browser", server: Running, tmp_path: Path) -> None:
    run = make_needles(tmp_path, seconds=6.0, size="320x240", fps=10, needles=1, codec="mpeg4", container="mkv")
    with opened(browser, server) as page:
        give(page, tmp_path / run.manifest.videos[0].file)
        page.get_by_text("This browser cannot play it, so this is a small preview.").wait_for()
        page.wait_for_function("document.querySelector('video').readyState >= 2")
        shown = page.evaluate(
            "(({duration, videoWidth, error}) => [duration, videoWidth, error])(document.querySelector('video'))"
        )
        assert shown == [pytest.approx(6.0, abs=0.25), 320, None]
        ask(page, "What appears first in the video?")
        page.locator(".moments button").first.click()
        assert page.evaluate("document.querySelector('video').currentTime") > 0


def test_the_plan_follows_what_is_typed(browser: "Browser", server: Running) -> None:
    with opened(browser, server) as page:
        page.get_by_role("button", name="Try the example").click()
        page.locator('[data-part="ideas"] button:enabled').first.wait_for()
        page.get_by_role("button", name="Settings").click()
        frames = page.locator("#settings input[type=number]").first
        for typed, told in (("8", "8 of 750"), ("100000", "750 of 750"), ("", "1 of 750"), ("60", "60 of 750")):
            frames.fill(typed)
            frames.press("Tab")
            page.locator('[data-part="facts"] dd', has_text=re.compile(f"^{told}$")).wait_for()
        page.get_by_label("Seed").fill("none")
        ask(page, FIRST)
        page.get_by_text("The setting seed").wait_for()
        assert page.get_by_label("Question", exact=True).input_value() == FIRST


def test_another_video_ends_what_was_said_of_the_first(
    browser: "Browser", needles: tuple[Path, list[str]], tmp_path: Path
) -> None:
    page_settings = PageSettings("tiny")
    with (
        running(endless(), tmp_path, page=page_settings, max_new_tokens=4000, frames=2) as server,
        opened(browser, server) as page,
    ):
        give(page, needles[0])
        ask(page, "Why?")
        page.locator(".turn.busy .text").wait_for()
        page.locator('[data-part="input"]').set_input_files(needles[0])
        page.get_by_text("Open a video to ask about it.").wait_for()
        wait_until(lambda: not server.serving.engine.num_open)
        ask(page, "And this one?")
        page.locator(".turn.busy .text").wait_for()
        assert page.locator(".turn .question").all_inner_texts() == ["And this one?"]
        wait_until(lambda: len(list(server.store.glob("files/*.json"))) == 1)
