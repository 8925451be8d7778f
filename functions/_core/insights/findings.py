"""What the rules find in a window of history, and how they write names that strangers have chosen.

A finding is about the same thing in each window as long as its rule and its subject are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from unicodedata import category

from functions._core.insights.insight import InsightType, RelatedEntity
from functions._core.learning.history import FlowRow

NAME = 60
"""Characters of a name that a sentence shows."""

ENTITY_ID = 255
"""Characters of the id of an entity: ids of this platform are not longer."""

KEY = 500
"""Characters of a rule and a subject that tell findings apart."""

QUOTE, APOSTROPHE = "'", "\N{RIGHT SINGLE QUOTATION MARK}"
"""What names are quoted by in sentences, and what stands for it within a name."""

UNSEEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
"""Categories of characters that disturb whoever reads them: controls, marks of direction, surrogates, line ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Something that may be done about a finding."""

    action: str
    """What to do, a sentence."""
    share: float
    """How much of the problem it may take away, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFound:
    """Something that a rule has found in one window."""

    rule: str
    """The rule, a word."""
    subject: str
    """What it is about: together with the rule, it tells whether a later window has found the same."""
    insight_type: InsightType
    """What kind of insight it makes."""
    title: str
    """A line for people."""
    summary: str
    """A sentence or two, with the figures."""
    analysis: str = ""
    """How it was found."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Figures by name."""
    sources: tuple[str, ...] = ("history",)
    """Where the data came from."""
    entities: tuple[RelatedEntity, ...] = ()
    """What it is about, what matters most first."""
    advice: tuple[Advice, ...] = ()
    """What may be done, the best first."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""
    strength: float
    """How clear the evidence is, 0 to 1."""
    agreement: float = 1.0
    """The share of the sources that say so, of those that could."""
    affected: int
    """How many things are affected."""
    severity: float
    """How bad it is, 0 to 1."""
    flow: FlowRow | None = None
    """The one flow that it is about; None where there are several."""

    @property
    def key(self) -> str:
        """What is the same in each window that finds this."""
        return printable(f"{self.rule}/{self.subject}", KEY)


def printable(text: str, most: int) -> str:
    """Return foreign text as one line of at most so many characters, without those that nobody sees."""
    line = text[: most + 1]
    if not line.isprintable():
        line = "".join("?" if category(character) in UNSEEN else character for character in line)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def named(text: str) -> str:
    """Return a name that a stranger has chosen as a sentence shows it: quoted, short, on one line."""
    return f"'{printable(text, NAME).replace(QUOTE, APOSTROPHE)}'"


def entity(kind: str, entity_id: str, relationship: str) -> RelatedEntity:
    """Return something that a finding is about."""
    return RelatedEntity.model_validate(
        {"entity_type": kind, "entity_id": printable(entity_id, ENTITY_ID), "relationship": relationship}
    )


def evidence(number: int) -> float:
    """Return how clear something is that was seen so often: 0.5 for once, 0.9 for nine times."""
    return number / (number + 1)


def finite(figures: Mapping[str, float]) -> Mapping[str, float]:
    """Return figures with three decimals at most, without those that are no numbers."""
    return {name: round(float(value), 3) for name, value in figures.items() if isfinite(value)}
