"""`docs/reference/errors.md`: the codes of problem documents, of reasons, and of incidents."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import dedent

from functions._core import errors as kinds
from functions._core.decision.reading import OTHERWISE, SENTENCES
from functions._core.machine.incidents import CAUSES, PLAYBOOKS, SEVERITIES
from functions._core.records.audits import IncidentType
from functions._core.records.dead_letters import REFUSED_BY_SINK, SINK_UNAVAILABLE
from infra.generate.pages.markdown import bullets, code, page, text
from infra.generate.pages.refusals import GAP, Said, reasons, refusals

INTRODUCTION = f"""
Every code by which Flow C says that something did not succeed, with the words that go with it; {GAP} stands for a name,
a number or a moment. Programs go by the code: the words are for people and may change.
[Exit statuses](cli.md#exit-statuses) of commands are on the page of the command line.
"""

WORKER = "_worker/"
DECISION = "_core/decision/"
MACHINE = "_core/machine/"
FACT = re.compile(r"\{\w+\}")


def errors() -> str:
    """Return the page."""
    return page("Errors", INTRODUCTION, _kinds(), _problems(), _reasons(), _incidents(), _of_workers())


def _kinds() -> Iterator[str]:
    yield "## Kinds"
    yield text("The kind of an error decides whether an event is delivered again.")
    tree = [part for part in inspect.getdoc(kinds).split("\n\n") if part.startswith("    ")]  # type: ignore[union-attr]
    yield f"```text\n{dedent(tree[0])}\n```"


def _problems() -> Iterator[str]:
    yield "## Problem documents"
    yield text(
        "A refused request is answered with a problem document, which has the `code`. An event that is refused after "
        "it was taken becomes a dead letter, whose reason has the same code. A path or a method that is not there has "
        "the code `not_found` or `method_not_allowed`."
    )
    yield from _by_status([found for found in refusals() if not found.module.startswith(WORKER)])


def _by_status(found: Sequence[Said], suffix: str = "") -> Iterator[str]:
    for status in sorted({said.status for said in found}):
        yield f"### Status {status}{suffix}"
        yield _list(said for said in found if said.status == status)


def _list(found: Iterable[Said]) -> str:
    """Return each code once, with all the words that it is said with."""
    by_code: dict[str, list[str]] = {}
    for said in sorted(found):
        words = by_code.setdefault(said.code, [])
        if said.words.strip(f"{GAP}: ;,") and said.words not in words:
            words.append(said.words)
    return bullets(f"{code(name)}: {' · '.join(words)}" if words else code(name) for name, words in by_code.items())


def _reasons() -> Iterator[str]:
    found = [*reasons()]
    yield "## Reasons"
    yield "### Of a decision that is refused, and warnings"
    read = [Said(0, name, FACT.sub(GAP, words), DECISION) for name, words in [*SENTENCES.values(), OTHERWISE]]
    yield _list([*(said for said in found if said.module.startswith(DECISION)), *read])
    yield "### Of a flow or a ticket"
    yield text("A task that fails by itself has the code that its worker gave, the `type` of the report's error.")
    yield _list(said for said in found if said.module.startswith(MACHINE) or said.module.startswith("_core/planning/"))
    yield "### Of a dead letter"
    others = [said for said in found if not said.module.startswith((DECISION, MACHINE, WORKER, "_core/"))]
    yield _list([*others, *(Said(0, name, "", "") for name in (SINK_UNAVAILABLE, REFUSED_BY_SINK))])


def _incidents() -> Iterator[str]:
    yield "## Incidents"
    yield text("An incident has a type. The code of a ticket's reason leads to it; any other code to `INCONSISTENCY`.")
    yield bullets(_incident(kind) for kind in IncidentType)


def _incident(kind: IncidentType) -> str:
    causes = ", ".join(code(cause) for cause, meant in CAUSES.items() if meant is kind)
    playbook = f", playbook {code(PLAYBOOKS[kind])}" if kind in PLAYBOOKS else ""
    return f"{code(kind.value)}: severity {SEVERITIES[kind].value}{playbook}{f'; from {causes}' if causes else ''}."


def _of_workers() -> Iterator[str]:
    yield "## Answers of a worker"
    yield text("`flowc worker` refuses a message of the platform with these.")
    yield from _by_status([said for said in refusals() if said.module.startswith(WORKER)], " of a worker")
