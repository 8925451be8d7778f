"""Reads a Dockerfile: its stages, each with its instructions and those of the stages that it is made from."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A stage: its name, what it is made from, and its own instructions, `(word, rest)` each."""

    name: str
    base: str
    own: Sequence[tuple[str, str]]
    before: Sequence[tuple[str, str]]

    @cached_property
    def all(self) -> Sequence[tuple[str, str]]:
        """The instructions, those of the stages below first."""
        return [*self.before, *self.own]

    def every(self, word: str) -> list[str]:
        """Return what follows each instruction of a kind."""
        return [rest for name, rest in self.all if name == word]

    def last(self, word: str) -> str:
        """Return what follows the last instruction of a kind: it is the one that counts."""
        return self.every(word)[-1]

    def command(self, word: str) -> list[str]:
        """Return a command in its exec form, e.g. of ENTRYPOINT; raise `ValueError` for one in the form of a shell."""
        found: Any = json.loads(self.last(word).partition("CMD ")[2] if word == "HEALTHCHECK" else self.last(word))
        return [str(part) for part in found]

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that the stage sets."""
        return dict(pair for rest in self.every("ENV") for pair in re.findall(r"(\w+)=(\S+)", rest))


def stages(text: str) -> Mapping[str, Stage]:
    """Return the stages by name; arguments before the first one are put in."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    given = dict(re.findall(r"^ARG (\w+)=(\S+)$", "\n".join(lines), re.MULTILINE))
    found: dict[str, Stage] = {}
    current: list[tuple[str, str]] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = re.sub(r"\$\{(\w+)\}", lambda match: given[match[1]], rest).partition(" AS ")
            current = []
            found[name] = Stage(name, base, current, found[base].all if base in found else [])
        elif found:
            current.append((word, " ".join(rest.split())))
    return found
