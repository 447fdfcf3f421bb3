"""Results in, a report that people read out: Markdown."""

from typing import Any

REPORT_NAME = "report.md"
_WORDS = {
    "generate": "answered in words, greedily",
    "likelihood": "the likeliest letter",
    "option": "read by extract_option",
    "released": "read by the public code's first-word rule",
}


def report_text(results: dict[str, Any]) -> str:
    """The whole report."""
    parts = [
        f"# {results['title']}: {results['settings']['model']}",
        asked(results),
        _scores(results),
        *(_breakdown(tag, groups) for tag, groups in results["by"].items() if groups),
        f"## What this covers\n\n{_coverage(results)}",
        f"## How it was made\n\n{_provenance(results)}",
    ]
    return "\n\n".join(parts) + "\n"


def coverage(results: dict[str, Any]) -> str:
    """What the scores cover, in one sentence."""
    covers = results["covers"]
    words = f"{covers['answered']:,} of {covers['questions']:,} questions answered"
    if covers["scored"] != covers["answered"]:
        words += f", {covers['scored']:,} of them with a public answer"
    if covers["failed"]:
        videos = len(results["failed_videos"])
        words += f"; {covers['failed']:,} about {videos:,} {'video' if videos == 1 else 'videos'} that cannot be read"
    if covers["incomplete_items"]:
        words += f"; {covers['incomplete_items']:,} questions lack a try and are left out"
    return words


def unparsed_told(results: dict[str, Any]) -> str:
    """How many answers name no option, in words."""
    count = results["unparsed"]["count"]
    return f"{count:,} {'answer names' if count == 1 else 'answers name'} no option, which counts as wrong"


def ties_told(results: dict[str, Any]) -> str:
    """How many answers are the first of several letters, in words."""
    return f"{results['tied']:,} times several letters were the likeliest; the first of them counts"


def without_scores(results: dict[str, Any]) -> str:
    """Why there is no score, in a sentence."""
    if not results["covers"]["public"]:
        return "No answer to these questions is public; a server scores them (`bimba eval submit`)"
    return "No question whose answer is public was answered, so that there is no score"


def other_figures(results: dict[str, Any]) -> str:
    """What papers report of scores that are none of these, in a sentence; empty if nothing."""
    told = [
        f"{each['model']} {each['value']:.2f} % ({each['metric']}: {each['setting']})"
        for each in results["reported"]
        if each["metric"] not in results["scores"]
    ]
    return f"Reported of another score, which cannot be set beside these: {'; '.join(told)}" if told else ""


def asked(results: dict[str, Any]) -> str:
    """How the questions were asked, in a sentence."""
    settings = results["settings"]
    made_elsewhere = results.get("answers_from")
    if made_elsewhere is not None:
        return (
            f"Answers made elsewhere ({made_elsewhere['file']}, sha256 `{made_elsewhere['sha256']}`), "
            f"{_WORDS[settings['extract']]}. Benchmark version {results['benchmark_version']}."
        )
    answered = _WORDS[settings["score"]]
    if settings["score"] == "generate":
        answered += f", {_WORDS[settings['extract']]}"
    times = "with" if settings["time_sentence"] else "without"
    subtitles = results.get("questions_with_subtitles")
    told = (
        "" if subtitles is None else f"; {subtitles:,} of {results['covers']['questions']:,} questions have subtitles"
    )
    return (
        f"At most {settings['frames']} frames ({settings['sampling']}); prompt {results['prompt_version']}, {times} "
        f"the time sentence{told}; {answered}. Benchmark version {results['benchmark_version']}."
    )


def _scores(results: dict[str, Any]) -> str:
    if not results["scores"]:
        return f"{without_scores(results)}."
    rows = ["| score | value | 95 % | of |", "| --- | --- | --- | --- |"]
    for name, found in results["scores"].items():
        if found is None:
            rows.append(f"| {name} | cannot be told from these annotations | | |")
            continue
        rows.append(f"| {found['title']} | **{_percent(found['value'])}** | {_interval(found)} | {found['count']:,} |")
        if found["chance"] is not None:
            rows.append(f"| guessing | {_percent(found['chance'])} | | |")
        rows += [
            f"| reported: {each['model']} ({each['setting']}) | {each['value']:.2f} % | | |"
            for each in results["reported"]
            if each["metric"] == name
        ]
    others = other_figures(results)
    return "\n".join(rows) + (f"\n\n{others}." if others else "")


def _breakdown(tag: str, groups: dict[str, dict[str, float]]) -> str:
    rows = [f"## By {tag.replace('_', ' ')}", "", "| | right | 95 % | of |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {group} | {_percent(found['value'])} | {_interval(found)} | {found['count']:,} |"
        for group, found in groups.items()
    ]
    return "\n".join(rows)


def _coverage(results: dict[str, Any]) -> str:
    lines = [f"{coverage(results)}."]
    unparsed = results["unparsed"]
    lines.append(f"{unparsed_told(results)}.")
    lines += [f"* `{each['id']}`: {each['prediction']!r}" for each in unparsed["examples"]]
    if results["tied"]:
        lines.append(f"\n{ties_told(results)}.")
    if results["failed_videos"]:
        lines.append("\nVideos that cannot be read:\n")
        lines += [f"* {video}: {problem}" for video, problem in results["failed_videos"].items()]
    deviations = results.get("annotations", {}).get("deviations", [])
    if deviations:
        lines.append(f"\nThe annotations are not those that were published: {'; '.join(deviations)}.")
    return "\n".join(lines)


def _provenance(results: dict[str, Any]) -> str:
    scored = results["scored_with"]
    commit = (scored["code"] or {}).get("commit", "not a clone")
    lines = [
        f"* scored with bimba {scored['bimba']}, commit {commit}; questions sha256 `{results['questions_sha256']}`"
    ]
    if "model_sha256" in results:
        lines.append(f"* model sha256 `{results['model_sha256']}`")
    for session in results.get("sessions", []):
        commit = (session["code"] or {}).get("commit", "not a clone")
        machine = ", ".join(session["gpus"]) or session["processor"]
        lines.append(f"* {session['time']}: {machine}, {session['dtype']}, commit {commit}")
    lines.append("* everything else: `results.json`")
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _interval(found: dict[str, float]) -> str:
    return f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"
