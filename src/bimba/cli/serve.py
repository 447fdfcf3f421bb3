"""`bimba serve`: a model in; a server out that answers questions about videos as OpenAI's clients ask them."""

import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.checkpoints.shipped import NANO
from bimba.cli import looking, options
from bimba.cli.demo import demo_video, four_questions
from bimba.cli.grouping import grouped
from bimba.cli.naming import model_or_default
from bimba.cli.progress import hush_transformers, waiting
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.serving.page.page import PageSettings
    from bimba.serving.server import Serving
    from bimba.serving.settings import ServeSettings

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
WITHOUT_GRADIO = 'gradio is not installed (pip install "bimba[serve]")'
"""Why there may be no page."""

_NETWORK, _LOAD, _MEDIA = "Who may ask", "How much at once", "Videos"
_MIB, _GIB = 2**20, 2**30

Host = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS", help="Listen here; anything but this machine needs a key.", rich_help_panel=_NETWORK
    ),
]
Port = Annotated[
    int,
    typer.Option(metavar="N", help="Listen here; 0 for any that is free.", min=0, max=65535, rich_help_panel=_NETWORK),
]
ApiKey = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY",
        envvar="BIMBA_API_KEY",
        help="Ask for this key, or one of several. Others see the command line of a program: take the variable or a "
        "file where there are others.",
        rich_help_panel=_NETWORK,
        show_default=False,
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Ask for one of the keys in this file, one a line.", rich_help_panel=_NETWORK),
]
WithoutKey = Annotated[
    bool,
    typer.Option(
        "--without-key",
        help="Listen beyond this machine without a key, where something in front of the server asks for one.",
        rich_help_panel=_NETWORK,
    ),
]
AllowUrlHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST",
        help="Fetch http(s) addresses of this host (may be given several times); else none is fetched.",
        rich_help_panel=_MEDIA,
        show_default=False,
    ),
]
MediaRoot = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Requests may name files below this folder.", rich_help_panel=_MEDIA),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Keep uploads and encoded videos here; else in a temporary folder that goes with the server.",
        rich_help_panel=_MEDIA,
    ),
]
CacheGb = Annotated[
    float, typer.Option(metavar="GB", help="Of encoded videos are kept.", min=0, rich_help_panel=_MEDIA)
]
MaxUploadMb = Annotated[
    float, typer.Option(metavar="MB", help="Of a file that is uploaded or fetched.", min=0.01, rich_help_panel=_MEDIA)
]
MaxRequestMb = Annotated[
    float,
    typer.Option(metavar="MB", help="Of any other request, with what comes along.", min=0.01, rich_help_panel=_MEDIA),
]
MaxMinutes = Annotated[
    float, typer.Option(metavar="N", help="That a video may last.", min=0.01, rich_help_panel=_MEDIA)
]
MaxPixels = Annotated[int, typer.Option(metavar="N", help="Of a frame.", min=1, rich_help_panel=_MEDIA)]
Running = Annotated[
    int, typer.Option(metavar="N", help="So many answers are generated together.", min=1, rich_help_panel=_LOAD)
]
Queue = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="So many more questions wait; others are told to come back later.",
        min=0,
        rich_help_panel=_LOAD,
    ),
]
PrefixGb = Annotated[
    float,
    typer.Option(
        metavar="GB",
        help="Of what the language model has read of prompts is kept in its memory, so that the next question about a "
        "video costs what it adds.",
        min=0,
        rich_help_panel=_LOAD,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="That a question may take, waiting included.", min=0.1, rich_help_panel=_LOAD),
]
Grace = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", help="In which running answers are ended when the server is.", min=1, rich_help_panel=_LOAD
    ),
]
NoPage = Annotated[
    bool, typer.Option("--no-page", help="Answer programs only; without it, / is a page to ask on in a browser.")
]
ServedName = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="What requests call the model; else what it is called here."),
]


@grouped
def serve(
    *,
    model: options.ModelOptions,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key: ApiKey = None,
    api_key_file: ApiKeyFile = None,
    without_key: WithoutKey = False,
    media_root: MediaRoot = None,
    allow_url_host: AllowUrlHost = None,
    store: Store = None,
    cache_gb: CacheGb = 10.0,
    max_upload_mb: MaxUploadMb = 1024.0,
    max_request_mb: MaxRequestMb = 64.0,
    max_minutes: MaxMinutes = 240.0,
    max_pixels: MaxPixels = 4096 * 2304,
    running: Running = 16,
    queue: Queue = 64,
    prefix_gb: PrefixGb = 1.0,
    timeout: Timeout = 600.0,
    grace: Grace = 60.0,
    frames: looking.Frames = None,
    max_video_tokens: looking.MaxVideoTokens = None,
    sampling: looking.SamplingMode = None,
    max_new_tokens: options.MaxNewTokens = 512,
    name: ServedName = None,
    no_page: NoPage = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer questions about videos over HTTP, as OpenAI's clients ask them.

    What is said of frames and tokens holds where a request says nothing.
    """
    check_installed()
    options.check_numbers(max_new_tokens)
    told = looking.LookOptions(frames=frames, max_video_tokens=max_video_tokens, sampling=sampling)
    look = looking.look_at(told, model.temporal_pooling)
    keys = read_keys(api_key or (), api_key_file)
    check_reach(host, keys, without_key=without_key)
    named = model_or_default(model.model, quiet=quiet)

    from bimba.serving.binding import bind, store_of
    from bimba.serving.settings import MediaLimits, ServeSettings, checked_root

    root = checked_root(media_root)
    bound = bind(host, port)  # before a model of many gigabytes is read
    with store_of(store) as folder:
        settings = ServeSettings(
            model_name=name or (Path(named).resolve().name if Path(named).is_dir() else named),
            api_keys=keys,
            media_root=root,
            url_hosts=tuple(allow_url_host or ()),
            store=folder,
            cache_bytes=round(cache_gb * _GIB),
            limits=MediaLimits(
                upload_bytes=round(max_upload_mb * _MIB),
                request_bytes=round(max_request_mb * _MIB),
                duration_seconds=max_minutes * 60,
                pixels=max_pixels,
            ),
            running=running,
            waiting=queue,
            prefix_bytes=round(prefix_gb * _GIB),
            seconds=timeout,
            frames=look.frames,
            sampling=look.sampling,
            max_video_tokens=look.max_video_tokens,
            max_new_tokens=max_new_tokens,
        )
        with waiting("loading the model", quiet=quiet):
            from bimba.serving.server import serving, warm_up

            page = None if no_page else page_of(named, folder)
            hush_transformers(quiet=True)
            qa = options.load_model(named, model, model.temporal_pooling)
            warm_up(qa)
        logging.getLogger("bimba.serving").setLevel(logging.INFO)
        with serving(qa, settings, bound, grace, page) as served:
            if not quiet:
                why_none = None if page is not None else "--no-page" if no_page else WITHOUT_GRADIO
                print_started(served, settings, key_told(keys, host), is_temporary=store is None, why_no_page=why_none)
            served.run()


def check_installed() -> None:
    """Refuse to begin where packages of the extra are missing.

    Raises:
        InputError: they are.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"a server needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            fix='pip install "bimba[serve]"',
        )


def read_keys(given: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """Keys of which a request has to bring one; none if neither is given.

    Raises:
        InputError: the file cannot be read or holds none, or a key cannot be sent in a header.
    """
    keys = list(given)
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read: {error}.", fix="name a file with one key a line.") from error
        in_file = [line for line in lines if line and not line.startswith("#")]
        if not in_file:
            raise InputError(f"{file} holds no key.", fix="write one key a line.")
        keys += in_file
    if any(not key or not key.isascii() or not key.isprintable() or " " in key for key in keys):
        raise InputError(
            "a key is empty, or holds a space or a letter that headers cannot hold.",
            fix="take letters and digits: openssl rand -hex 24.",
        )
    return tuple(dict.fromkeys(keys))


def check_reach(host: str, keys: Sequence[str], *, without_key: bool) -> None:
    """Refuse to answer the world without a key.

    Raises:
        InputError: no key is asked for, and others can reach the address.
    """
    from bimba.serving.settings import is_loopback

    if not keys and not without_key and not is_loopback(host):
        raise InputError(
            f"others can reach {host}, and no key is asked for.",
            fix="ask for one (BIMBA_API_KEY, --api-key-file), or say --without-key if something in front does.",
        )


def page_of(named: str, store: Path) -> "PageSettings | None":
    """What is on the page for browsers; None where the package that draws it is not installed.

    The small model knows one kind of videos, so that one is made for it when it is first asked for.

    Args:
        named: the model.
        store: folder of the server.
    """
    from bimba.serving.page.example import Example
    from bimba.serving.page.page import PageSettings, is_installed

    if not is_installed():
        return None

    def make() -> tuple[Path, list[str]]:
        folder = store / "example"
        try:
            path, video = demo_video(folder)
        except InputError:  # an earlier version drew it; what lies there is nobody else's
            path, video = demo_video(folder, overwrite=True)
        return path, [question.question for question in four_questions(video)]

    return PageSettings(named, Example("Needle video", make) if named == NANO else None)


def key_told(keys: Sequence[str], host: str) -> str:
    """Whether a key is needed and, if not, who may ask."""
    from bimba.serving.settings import is_loopback

    if keys:
        return "needed"
    return "none; only this machine reaches the server" if is_loopback(host) else "none; whoever reaches it may ask"


def print_started(
    served: "Serving", settings: "ServeSettings", key: str, *, is_temporary: bool, why_no_page: str | None
) -> None:
    """Say on stderr where the server is and how it answers."""
    why_alone = served.engine.why_alone
    how = f"up to {settings.running} answers share each step" if why_alone is None else f"one at a time: {why_alone}"
    kept = " (gone with the server; --store keeps them)" if is_temporary else ""
    for name, value in {
        "address": f"{served.address}/v1",
        "page": f"{served.address}/" if why_no_page is None else f"none: {why_no_page}",
        "model": settings.model_name,
        "answers": f"{how}; {settings.waiting} more wait",
        "key": key,
        "store": f"{settings.store}{kept}",
    }.items():
        print(f"{name:<8} {value}", file=sys.stderr)
    print("Ctrl-C ends it, and what is running first", file=sys.stderr, flush=True)
