"""The contents of results.json in, a page in Markdown that people read out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bimba.ablation.contenders import BASELINE, COMPRESSION, CONTENDERS, SHAPES
from bimba.ablation.drawn import COMPRESSION_PICTURES, CURVES_NAME, MEASURE_PICTURES
from bimba.ablation.estimates import FEWEST
from bimba.ablation.words import COVERS, MEASURE_WORDS, against_chance


def write_report(content: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The page of an ablation's folder.

    Args:
        content: of results.json.
        pictures: files beside the page.
    """
    parts = ["# Ablation", *report_parts(content, {name: name for name in pictures})]
    parts += ["## What the intervals cover", COVERS, "## Made with", made_with_part(content)]
    return "\n\n".join(parts) + "\n"


def report_parts(content: Mapping[str, Any], pictures: Mapping[str, str], level: int = 2) -> list[str]:
    """What was found, as parts of a page.

    Args:
        content: of results.json.
        pictures: where each of `drawn`'s pictures lies, seen from the page; those that are not there are left out.
        level: of the headings.
    """
    heading = "#" * level
    found = content["conclusions"]
    parts = list(_setting(content))
    for measure, title in MEASURE_WORDS.items():
        parts += [f"{heading} {title.capitalize()}", _contenders_table(content, measure)]
        parts += _picture(title, MEASURE_PICTURES[measure], pictures)
        parts += [_listed(found[measure])]
        if measure == "within_window":
            parts += ["Against chance:", _listed(against_chance(content))]
    parts += _compressions(content, pictures, heading)
    parts += [f"{heading} By kind of question", _kinds_table(content)]
    if CURVES_NAME in pictures:
        parts += [f"{heading} Training", *_picture("loss", CURVES_NAME, pictures)]
    return parts


def made_with_part(content: Mapping[str, Any]) -> str:
    """Code and machines of the runs.

    Args:
        content: of results.json.
    """
    made = content["made_with"]
    lines = [
        f"bimba {' and '.join(made['bimba'])}, {' and '.join(made['code'])}",
        f"{' and '.join(made['machines'])}; {' and '.join(made['system'])}",
        ", ".join(f"{name} {' and '.join(versions)}" for name, versions in made["versions"].items()),
        f"{made['times'][0]} to {made['times'][1]}",
    ]
    if len(made["code"]) > 1:
        lines.append("The runs are of several states of the code: what changed between them may be in the differences.")
    if made["seconds"] is not None:
        fastest, slowest = made["seconds"]
        lines.append(
            f"training took {fastest:,.0f} to {slowest:,.0f} seconds a run; a seed's first run draws its videos"
        )
    return _listed(lines)


def number(row: Mapping[str, Any] | None, sign: str = "") -> str:
    """Mean and interval in a cell of a table: "0.712 (0.690 to 0.734)"."""
    if row is None:
        return ""
    words = f"{row['mean']:{sign}.3f}"
    return words if row["low"] is None else f"{words} ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})"


def _setting(content: Mapping[str, Any]) -> Iterator[str]:
    facts, counts = content["shared"], content["counts"]
    frames, patches = SHAPES[COMPRESSION]
    yield (
        f"{len(content['runs'])} runs of {int(facts['steps']):,} steps, from the same model (sha256 "
        f"{facts['start'][:12]}), with each seed on the same needle videos, asked the same "
        f"{counts['within_window']:,} questions about the order of two needles in one window of four frames, "
        f"and {counts['all_kinds']:,} of other kinds. At {COMPRESSION}x, {frames} x {patches} x {patches} tokens "
        f"become one."
    )
    rows = content["contenders"]
    if "none" in rows and len(rows) > 1:
        others = max(row["tokens"] for name, row in rows.items() if name != "none")
        yield (
            f"`none` passes {rows['none']['tokens']:,} tokens on, {rows['none']['tokens'] / others:g} times as many as "
            f"the others: it shows what compression costs, and is no rival at the same price."
        )


def _contenders_table(content: Mapping[str, Any], measure: str) -> str:
    header = ["contender", "tokens", "weights", "seeds", "right", "difference to the scan, by seed"]
    rows = []
    for name, row in content["contenders"].items():
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


def _compressions(content: Mapping[str, Any], pictures: Mapping[str, str], heading: str) -> list[str]:
    found = content["compressions"]
    if not any(len(rows) > 1 for rows in found.values()):
        return []
    factors = [factor for factor in SHAPES if any(str(factor) in rows for rows in found.values())]
    header = ["contender", *(f"{factor}x" for factor in factors)]
    parts = [
        f"{heading} By compression",
        "Shapes (frames x rows x columns that become one token): "
        + ", ".join(
            f"{factor}x is {SHAPES[factor][0]} x {SHAPES[factor][1]} x {SHAPES[factor][1]}" for factor in factors
        )
        + ". The pair of needles stands within one of them at every compression.",
    ]
    numbers = [row[measure] for shares in found.values() for row in shares.values() for measure in MEASURE_WORDS]
    if any(row["low"] is None for row in numbers):
        parts.append(f"Where a number has no interval, there are fewer than {FEWEST} seeds, or all say the same.")
    if len({len(row["seeds"]) for shares in found.values() for row in shares.values()}) > 1:
        parts.append(f"Seeds, in the order of the columns: {'; '.join(_seeds_by_factor(found, factors))}.")
    for measure, title in MEASURE_WORDS.items():
        rows = [
            [CONTENDERS[name].label, *(number(shares.get(str(factor), {}).get(measure)) for factor in factors)]
            for name, shares in found.items()
        ]
        parts += [f"{heading}# {title.capitalize()}", _table(header, rows)]
        parts += _picture(f"{title} by compression", COMPRESSION_PICTURES[measure], pictures)
    return parts


def _seeds_by_factor(found: Mapping[str, Any], factors: Sequence[int]) -> Iterator[str]:
    for name, rows in found.items():
        counts = [len(rows[str(factor)]["seeds"]) if str(factor) in rows else 0 for factor in factors]
        yield f"{CONTENDERS[name].label} {', '.join(map(str, counts))}"


def _kinds_table(content: Mapping[str, Any]) -> str:
    rows, counts = content["contenders"], content["counts"]["by_kind"]
    kinds = sorted(counts)
    body = [
        [kind, f"{counts[kind]:,}", *(number({**row["by_kind"][kind], "low": None}) for row in rows.values())]
        for kind in kinds
    ]
    return _table(["kind", "questions", *(CONTENDERS[name].label for name in rows)], body)


def _picture(title: str, name: str, pictures: Mapping[str, str]) -> list[str]:
    return [f"![{title}]({pictures[name]})"] if name in pictures else []


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) if lines else "- nothing to compare yet"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
