"""Which template fits what is asked for: half by kind and language, then by capabilities, then by quality."""

from collections.abc import Sequence
from typing import Protocol

from functions._core.errors import Rejected
from functions._core.forge.stages import TemplateCard

LEAST = 0.4
"""The score below which a template does not fit."""

MATCH, OVERLAP, QUALITY = 0.5, 0.3, 0.2
"""How much kind and language, capabilities and quality count."""

DIGITS = 6
"""Digits of a score: the same on every machine, and exact at the boundary."""


class TemplateWanted(Protocol):
    """What is asked for; `SelectTemplateParameters` is one."""

    @property
    def template_id(self) -> str | None:
        """The template that has been chosen; None: the one that fits best."""

    @property
    def artifact_type(self) -> str | None:
        """The kind of thing; None: any."""

    @property
    def language(self) -> str | None:
        """The language; None: any."""

    @property
    def capabilities(self) -> Sequence[str]:
        """What the result has to do."""


def selected(cards: Sequence[TemplateCard], wanted: TemplateWanted) -> tuple[TemplateCard, float]:
    """Return the template that fits best, and its score; raise `Rejected`, code `no_template`, where none fits."""
    return ranked(cards, wanted)[0]


def ranked(cards: Sequence[TemplateCard], wanted: TemplateWanted) -> Sequence[tuple[TemplateCard, float]]:
    """Return all templates that fit with their scores, the best first: of equal ones that of more quality, then by id.

    One that is named fits alone, with score 1. Raises `Rejected`, code `no_template`, where none fits.
    """
    if wanted.template_id:
        for card in cards:
            if card.template_id == wanted.template_id:
                return ((card, 1.0),)
        raise Rejected(f"there is no template {wanted.template_id!r}", code="no_template", status=422)
    scored = ((card, score_of(card, wanted)) for card in cards)
    fitting = [(card, score) for card, score in scored if score >= LEAST]
    if not fitting:
        raise Rejected(f"none of {len(cards)} templates fits what is asked for", code="no_template", status=422)
    return sorted(fitting, key=lambda one: (-one[1], -one[0].quality, one[0].template_id))


def score_of(card: TemplateCard, wanted: TemplateWanted) -> float:
    """Return how well a template fits, 0 to 1; 0 for another language, or another kind where no language is asked for.

    Without that rule capabilities and quality alone would reach the least score, and a request for Rust get Python.
    """
    match = _match(card, wanted)
    if not match:
        return 0.0
    return round(MATCH * match + OVERLAP * _overlap(card, wanted) + QUALITY * card.quality, DIGITS)


def _match(card: TemplateCard, wanted: TemplateWanted) -> float:
    """Return the share of kind and language that fits; what is not asked for counts as fitting where the rest does."""
    kind = _same(card.artifact_type, wanted.artifact_type)
    if not _same(card.language, wanted.language):
        return 0.0
    if kind:
        return 1.0
    return 0.5 if wanted.language else 0.0


def _same(has: str, asked: str | None) -> bool:
    return not asked or has.casefold() == asked.casefold()


def _overlap(card: TemplateCard, wanted: TemplateWanted) -> float:
    """Return the share of the capabilities asked for that a template has; 1 where none is."""
    asked = {one.casefold() for one in wanted.capabilities}
    has = {one.casefold() for one in card.capabilities}
    return len(asked & has) / len(asked) if asked else 1.0
