"""`docs/reference/events.md`: the fields of every event's data."""

from collections.abc import Iterator, Mapping

from functions._core.events.catalogue import CATALOGUE, EventType
from functions._core.events.data import Transition
from infra.generate.contract.schemas import Document
from infra.generate.events import schemas
from infra.generate.pages.json_types import fields, type_in_words, values
from infra.generate.pages.markdown import anchor, bullets, code, page, paragraphs, text

INTRODUCTION = """
Every event, with the fields of its data. [The contract](../../events/README.md) says the rest: the envelope, the rules
of delivery, ids, and how tolerant Flow C is towards events from outside.
"""

Parts = dict[str, Document]
"""What data is made of, by the headings of the page."""


def events() -> str:
    """Return the page."""
    documents, parts = schemas(), Parts()
    return page("Events", INTRODUCTION, _events(documents, parts), _transition(documents, parts), _parts(parts))


def _events(documents: Mapping[str, Document], parts: Parts) -> Iterator[str]:
    yield "## All events"
    for entry in CATALOGUE:
        yield f"### {entry.event_type}"
        yield text(f"{entry.text} {_way(entry)}")
        stem = f"{entry.event_type}.v1"
        links = f"[Schema](../../events/{stem}.schema.json), [example](../../events/{stem}.example.json)."
        if entry.model is Transition:
            yield text(f"Its data is a [transition](#transition). {links}")
            continue
        yield text(links)
        yield _fields(documents[stem], parts)


def _way(entry: EventType) -> str:
    outside = " It may come from outside." if entry.outside else ""
    return f"Sent by {entry.sent_by}, for {entry.handled_by}. Its subject is the {entry.subject}.{outside}"


def _transition(documents: Mapping[str, Document], parts: Parts) -> Iterator[str]:
    yield "## Transition"
    first = next(entry for entry in CATALOGUE if entry.model is Transition)
    yield text("The data of each event that only tells of a transition.")
    yield _fields(documents[f"{first.event_type}.v1"], parts)


def _fields(schema: Document, parts: Parts) -> str:
    headings = {name: _heading(name, part, parts) for name, part in schema.get("$defs", {}).items()}
    return bullets(fields(schema, lambda name: f"[{name}](#{anchor(headings[name])})"))


def _heading(name: str, part: Document, parts: Parts) -> str:
    """Return the heading of a part, which is kept; another one of the same name gets a heading of its own."""
    heading = name if parts.setdefault(name, part) == part else f"{name} as sent"
    parts.setdefault(heading, part)
    return heading


def _parts(parts: Parts) -> Iterator[str]:
    def link(name: str) -> str:
        return f"[{name}](#{anchor(name)})"

    yield "## Parts"
    for heading in sorted(parts, key=str.lower):
        part = parts[heading]
        yield f"### {heading}"
        yield paragraphs(str(part.get("description", "")))
        yield text(values(part))
        if "properties" in part:
            yield bullets(fields(part, link))
        elif "enum" not in part:
            examples = ", ".join(code(example) for example in part.get("examples", ()))
            yield text(f"Type: {type_in_words(part, link)}." + (f" Examples: {examples}." if examples else ""))
