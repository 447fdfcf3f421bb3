"""Tables and results in, a page in Markdown that people read out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bimba.ablation.contenders import BASELINE, COMPRESSION, CONTENDERS, SHAPES
from bimba.ablation.drawn import COMPRESSION_PICTURES, CURVES_NAME, MEASURE_PICTURES
from bimba.ablation.words import COVERS, MEASURE_WORDS, against_chance, conclusions


def write_report(tables: Mapping[str, Any], results: Sequence[Mapping[str, Any]], pictures: Sequence[str]) -> str:
    """The page.

    Args:
        tables: of all finished runs.
        results: of these runs.
        pictures: files beside the page.
    """
    found = conclusions(dict(tables))
    parts = ["# Ablation", *_setting(results, tables)]
    for measure, title in MEASURE_WORDS.items():
        name = MEASURE_PICTURES[measure]
        parts += [f"## {title.capitalize()}", _contenders_table(tables, measure)]
        parts += [f"![{title}]({name})"] if name in pictures else []
        parts += [_listed(found[measure])]
        if measure == "within_window":
            parts += ["Against chance:", _listed(against_chance(dict(tables)))]
    parts += _compressions(tables, pictures)
    parts += ["## By kind of question", _kinds_table(tables)]
    if CURVES_NAME in pictures:
        parts += ["## Training", f"![loss]({CURVES_NAME})"]
    parts += ["## What the intervals cover", COVERS, "## Made with", _listed(_made_with(results))]
    return "\n\n".join(parts) + "\n"


def number(row: Mapping[str, Any] | None, sign: str = "") -> str:
    """Mean and interval in a cell of a table: "0.712 (0.690 to 0.734)"."""
    if row is None:
        return ""
    words = f"{row['mean']:{sign}.3f}"
    return words if row["low"] is None else f"{words} ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})"


def _setting(results: Sequence[Mapping[str, Any]], tables: Mapping[str, Any]) -> Iterator[str]:
    facts, counts = results[0]["facts"], tables["counts"]
    yield (
        f"{len(results)} runs of {int(facts['steps']):,} steps, from the same model (sha256 {facts['start'][:12]}), on "
        f"the same needle videos, asked the same {counts['within_window']:,} questions about the order of two needles "
        f"in one window of four frames, and {counts['all_kinds']:,} of other kinds. At {COMPRESSION}x, "
        f"{SHAPES[COMPRESSION][0]} x {SHAPES[COMPRESSION][1]} x {SHAPES[COMPRESSION][1]} tokens become one."
    )
    rows = tables["contenders"]
    if "none" in rows and len(rows) > 1:
        others = max(row["tokens"] for name, row in rows.items() if name != "none")
        yield (
            f"`none` passes {rows['none']['tokens']:,} tokens on, {rows['none']['tokens'] / others:g} times as many as "
            f"the others: it shows what compression costs, and is no rival at the same price."
        )


def _contenders_table(tables: Mapping[str, Any], measure: str) -> str:
    header = ["contender", "tokens", "weights", "seeds", "right", "difference to the scan, by seed"]
    rows = []
    for name, row in tables["contenders"].items():
        difference = (row["differences"] or {}).get(measure)
        cells = [
            CONTENDERS[name].label,
            f"{row['tokens']:,}",
            f"{row['compressor_parameters']:,}",
            str(len(row["seeds"])),
            number(row[measure]),
            "" if name == BASELINE else number(difference, sign="+"),
        ]
        if measure == "within_window":
            cells.append(number(row["within_window_by_option"]))
        rows.append(cells)
    return _table([*header, "the likelier of the two"] if measure == "within_window" else header, rows)


def _compressions(tables: Mapping[str, Any], pictures: Sequence[str]) -> list[str]:
    found = tables["compressions"]
    if not any(len(rows) > 1 for rows in found.values()):
        return []
    factors = [factor for factor in SHAPES if any(str(factor) in rows for rows in found.values())]
    header = ["contender", *(f"{factor}x" for factor in factors)]
    parts = [
        "## By compression",
        "Shapes (frames x rows x columns that become one token): "
        + ", ".join(
            f"{factor}x is {SHAPES[factor][0]} x {SHAPES[factor][1]} x {SHAPES[factor][1]}" for factor in factors
        )
        + ". The pair of needles stands within one of them at every compression.",
    ]
    for measure, title in MEASURE_WORDS.items():
        rows = [
            [CONTENDERS[name].label, *(number(shares.get(str(factor), {}).get(measure)) for factor in factors)]
            for name, shares in found.items()
        ]
        parts += [f"### {title.capitalize()}", _table(header, rows)]
        if COMPRESSION_PICTURES[measure] in pictures:
            parts.append(f"![{title} by compression]({COMPRESSION_PICTURES[measure]})")
    return parts


def _kinds_table(tables: Mapping[str, Any]) -> str:
    rows, counts = tables["contenders"], tables["counts"]["by_kind"]
    kinds = sorted(counts)
    body = [
        [kind, f"{counts[kind]:,}", *(number({**row["by_kind"][kind], "low": None}) for row in rows.values())]
        for kind in kinds
    ]
    return _table(["kind", "questions", *(CONTENDERS[name].label for name in rows)], body)


def _made_with(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Code and machines, each said once."""
    made = [result["provenance"] for result in results]
    codes = {
        f"commit {code['commit'][:12]}{' with changes' if code['is_dirty'] else ''}" if code else "no clone"
        for code in (each["code"] for each in made)
    }
    machines = {f"{each['processor']}, {each['num_cores']} cores, {each['num_threads']} threads" for each in made}
    seconds = [result["training"]["seconds"] for result in results if result["training"]["seconds"] is not None]
    lines = [
        f"bimba {made[0]['bimba']}, {' and '.join(sorted(codes))}",
        f"{' and '.join(sorted(machines))}; {made[0]['system']}",
        f"torch {made[0]['versions']['torch']}, transformers {made[0]['versions']['transformers']}",
        f"{min(each['time'] for each in made)} to {max(each['time'] for each in made)}",
    ]
    if len(codes) > 1:
        lines.append("The runs are of several states of the code: what changed between them may be in the differences.")
    if seconds:
        lines.append(f"training took {min(seconds):,.0f} to {max(seconds):,.0f} seconds a run")
    return lines


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) if lines else "- nothing to compare yet"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
