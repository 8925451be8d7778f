"""Where in a text a reason's path leads: line and column, and a picture of the line with a caret below."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from functions._cli.wire import UNPRINTABLE
from functions._core.records.yaml_text import Token

TOKEN = re.compile(
    r'[\s,:]*+(?:(?P<open>[{\[])|(?P<close>[}\]])|(?P<text>"(?:[^"\\]|\\.)*+")|(?P<word>[^\s,:{}\[\]"]++))'
)
"""The next part of a JSON text."""

SPOKEN = re.compile(r"line (\d{1,9}) column (\d{1,9})")
"""A place that a parser's sentence names; both count from 1."""

WIDTH = 100
"""Characters of a line that are shown."""


class TextPlace(NamedTuple):
    """A place in a text; both count from 1."""

    line: int
    column: int


def json_tokens(text: str) -> Iterator[Token]:
    """Yield the parts of a JSON text that was read before, with their places."""
    at = line = begin = 0
    while match := TOKEN.match(text, at):
        at = match.end()
        kind = match.lastgroup or ""
        start = match.start(kind)
        line += text.count("\n", begin, start)
        column = start - (text.rfind("\n", 0, start) + 1)
        begin = start
        part = match[kind]
        if kind == "open":
            yield Token(part, "", line, column)
        elif kind == "close":
            yield Token(".", "", line, column)
        else:
            yield Token("v", _text(part) if kind == "text" else part, line, column)


def places(tokens: Iterable[Token], wanted: Collection[str]) -> Mapping[str, TextPlace]:
    """Return, for each wanted path such as `tasks[3].wait`, its place, or that of the nearest thing around it.

    A member of an object is where its name is.
    """
    chains = {where: [*_around(where)] for where in wanted}
    asked = {part for chain in chains.values() for part in chain}
    found: dict[str, TextPlace] = {}
    stack: list[tuple[str, str]] = []
    counts: list[int] = []
    where = ""
    for token in tokens:
        if token.kind == ".":
            stack.pop()
            counts.pop()
            continue
        key = False
        if stack:
            kind, around = stack[-1]
            if kind == "[":
                where = f"{around}[{counts[-1]}]"
            elif key := counts[-1] % 2 == 0:
                where = f"{around}.{token.text}" if around else token.text
            counts[-1] += 1
        if where in asked:
            found.setdefault(where, TextPlace(token.line + 1, token.column + 1))
        if token.kind in "{[" and not key:
            stack.append((token.kind, where))
            counts.append(0)
    return {
        where: next((found[part] for part in chain if part in found), TextPlace(1, 1))
        for where, chain in chains.items()
    }


def spoken_place(sentence: str) -> TextPlace:
    """Return the place that a parser's sentence names, the beginning where it names none."""
    match = SPOKEN.search(sentence)
    return TextPlace(int(match[1]), int(match[2])) if match else TextPlace(1, 1)


def picture_of(lines: list[str], place: TextPlace) -> list[str]:
    """Return the line of a place with a caret below; of a long line the part around the place."""
    if not 1 <= place.line <= len(lines):
        return []
    line, column = UNPRINTABLE.sub(" ", lines[place.line - 1]), place.column - 1
    start = max(0, column - WIDTH // 2) if len(line) > WIDTH else 0
    shown = line[start : start + WIDTH]
    margin = f"{place.line:>5} | "
    return [f"{margin}{shown.rstrip()}", f"{' ' * (len(margin) - 2)}| {' ' * (column - start)}^"]


def _around(where: str) -> Iterator[str]:
    """Yield a path and the paths around it, the nearest first, the whole text last."""
    while where:
        yield where
        where = where[: max(where.rfind("."), where.rfind("["), 0)]
    yield ""


def _text(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:  # an escape that was read otherwise
        return quoted[1:-1]
