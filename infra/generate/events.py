"""Writes `events/` and the schemas for editors from the code: `python -m infra.generate.events`.

With `--check` it only compares.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from functions._core.events.avro import decision_schema, ticket_schema
from functions._core.events.catalogue import CATALOGUE
from functions._core.events.execution_ticket import ExecutionTicket
from infra.generate.contract import asyncapi
from infra.generate.contract.catalogue import readme
from infra.generate.contract.envelopes import envelopes, structured
from infra.generate.contract.examples import examples
from infra.generate.contract.field_docs import phrase
from infra.generate.contract.folder import ROOT, differences, pretty, save, stale, write
from infra.generate.contract.plan_language import plan_schemas
from infra.generate.contract.schemas import Document, incoming_schema, outgoing_schema, paragraph, record_schema
from infra.generate.contract.slo_documents import document_schemas
from infra.generate.contract.tolerant import Tolerant

FOLDER = ROOT / "events"
TICKET = "execution_ticket.v1"
API = ROOT / "functions" / "api"
"""Where the schemas are that the platform serves: those for editors, on one line."""


def schemas() -> Mapping[str, Document]:
    """Return every schema by the start of its file's name."""
    found: dict[str, Document] = {}
    for entry in CATALOGUE:
        stem = f"{entry.event_type}.v1"
        found[stem] = incoming_schema(entry, Tolerant) if entry.outside else outgoing_schema(entry, entry.model)
        if entry.stored is not None:
            found[f"{stem}.stored"] = outgoing_schema(entry, entry.stored)
    return found


def avro_schemas() -> Mapping[str, Document]:
    """Return every Avro schema by the start of its file's name; that of a ticket has the sentences of its fields."""
    ticket = ticket_schema()
    fields = [{**field, "doc": phrase(ExecutionTicket, field["name"])} for field in ticket["fields"]]
    described = {**ticket, "doc": paragraph(ExecutionTicket), "fields": fields}
    return {TICKET: described, "decision.consolidated.v1": decision_schema()}


def files() -> Mapping[str, str]:
    """Return the text of every file in `events/` by its name."""
    return {
        "README.md": readme(),
        asyncapi.NAME: pretty(asyncapi.document()) + "\n",
        **{f"{stem}.avsc": pretty(schema) + "\n" for stem, schema in avro_schemas().items()},
        f"{TICKET}.schema.json": pretty(record_schema(ExecutionTicket, "execution_ticket")) + "\n",
        **{f"{stem}.schema.json": pretty(schema) + "\n" for stem, schema in schemas().items()},
        "plan.v1.schema.json": pretty(plan_schemas()["plan"]) + "\n",
        **{f"{stem}.example.json": pretty(structured(event)) + "\n" for stem, event in examples().items()},
        **{f"envelopes/{name}": text for name, text in envelopes().items()},
    }


def served() -> Mapping[str, str]:
    """Return the text of each schema that the platform serves, by its file."""
    return {
        f"{name}.schema.json": json.dumps(schema, ensure_ascii=False, separators=(",", ":")) + "\n"
        for name, schema in {**plan_schemas(), **document_schemas()}.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` return 1 and name those that differ."""
    parser = argparse.ArgumentParser(prog="generate_events", description="Write events/ from the code.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file differs")
    if not parser.parse_args(arguments).check:
        sys.stderr.writelines(f"events/{name} belonged to nothing and was removed\n" for name in write(FOLDER, files()))
        save(API, served())
        return 0
    drift = [f"events/{difference}" for difference in differences(FOLDER, files())]
    drift += [f"functions/api/{difference}" for difference in stale(API, served())]
    sys.stderr.writelines(f"{line}; run `make events`\n" for line in drift)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())
