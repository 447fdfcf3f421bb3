"""A server with the tiny model in, what it holds out: 64 clients for a minute, and 200 files of strangers.

The clients are coroutines of this process; the server and whoever asks for its health are processes of their own, on
this machine's loopback. `python -m benchmarks.serving health` takes a quarter of a minute, and health alone.
"""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fuzz.clips import write_clips
from benchmarks.fuzz.mutations import MUTATIONS
from benchmarks.reports import write_report
from bimba.inference import VideoQA
from bimba.models.bimba.tiny import tiny_model
from bimba.needles import make_needles

CLIENTS, SECONDS, ALONE_SECONDS = 64, 60.0, 20.0
NUM_VIDEOS, NUM_TOKENS, NUM_RUNNING, NUM_WAITING = 6, 48, 32, 16
NUM_HOSTILE, UPLOADS_AT_ONCE = 200, 4
MOST_HEALTH_SECONDS, LEAST_SPEEDUP = 0.1, 3.0
HEALTH_SECONDS, HEALTH_RUNS = 15.0, 3
_MIB = 2**20


@dataclass
class Load:
    """What came of a load.

    Attributes:
        outcomes: of questions, by what became of them.
        tokens: that were generated.
        seconds: that it took.
        latencies: of answers.
        health: of /healthz meanwhile.
        memory: of the server, MiB, every second.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


@contextmanager
def server(model: Path, media: Path, store: Path) -> Iterator[tuple[str, int]]:
    """The command in a process of its own; its address and the number of its process."""
    words = ["--model", model, "--media-root", media, "--store", store, "--running", NUM_RUNNING]
    command = [sys.executable, "-m", "bimba", "serve", "--port", "0", "--queue", NUM_WAITING, *words]
    log = store.parent / "server.log"
    with log.open("w") as told, subprocess.Popen([str(word) for word in command], stderr=told) as process:
        try:
            while not (found := re.search(r"address  (\S+)/v1[\s\S]*Ctrl-C", log.read_text())):
                if process.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(0.1)
            yield found[1], process.pid
        finally:
            process.terminate()
            process.wait(90)


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def question(videos: list[str], chance: random.Random) -> dict[str, Any]:
    """About one of the videos, streamed or not."""
    parts = [
        {"type": "video_url", "video_url": {"url": f"file:{chance.choice(videos)}"}},
        {"type": "text", "text": f"What is there, and what comes after it? {chance.randrange(10**6)}"},
    ]
    body = {"model": "model", "messages": [{"role": "user", "content": parts}], "max_tokens": NUM_TOKENS}
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if chance.random() < 0.5 else {})


async def ask(client: httpx.AsyncClient, body: dict[str, Any], load: Load) -> None:
    """Ask once, and note what became of it."""
    begun = time.perf_counter()
    try:
        answer = await client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        load.outcomes[f"lost ({type(error).__name__})"] += 1
        return
    usage = re.search(r'"completion_tokens":(\d+)', answer.text)
    is_whole = answer.text.endswith("data: [DONE]\n\n") if body.get("stream") else True
    if answer.status_code == 200 and usage and is_whole:
        load.outcomes["answered"] += 1
        load.tokens += int(usage[1])
        load.latencies.append(time.perf_counter() - begun)
    elif answer.status_code == 429:
        load.outcomes["refused with 429"] += 1
        await asyncio.sleep(min(float(answer.headers["retry-after"]), 1.0))
    else:
        load.outcomes[f"lost (status {answer.status_code})"] += 1


@asynccontextmanager
async def watched(address: str, pid: int, load: Load) -> AsyncIterator[None]:
    """A block in which /healthz is asked and the memory looked at."""

    async def look() -> None:
        while True:
            load.memory.append(resident_mib(pid))
            await asyncio.sleep(1)

    command = [sys.executable, "-m", "benchmarks.health_probe", address]
    pipe = asyncio.subprocess.PIPE
    probing = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        told, _ = await probing.communicate(b"")  # which ends its input
    load.health = json.loads(told)


async def under_load(address: str, pid: int, videos: list[str], clients: int, seconds: float) -> Load:
    """So many clients, each of which asks again when it has its answer."""
    load = Load()

    async def keep_asking(client: httpx.AsyncClient, chance: random.Random, end: float) -> None:
        while time.perf_counter() < end:
            await ask(client, question(videos, chance), load)

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
        for video in videos:  # encoded now, and read from the disk from then on
            await ask(client, question([video], random.Random(0)), Load())
        begun = time.perf_counter()
        async with watched(address, pid, load):
            askers = [keep_asking(client, random.Random(number), begun + seconds) for number in range(clients)]
            await asyncio.gather(*askers)
        load.seconds = time.perf_counter() - begun
    return load


async def hostile_uploads(address: str, folder: Path) -> Counter[str]:
    """Damaged clips, zeros and noise; what became of each."""
    folder.mkdir()
    clips = [path.read_bytes() for path in write_clips(folder)]
    chance, kinds = random.Random(0), list(MUTATIONS.values())
    contents = [kinds[n % len(kinds)](clips[n % len(clips)], n) for n in range(NUM_HOSTILE - 20)]
    contents += [b"\0" * 10_000_000] * 10 + [chance.randbytes(10_000) for _ in range(10)]
    outcomes: Counter[str] = Counter()
    together = asyncio.Semaphore(UPLOADS_AT_ONCE)
    async with httpx.AsyncClient(base_url=address, timeout=300) as client:

        async def send(content: bytes) -> None:
            async with together:
                answer = await client.post("/v1/files", data={"purpose": "user_data"}, files={"file": content})
            what = {200: "taken (still readable)", 400: "refused with a reason"}
            outcomes[what.get(answer.status_code, f"status {answer.status_code}")] += 1

        await asyncio.gather(*map(send, contents))
        plain = {"model": "model", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 4}
        answer = await client.post("/v1/chat/completions", json=plain)
        outcomes["answers afterwards" if answer.status_code == 200 else "NO ANSWER afterwards"] += 1
    return outcomes


def in_process(videos: list[Path], seconds: float) -> float:
    """Tokens a second of `VideoQA.ask` about encoded videos, one question after the other, without a server."""
    qa, chance = VideoQA(*tiny_model(seed=0)), random.Random(1)
    encoded = [qa.encode(video) for video in videos]
    num_tokens, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        asked = f"What is there, and what comes after it? {chance.randrange(10**6)}"
        num_tokens += len(qa.ask(chance.choice(encoded), asked, max_new_tokens=NUM_TOKENS).token_ids)
    return num_tokens / (time.perf_counter() - begun)


def made(folder: Path) -> tuple[Path, Path, list[str]]:
    """A model, a folder of videos, and their names."""
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.save_pretrained(folder / "model")
    qa.processor.save_pretrained(folder / "model")
    run = make_needles(folder / "media", videos=NUM_VIDEOS, seconds=10.0, size="160x96", fps=10, needles=2)
    return folder / "model", folder / "media", [video.file for video in run.manifest.videos]


def health_report() -> str:
    """A table in Markdown: /healthz under load, run by run, and how busy the machine was."""
    lines = [f"## /healthz with {CLIENTS} clients for {HEALTH_SECONDS:.0f} s", ""]
    lines += ["| load of the machine before | /healthz | median | 99 % within | longest | tokens/s | lost |"]
    lines += ["| ---: " * 7 + "|"]
    with tempfile.TemporaryDirectory() as name:
        model, media, videos = made(Path(name))
        for number in range(HEALTH_RUNS):
            busy = os.getloadavg()[0]
            with server(model, media, Path(name) / f"store-{number}") as (address, pid):
                load = asyncio.run(under_load(address, pid, videos, CLIENTS, HEALTH_SECONDS))
            lost = sum(count for outcome, count in load.outcomes.items() if outcome.startswith("lost"))
            times = " | ".join(f"{1000 * share(load.health, part):.0f} ms" for part in (0.5, 0.99, 1.0))
            rate = load.tokens / load.seconds
            lines.append(f"| {busy:.1f} | {len(load.health):,} | {times} | {rate:.0f} | {lost} |")
    return "\n".join(lines)


def report() -> str:
    """Tables in Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, media, videos = made(folder)
        store = folder / "store"
        ask_alone = in_process([media / video for video in videos], ALONE_SECONDS)
        with server(model, media, store) as (address, pid):
            alone = asyncio.run(under_load(address, pid, videos, 1, ALONE_SECONDS))
            many = asyncio.run(under_load(address, pid, videos, CLIENTS, SECONDS))
            outcomes = asyncio.run(hostile_uploads(address, folder / "clips"))
    return "\n\n".join([_told(), _throughput(ask_alone, alone, many), _bars(many), _hostile(outcomes)])


def _told() -> str:
    return (
        f"The tiny model; {NUM_VIDEOS} videos of 10 s, 64 frames each, encoded before; questions of up to {NUM_TOKENS} "
        f"tokens, half of them streamed. `bimba serve --running {NUM_RUNNING} --queue {NUM_WAITING}`; clients and "
        f"server share the machine."
    )


def _throughput(ask_alone: float, alone: Load, many: Load) -> str:
    lines = ["## Throughput", "", "| | tokens/s | answers/s | median answer | 99 % of answers |", "| --- " * 5 + "|"]
    lines.append(f"| `VideoQA.ask`, one after the other | {ask_alone:.0f} | | | |")
    for called, load in (("server, 1 client", alone), (f"server, {CLIENTS} clients", many)):
        answered = load.outcomes["answered"]
        lines.append(
            f"| {called} | {load.tokens / load.seconds:.0f} | {answered / load.seconds:.1f} | "
            f"{share(load.latencies, 0.5):.2f} s | {share(load.latencies, 0.99):.2f} s |"
        )
    rate = many.tokens / many.seconds
    for called, base in (("`VideoQA.ask`", ask_alone), ("one client", alone.tokens / alone.seconds)):
        lines.append(f"\n{rate / base:.1f} times {called} ({_holds(rate >= LEAST_SPEEDUP * base)}; 3 is asked for).")
    return "\n".join(lines)


def _bars(many: Load) -> str:
    lost = sum(count for outcome, count in many.outcomes.items() if outcome.startswith("lost"))
    begun = many.memory[len(many.memory) // 6]
    health = share(many.health, 0.99)
    rows = [f"## {CLIENTS} clients for {SECONDS:.0f} s", "", "| | |", "| --- | --- |"]
    rows += [f"| {outcome} | {count:,} |" for outcome, count in sorted(many.outcomes.items())]
    rows.append(f"| lost | {lost} ({_holds(not lost)}; none may be) |")
    probed = f"| 99 % of {len(many.health):,} /healthz within | {1000 * health:.0f} ms"
    rows.append(f"{probed} ({_holds(health < MOST_HEALTH_SECONDS)}; 100 are asked for) |")
    memory = f"{begun:.0f} MiB after a sixth of the time, {many.memory[-1]:.0f} MiB at the end"
    rows.append(f"| memory of the server | {memory}, {max(many.memory):.0f} MiB at most |")
    return "\n".join(rows)


def _hostile(outcomes: Counter[str]) -> str:
    rows = [f"| {outcome} | {count} |" for outcome, count in sorted(outcomes.items())]
    return "\n".join([f"## {NUM_HOSTILE} uploads that are damaged or no videos", "", "| | |", "| --- | --- |", *rows])


def share(values: list[float], part: float) -> float:
    """The value that such a part of all does not exceed."""
    return sorted(values)[min(int(part * len(values)), len(values) - 1)] if values else float("nan")


def _holds(is_so: bool) -> str:
    return "holds" if is_so else "DOES NOT HOLD"


if __name__ == "__main__":
    if sys.argv[1:] == ["health"]:
        print(write_report("Health of a server", [_told(), health_report()], suffix="-serving-health"))
    else:
        print(write_report("A server under load", [report()], suffix="-serving"))
