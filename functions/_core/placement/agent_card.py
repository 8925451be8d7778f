"""The card of an A2A agent (`/.well-known/agent-card.json`) as a registration: its skills are its capabilities."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from functions._core.errors import Rejected

PATH = "/.well-known/agent-card.json"
CARD_BYTES = 256 * 1024
"""Bytes of a card at most; cards of hundreds of skills have a tenth of it."""

MAX_SKILLS = 200
TEXT = 500
"""Characters kept of a text that is for people."""


def card_url(url: str) -> str:
    """Return where the card of the agent at `url` is: below the root of its server, whatever path the URL has.

    Raises `Rejected`, status 422, for what is no URL, such as half of an IPv6 address.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Rejected(f"body.url: {error}", code="invalid_data", status=422) from None
    return f"{parts.scheme}://{parts.netloc}{PATH}"


def stated_by(card: object, url: str) -> Mapping[str, Any]:
    """Return endpoint, capabilities and metadata of the agent at `url` as its card states them.

    The id and the tags of each skill are capabilities. Raises `Rejected`, status 422, for what is no card.
    """
    if not isinstance(card, Mapping) or not isinstance(card.get("name"), str):
        raise _no_card("it has no name")
    skills = card.get("skills")
    if not isinstance(skills, Sequence) or isinstance(skills, str) or len(skills) > MAX_SKILLS:
        raise _no_card(f"it has no list of at most {MAX_SKILLS} skills")
    capabilities: set[str] = set()
    for skill in skills:
        if not isinstance(skill, Mapping) or not isinstance(skill.get("id"), str):
            raise _no_card("one of its skills has no id")
        tags = skill.get("tags")
        named = [skill["id"], *(tags if isinstance(tags, list) else ())]
        capabilities |= {one.strip().lower() for one in named if isinstance(one, str) and one.strip()}
    said = {name: card[name][:TEXT] for name in ("name", "description", "protocolVersion") if _text(card.get(name))}
    version = {"version": card["version"][:TEXT]} if _text(card.get("version")) else {}
    return {
        "endpoint": _endpoint(card) or url,
        "capabilities": sorted(capabilities),
        "metadata": {**version, "a2a": {**said, "card": card_url(url)}},
    }


def _endpoint(card: Mapping[str, Any]) -> str | None:
    """Return the URL of the agent: `url` of the card, or of the first of its interfaces (A2A 1.0)."""
    interfaces = card.get("supportedInterfaces")
    first = interfaces[0] if isinstance(interfaces, list) and interfaces else {}
    for one in (card.get("url"), first.get("url") if isinstance(first, Mapping) else None):
        if _text(one):
            return str(one)
    return None


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _no_card(why: str) -> Rejected:
    return Rejected(f"what is there is no agent card: {why}", code="bad_card", status=422)
