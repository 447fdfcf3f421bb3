"""A talk on a page in, the page as Gradio shows it out: where things stand, and what happens when they are used."""

import html
import json
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.types import ASGIApp

from bimba.serving.gate import OWNER
from bimba.serving.page.asking import Asking, Wishes
from bimba.serving.page.opening import Opening
from bimba.serving.page.pages import MOST_PAGES
from bimba.serving.page.routes import part
from bimba.serving.page.talks import Talk, Talks
from bimba.serving.settings import ServeSettings

TITLE = "bimba: ask a video"
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")
_MOST_FRAMES, _MOST_LETTERS = 1024, 4000
_SAMPLINGS = [("Evenly, first to last", "uniform"), ("Middle of equal parts", "middle"), ("One a second", "fps")]
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
"""Of every event: the page shows itself how far it is, no program may call it, and the engine says how many wait.

Gradio hands events and requests on in the places of parameters of these types, which have to come first.
"""


class View:
    """The page.

    Args:
        talks: what is talked about on each open page.
        opening: opens videos.
        asking: asks questions.
        settings: of the server.
    """

    def __init__(self, talks: Talks, opening: Opening, asking: Asking, settings: ServeSettings) -> None:
        self._talks, self._opening, self._asking, self._settings = talks, opening, asking, settings
        self._blocks: gr.Blocks | None = None

    def blocks(self) -> gr.Blocks:
        """The page, laid out."""
        blocks: gr.Blocks
        with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
            gr.HTML(self._head(), elem_id="head", js_on_load=None)
            _piece("link", value="")
            with gr.Row(elem_id="columns"):
                with gr.Column(elem_id="left", scale=7, min_width=320):
                    stage = self._stage()
                with gr.Column(elem_id="right", scale=6, min_width=320):
                    talk = _piece("talk", value=self._conversation(Talk("")))
                    with gr.Row(elem_id="ask-row"):
                        question = gr.Textbox(
                            label="Question",
                            show_label=False,
                            placeholder="Your question",
                            max_length=_MOST_LETTERS,
                            elem_id="question",
                            html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
                        )
                        ask = gr.Button("Ask", elem_id="ask")
                        stop = gr.Button("Stop", elem_id="stop", visible=False)
                    wishes = self._wishes()
            asked = [talk, question, ask, stop]
            gr.on([ask.click, question.submit], self._ask, [question, *wishes], asked, **_QUIET)
            talk.asked(self._ask_idea, wishes, asked, **_QUIET)
            stop.click(self._stop, None, None, **_QUIET)
            looks = wishes[:4]
            # A second video may be opened while the first is still looked into.
            stage.opened(self._open, looks, [stage, talk], trigger_mode="multiple", **_QUIET)
            stage.closed(self._close, None, [stage, talk], trigger_mode="multiple", **_QUIET)
            gr.on([one.change for one in looks], self._plan, looks, stage, trigger_mode="always_last", **_QUIET)
            blocks.unload(self._leave)
        blocks.queue(default_concurrency_limit=None, api_open=False)
        blocks.state_session_capacity = MOST_PAGES
        # Of its own accord Gradio does 40 things at once, so that 40 questions which wait would keep all pages waiting.
        blocks._queue.max_thread_count = self._settings.running + self._settings.waiting + MOST_PAGES  # noqa: SLF001
        self._blocks = blocks
        return blocks

    def num_unread(self, session: str) -> int:
        """How much a page has asked and not read the answer to; Gradio keeps it until it is read."""
        return len(self._queue.pending_event_ids_session.get(session, ()))

    @property
    def _queue(self) -> Any:
        if self._blocks is None:
            raise ValueError("the page is not laid out yet.")
        return self._blocks._queue  # noqa: SLF001

    def _head(self) -> str:
        model = html.escape(self._opening.known.shown)
        return (
            '<header><img src="page/icon.svg" alt=""><h1>bimba</h1>'
            f'<span class="model" title="The model that answers: {model}">{model}</span></header>'
        )

    def _stage(self) -> gr.HTML:
        limits = self._settings.limits
        most_mb, most_minutes = limits.upload_bytes / 1e6, limits.duration_seconds / 60
        told = f"A file may have {most_mb:,.4g} MB and last {most_minutes:,.4g} minutes."
        example = self._opening.example
        name = "" if example is None else example.name
        return _piece("stage", value="", most_bytes=limits.upload_bytes, limits_text=told, example=name)

    def _wishes(self) -> list[Any]:
        """Settings, in the order in which `_wished` takes them; how the video is looked at first."""
        settings = self._settings
        is_auto = settings.frames == "auto"
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            auto = gr.Checkbox(is_auto, label="As many frames as the model can read")
            least = self._opening.least_frames
            count = max(least, 64 if settings.frames == "auto" else settings.frames)
            frames = _range(
                least,
                max(_MOST_FRAMES, count),
                count,
                step=1,
                precision=0,
                label="Frames, at most (unless ticked)",
            )
            sampling = gr.Radio(_SAMPLINGS, value=settings.sampling, label="Which frames")
            tokens = gr.Textbox(
                "" if settings.max_video_tokens is None else str(settings.max_video_tokens),
                label="Tokens of the video, at most (empty: what the model can read)",
                max_lines=1,
                max_length=20,
            )
            most = settings.max_new_tokens
            new_tokens = _range(1, most, most, step=1, precision=0, label="New tokens, at most")
            temperature = _range(0, 2, 0, step=0.1, label="Temperature (0: always the likeliest word)")
            seed = gr.Textbox("", label="Seed (with a temperature; empty for any)", max_lines=1, max_length=20)
            evidence = gr.Checkbox(value=True, label="Find the moments that an answer rests on")
        return [auto, frames, sampling, tokens, new_tokens, temperature, seed, evidence]

    def _wished(
        self,
        auto: bool,
        frames: float,
        sampling: str,
        video_tokens: str | None = None,
        new_tokens: float | None = None,
        temperature: float = 0.0,
        seed: str | None = None,
        evidence: bool = False,
    ) -> Wishes:
        """Settings as they stand on the page.

        Raises:
            gr.Error: one cannot be taken.
        """
        most = self._settings.max_new_tokens
        given = {
            "frames": None if auto else frames,
            "sampling": sampling,
            "video_tokens": (video_tokens or "").strip() or None,
            "new_tokens": None if new_tokens is None or new_tokens >= most else new_tokens,
            "temperature": temperature,
            "seed": (seed or "").strip() or None,
            "evidence": evidence,
        }
        try:
            return Wishes.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            name = " ".join(str(one) for one in first["loc"])
            raise gr.Error(f"The setting {name}: {first['msg']}.", print_exception=False) from error

    async def _open(self, event: gr.EventData, request: gr.Request, *looks: Any) -> tuple[Any, str]:
        """A file was uploaded, or the example is asked for."""
        talk = self._of(request)
        shown = await self._opening.open(talk, str(event.id), str(event.name), self._wished(*looks).look)
        return gr.skip() if shown is None else json.dumps(shown), self._conversation(talk)

    async def _close(self, event: gr.EventData, request: gr.Request) -> tuple[Any, str]:
        """Another file is going to be chosen; it may be there by now."""
        talk = self._of(request)
        if talk.file_id == str(event.id):
            self._opening.close(talk)
        return gr.skip(), self._conversation(talk)

    def _plan(self, request: gr.Request, *looks: Any) -> Any:
        """How the video is looked at has changed."""
        shown = self._opening.shown(self._of(request), self._wished(*looks).look)
        return gr.skip() if shown is None else json.dumps(shown)

    async def _ask(self, request: gr.Request, question: str, *wishes: Any) -> AsyncIterator[list[Any]]:
        talk = self._of(request)
        if not question.strip() or talk.ticket is not None:
            yield [gr.skip()] * 4
            return
        wished, is_first = self._wished(*wishes), True
        async for _ in self._asking.ask(talk, question.strip(), wished):
            begun = ["", gr.Button(interactive=False), gr.Button(visible=True)] if is_first else [gr.skip()] * 3
            if is_first and talk.ticket is None:  # refused: the question stands ready to be asked again
                begun = [gr.skip()] * 3
            is_first = False
            yield [self._conversation(talk), *begun]
        yield [self._conversation(talk), gr.skip(), gr.Button(interactive=True), gr.Button(visible=False)]

    async def _ask_idea(self, event: gr.EventData, request: gr.Request, *wishes: Any) -> AsyncIterator[list[Any]]:
        """A question that was to be clicked on."""
        async for shown in self._ask(request, str(event.question), *wishes):
            yield shown

    async def _stop(self, request: gr.Request) -> None:
        self._of(request).stop()

    async def _leave(self, request: gr.Request) -> None:
        """The page was closed; Gradio would keep what it has not read."""
        session = _session(request)
        await self._queue.clean_events(session_hash=session)
        self._queue.pending_messages_per_session.pop(session, None)
        self._queue.pending_event_ids_session.pop(session, None)

    def _of(self, request: gr.Request) -> Talk:
        return self._talks.of(_owner(request), _session(request))

    def _conversation(self, talk: Talk) -> str:
        known = self._opening.known
        shown = {
            "turns": talk.shown,
            "about": known.about,
            "questions": list(talk.questions or known.questions),
            "ready": talk.media is not None,
            "busy": talk.ticket is not None,
        }
        return json.dumps(shown)


def _range(least: float, most: float, value: float, **told: Any) -> gr.Slider:
    """A slider beside which anything may be typed: what is too little or too much is the least or the most.

    The page shows it so by itself, and says nothing more of it; Gradio would refuse what was typed, and the plan of the
    video would stay that of an earlier setting. (It writes a file beside a class that is made of one of its own.)
    """
    slider = gr.Slider(least, most, value, **told)
    checked = slider.preprocess

    def preprocess(payload: float | None) -> float:
        return checked(least if payload is None else min(max(payload, least), most))

    slider.preprocess = preprocess  # type: ignore[method-assign]
    return slider


def mounted(blocks: gr.Blocks, app: FastAPI) -> ASGIApp:
    """An application with the page at /; nothing of it comes from elsewhere."""
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.indigo, neutral_hue=gr.themes.colors.slate, font=_FONTS, font_mono=_MONO
    ).set(
        body_background_fill="var(--ground)",
        body_background_fill_dark="var(--ground)",
        body_text_color="var(--ink)",
        body_text_color_dark="var(--ink)",
        slider_color="var(--accent)",
        slider_color_dark="var(--accent)",
    )
    whole: ASGIApp = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
        theme=theme,
        css=part("page.css"),
        head='<link rel="icon" href="page/icon.svg" type="image/svg+xml">',
    )
    return whole


def _piece(name: str, **props: Any) -> gr.HTML:
    """A piece of the page that draws itself: a fixed text, and a script that fills it in, as text and never as HTML."""
    return gr.HTML(
        elem_id=name,
        html_template=part(f"{name}.html"),
        js_on_load=part(f"{name}.js"),
        apply_default_css=False,
        **props,
    )


def _owner(request: gr.Request) -> str:
    """The visitor whom the gate has found."""
    if request.request is None:
        raise ValueError("the page was asked without a request.")
    return str(request.request.scope[OWNER])


def _session(request: gr.Request) -> str:
    return str(request.session_hash)
