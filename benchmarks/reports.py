"""Sections of a report go in; a dated Markdown file with hardware, versions and commit comes out in results/."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.provenance import provenance

RESULTS = Path(__file__).parent / "results"


def write_report(title: str, sections: Iterable[str], *, suffix: str = "") -> Path:
    """Write results/<date><suffix>.md, and return its path.

    Args:
        title: of the page; the day is added.
        sections: in Markdown; they may be made while they are asked for.
        suffix: tells reports of one day apart.
    """
    day = datetime.now(UTC).date().isoformat()
    facts = "\n".join(f"* {name}: {value}" for name, value in provenance().items())
    content = "\n\n".join([f"# {title} of {day}", facts, *sections]) + "\n"
    RESULTS.mkdir(exist_ok=True)
    report = RESULTS / f"{day}{suffix}.md"
    # A run that is interrupted leaves no half-written report.
    temporary = report.with_suffix(".tmp")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(report)
    return report.relative_to(Path.cwd()) if report.is_relative_to(Path.cwd()) else report
