"""`docs/reference/history.md`: the columns of history as a table, and the features that models look at."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from functions._cli.export_files import columns_of
from functions._core.learning.columns import FlowColumns, TicketColumns
from functions._core.learning.features import FEATURES, Features
from functions._core.records.record import Record
from infra.generate.contract.field_docs import phrase
from infra.generate.pages.markdown import bullets, code, page, text

INTRODUCTION = """
The columns of flows and of tickets that have ended, as `flowc export` writes them and the routes under
`/api/v1/history` return them; and the features that are made of them. A column without a value is null, in CSV nothing.
[History as a table](../guides/history.md) says which lines there are.
"""

WORDS: Mapping[type, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    datetime: "time",
}


def history() -> str:
    """Return the page."""
    return page(
        "History", INTRODUCTION, _columns("flows", FlowColumns), _columns("tickets", TicketColumns), _features()
    )


def _columns(what: str, record: type[Record]) -> Iterator[str]:
    yield f"## Columns of {what}"
    kinds = columns_of(what)
    yield bullets(f"{code(name)} ({WORDS[kind]}): {phrase(record, name)}" for name, kind in kinds.items())


def _features() -> Iterator[str]:
    yield "## Features"
    yield text(
        "A model that is trained looks at these numbers of a ticket. Each has a value also where nothing is known, "
        "and is made of what was known when the ticket was planned. Times are logarithms of milliseconds, sizes "
        "logarithms of bytes; a ratio is the logarithm of how many times its estimate work takes."
    )
    yield bullets(f"{code(name)}: {phrase(Features, name)}" for name in FEATURES)
