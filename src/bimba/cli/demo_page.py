"""`bimba demo --page`: nothing in; a server on this machine whose page has the demo's video as its example out."""

import os
import sys
import webbrowser
from pathlib import Path

from bimba.checkpoints.shipped import NANO
from bimba.cli.demo import FRAMES, demo_video, four_questions
from bimba.cli.progress import hush_transformers, waiting
from bimba.cli.serve import check_installed
from bimba.errors import InputError

_MAX_NEW_TOKENS = 64
"""The small model's answers are words."""

_GRACE_SECONDS = 5.0


def show_page(out: Path, seed: int, *, overwrite: bool, opens: bool, quiet: bool) -> None:
    """Start a server on a free port of this machine, tell its address, and answer until it is ended.

    Args:
        out: folder for the video.
        seed: of the video.
        overwrite: replace another video in the folder.
        opens: open the page in a browser, where there is one.
        quiet: no spinners.

    Raises:
        InputError: packages of the extra are missing, or another video is there already.
    """
    check_installed()
    from bimba.serving.binding import bind, store_of
    from bimba.serving.page.page import PageSettings, is_installed
    from bimba.serving.settings import ServeSettings

    if not is_installed():
        raise InputError("the page needs gradio, which is not installed.", fix='pip install "bimba[serve]"')
    with waiting("making a video", quiet=quiet):
        path, video = demo_video(out, seed, overwrite=overwrite)
    bound = bind("127.0.0.1", 0)
    with store_of(None) as folder:
        settings = ServeSettings(model_name=NANO, store=folder, frames=FRAMES, max_new_tokens=_MAX_NEW_TOKENS)
        with waiting("loading the model and the page", quiet=quiet):
            import bimba
            from bimba.serving.page.example import Example
            from bimba.serving.server import serving, warm_up

            hush_transformers(quiet=True)
            qa = bimba.load(NANO)
            warm_up(qa)
        questions = [question.question for question in four_questions(video)]
        page = PageSettings(NANO, Example(path.name, lambda: (path, questions)))
        with serving(qa, settings, bound, _GRACE_SECONDS, page) as served:
            print(f"page  {served.address}/")
            print("Ctrl-C ends it", file=sys.stderr, flush=True)
            sys.stdout.flush()
            if opens and _has_screen():
                webbrowser.open(f"{served.address}/")
            served.run()


def _has_screen() -> bool:
    """Whether a browser has a window; one in the terminal would be in the way."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
