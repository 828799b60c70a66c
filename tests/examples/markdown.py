"""The fenced blocks of a Markdown file, and the comment that may stand above one."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and what an HTML comment just above it says."""

    line: int
    language: str
    text: str
    comment: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block that are commands."""
        return [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]


def blocks_of(text: str) -> list[Block]:
    """Every fenced block, in order."""
    pattern = re.compile(
        r"^(?:<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
    )
    return [
        Block(text[: found.start("text")].count("\n"), found["language"], found["text"], found["comment"] or "")
        for found in pattern.finditer(text)
    ]


def inline_code(text: str) -> list[str]:
    """Every span of code outside of fenced blocks, lines joined."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
