"""How a generated page is written: no line is longer than `WIDTH`, whatever the sentences say."""

from collections.abc import Iterable
from textwrap import wrap

WIDTH = 120
STEP = "  "


def page(title: str, introduction: str, *parts: Iterable[str]) -> str:
    """Return a page: its title, a paragraph about it, a note on how it comes about, and its blocks."""
    note = "This page is generated from the code: `make reference` writes it, and a test fails when it is stale."
    blocks = [f"# {title}", text(introduction), text(note), *(block for part in parts for block in part)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def text(words: str, indent: str = "", first: str | None = None) -> str:
    """Return a paragraph, wrapped; `first` stands before its first line, `indent` before all others."""
    before = indent if first is None else first
    lines = wrap(
        " ".join(words.split()),
        WIDTH,
        initial_indent=before,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def paragraphs(words: str) -> str:
    """Return what blank lines divide, each paragraph wrapped."""
    return "\n\n".join(text(part) for part in words.split("\n\n") if part.strip())


def bullet(words: str, depth: int = 0) -> str:
    """Return one line of a list, with what is too long for it below."""
    return text(words, STEP * (depth + 1), f"{STEP * depth}- ")


def bullets(lines: Iterable[str]) -> str:
    """Return a list; the empty one is no text at all."""
    return "\n".join(bullet(line) for line in lines)


def sentence(words: str) -> str:
    """Return words with a full stop behind them."""
    words = " ".join(words.split())
    return words if not words or words.endswith((".", "!", "?", ":", "]")) else f"{words}."


def code(value: object) -> str:
    """Return a value as it is typed; a text that holds backquotes gets two around it."""
    shown = str(value)
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def anchor(heading: str) -> str:
    """Return how a link names a heading of a page: small letters, hyphens for spaces, no other signs."""
    return "".join(sign for sign in heading.lower().replace(" ", "-") if sign.isalnum() or sign in "-_")
