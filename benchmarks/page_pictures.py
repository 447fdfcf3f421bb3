"""`python -m benchmarks.page_pictures`: nothing in; the pictures of the page in docs/how-to out, at two widths.

Needs Playwright (extra `dev`) and a Chromium; bimba-nano answers about the video of `bimba demo`.
"""

import io
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import bimba
from bimba.checkpoints.shipped import NANO
from bimba.cli.demo import FRAMES, demo_video, four_questions
from bimba.serving.binding import bind
from bimba.serving.page.example import Example
from bimba.serving.page.page import PageSettings
from bimba.serving.server import serving, warm_up
from bimba.serving.settings import ServeSettings

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "how-to"
SIZES = ((1280, 840), (390, 844))
NUM_QUESTIONS = 2
COLOURS = 256
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
PATIENCE_MS = 120_000


def main() -> None:
    """Start a server, take the pictures, end it."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("there is no Chromium here")
    with tempfile.TemporaryDirectory() as folder:
        path, video = demo_video(Path(folder) / "demo")
        questions = [question.question for question in four_questions(video)]
        qa = bimba.load(NANO)
        warm_up(qa)
        settings = ServeSettings(model_name=NANO, store=Path(folder), frames=FRAMES, max_new_tokens=64)
        page = PageSettings(NANO, Example(path.name, lambda: (path, questions)))
        with serving(qa, settings, bind("127.0.0.1", 0), 5.0, page) as served, sync_playwright() as playwright:
            thread = threading.Thread(target=served.run)
            thread.start()
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            for width, height in SIZES:
                _take(browser, served.address, width, height, questions[:NUM_QUESTIONS])
            browser.close()
            served.server.should_exit = True
            thread.join()


def _take(browser: Browser, address: str, width: int, height: int, questions: list[str]) -> None:
    """One picture: the example is asked about, and the first moment of the last answer is shown."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Try the example").click()
    for number, question in enumerate(questions, start=1):
        page.get_by_role("button", name=question).and_(page.locator(":enabled")).click()
        page.locator(".turn.done").nth(number - 1).wait_for()
    page.locator(".moments button").first.click()
    page.mouse.move(0, 0)
    page.wait_for_function("!document.querySelector('video').seeking")
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    path = FOLDER / f"page-{width}.png"
    taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    context.close()


if __name__ == "__main__":
    main()
