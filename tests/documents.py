"""The README and the pages of docs/ in, their code blocks, markers and links out."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""Every page for people."""

_BLOCK = re.compile(
    r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.DOTALL | re.MULTILINE
)
_MARKER = re.compile(r"<!--\s*not run\b(?P<rest>.*?)-->", re.DOTALL)
_REASON = re.compile(r":\s*(?P<reason>\S.*?)\s*", re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Args:
        path: its document.
        line: of its first line of code, counted from 1.
        language: "python", "console", ...
        code: without the fence.
        reason: why it is not run, None if it is.
    """

    path: Path
    line: int
    language: str
    code: str
    reason: str | None

    def commands(self) -> list[str]:
        """Lines that a reader would type: those behind `$ `."""
        return [line.removeprefix("$ ") for line in self.code.splitlines() if line.startswith("$ ")]


class MarkerError(ValueError):
    """A marker `<!-- not run: reason -->` without a reason, or without a block after it."""


def blocks_of(path: Path) -> list[Block]:
    """Blocks of a document, in order.

    Raises:
        MarkerError: a marker gives no reason, or stands before no block.
    """
    return blocks_in(path.read_text(encoding="utf-8"), path)


def blocks_in(text: str, path: Path) -> list[Block]:
    """As :func:`blocks_of`, of a text."""
    matches = list(_BLOCK.finditer(text))
    reasons: dict[int, str] = {}
    for marker in _MARKER.finditer(text):
        if any(match.start() <= marker.start() < match.end() for match in matches):
            continue  # code that shows a marker
        line = text.count("\n", 0, marker.start()) + 1
        given = _REASON.fullmatch(marker["rest"])
        if given is None:
            raise MarkerError(f"{path.name}:{line}: write <!-- not run: REASON -->.")
        after = next((match for match in matches if match.start() >= marker.end()), None)
        if after is None or text[marker.end() : after.start()].strip():
            raise MarkerError(f"{path.name}:{line}: the marker stands before no block of code.")
        reasons[after.start()] = given["reason"]
    return [
        Block(
            path=path,
            line=text.count("\n", 0, match.start("code")) + 1,
            language=match["language"],
            code=textwrap.dedent(match["code"]),
            reason=reasons.get(match.start()),
        )
        for match in matches
    ]


def links_of(path: Path) -> list[str]:
    """Targets of a document's links to files, without their anchors; code is left out."""
    text = re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", path.read_text(encoding="utf-8")))
    targets = [match["target"].partition("#")[0] for match in _LINK.finditer(text)]
    return [target for target in targets if target and not re.match(r"\w+:", target)]
