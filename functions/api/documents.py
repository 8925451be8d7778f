"""The parts of /openapi.json that no signature shows: bodies that are read by hand, events, problems."""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from threading import Lock
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, TypeAdapter

from functions._core.decision.single import NewTicket
from functions._core.events.catalogue import CATALOGUE, EventType
from functions._core.events.envelope import type_of
from functions._core.forge.templates import TemplateForm
from functions._core.guards.policy import GuardPolicyForm
from functions._core.healing.playbooks import PlaybookForm
from functions._core.placement.leasing import LeaseRequest
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.records.models import TaskLog
from functions._core.schedules.record import ScheduleForm
from functions._core.slo.flow_policies import FlowSlaPolicyForm
from functions._core.tool_catalogue import ToolForm
from functions._core.webhooks.subscription import SubscriptionForm
from functions.api import problems as problem_documents
from functions.api.agent_forms import AgentForm, AgentsWanted, CardForm, DrainForm
from functions.api.alert_forms import AlertMessage
from functions.api.analytics_forms import AnalysisQuery, AnomalyForm, CorrelationForm, TrendForm
from functions.api.calculation_forms import CostForm, SimulationForm
from functions.api.forms import (
    AdjustForm,
    DecideForm,
    Flush,
    KeyForm,
    OrderForm,
    PlanForm,
    QuarantineForm,
    RedriveForm,
    ReplanForm,
    SessionForm,
    SkipForm,
    Wanted,
)
from functions.api.healing_forms import RehearsalForm
from functions.api.insight_forms import InsightQuery
from functions.api.links import add_links
from functions.api.pipeline_forms import PipelineForm
from functions.api.schedule_forms import BackfillForm, SchedulePause
from functions.api.semantic_forms import ClusterForm, DriftForm, OutlierForm, SimilarityForm, TextSearchForm
from functions.api.slo_forms import SLO_FORMS
from functions.api.ticket_forms import RetryForm, StatusChange
from functions.api.tool_forms import RpcMessage, ToolCallForm
from functions.api.webhook_forms import PipelineCompleted, Rotation
from functions.api.workflow_forms import Arguable, SignalBody, WorkflowQuery, WorkflowSignal, WorkflowStart

BINARY, STRUCTURED, BATCHED = (
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
)
JSON_MEDIA = r"^[^/\s;]+/([^/\s;]+\+)?json(\s*;.*)?$"
KEY = "FLOWC_API_KEY or a key made by an administrator; also taken as a bearer token. Not asked where access is off"
TAKEN = tuple(entry for entry in CATALOGUE if entry.outside)

Document = dict[str, Any]


class Api(FastAPI):
    """FastAPI whose document also holds the schemas that `ref` points to."""

    def setup(self) -> None:
        """Serve the document. It is made in a thread, as that takes half a second, and once."""
        once: list[bytes] = []
        self.making = Lock()
        """Held while the document is made: half of one must not be taken for the whole."""
        lock = Lock()

        def made() -> bytes:
            with lock:
                if not once:
                    once.append(json.dumps(self.openapi(), ensure_ascii=False).encode())
            return once[0]

        async def document(_request: Request) -> Response:
            return Response(await asyncio.to_thread(made), media_type="application/json")

        self.add_route("/openapi.json", document, include_in_schema=False)

    def openapi(self) -> Document:
        """Return the OpenAPI document, which is made once."""
        with self.making:
            return self._document()

    def _document(self) -> Document:
        if self.openapi_schema:
            return self.openapi_schema
        document = super().openapi()
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas.update(_schemas())
        _hoist(schemas)
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        add_links(operations)
        for operation in operations:
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _present(parameter["schema"])
        components["securitySchemes"] = {
            "assignment": {"type": "http", "scheme": "bearer", "description": "The token of an assignment"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": KEY},
        }
        document["security"] = [{}, {"key": []}]
        return document


def ref(name: str) -> Document:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def problems(*statuses: int) -> dict[int | str, Document]:
    """Return the documentation of problem answers: those named, and every other as the default."""
    named: dict[int | str, Document] = {status: _problem(HTTPStatus(status).phrase) for status in statuses}
    return named | {"default": _problem("Any other problem")}


def batch_problem() -> dict[int | str, Document]:
    """Return the documentation of a 400 that may be about a batch."""
    either = {"anyOf": [ref("Problem"), ref("BatchProblem")]}
    text = "Malformed, then nothing was taken; or some events of a batch were refused, and the others taken"
    return {400: {"description": text, "content": {problem_documents.MEDIA_TYPE: {"schema": either}}}}


def json_body(model: type[BaseModel] | str, *, required: bool = True) -> Document:
    """Return the documentation of a JSON body that is read by hand; a text names a schema of the document."""
    name = model if isinstance(model, str) else model.__name__
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": ref(name)}}}}


def avro_too(body: Document, schema: str) -> Document:
    """Return the documentation of a body that may also be one Avro object of `schema`, in single-object encoding.

    A sentence says so: generators of clients warn of a media type that they cannot write.
    """
    text = f"Also `application/avro`: one object of the schema {schema} in Avro's single-object encoding; at most 1 MiB"
    return {**body, "requestBody": {**body["requestBody"], "description": text}}


def events_body(*event_types: str, batch: bool) -> Document:
    """Return the documentation of a body that holds one of the events `event_types`, with the headers of its forms."""
    entries = [entry for entry in TAKEN if entry.event_type in event_types]
    event = {"oneOf": [ref(_event_name(entry)) for entry in entries]}
    data = {"anyOf": [ref(entry.model.__name__) for entry in entries]}
    content = {
        STRUCTURED: {"schema": event},
        BINARY: {"schema": {**data, "description": "Data alone, in the binary form: attributes are headers"}},
    }
    if batch:
        content[BATCHED] = {"schema": {"type": "array", "items": event}}
    types = [type_of(entry.event_type) for entry in entries]
    return {
        "requestBody": {"required": True, "content": content},
        "parameters": [
            _header("ce-specversion", {"type": "string", "enum": ["1.0"]}),
            _header("ce-id", {"type": "string", "minLength": 1}),
            _header("ce-source", {"type": "string", "format": "uri-reference", "minLength": 1}),
            _header("ce-type", {"type": "string", "enum": types}),
        ],
    }


def path_parameter(name: str, **schema: str) -> Document:
    """Return the documentation of a path parameter, a text, that is read by hand; `schema` says more of it."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", **schema}}


def _header(name: str, schema: Document) -> Document:
    text = "Required in the binary form of an event, and only there"
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def _problem(description: str) -> Document:
    content = {problem_documents.MEDIA_TYPE: {"schema": ref("Problem")}}
    return {"description": description, "content": content}


BODIES: tuple[type[BaseModel], ...] = (
    OrderForm,
    AdjustForm,
    RedriveForm,
    ReplanForm,
    SkipForm,
    DecideForm,
    RetryForm,
    NewTicket,
    StatusChange,
    Flush,
    KeyForm,
    SessionForm,
    Wanted,
    WorkflowStart,
    WorkflowQuery,
    WorkflowSignal,
    Arguable,
    SignalBody,
    SubscriptionForm,
    ScheduleForm,
    FlowSlaPolicyForm,
    PlaybookForm,
    RehearsalForm,
    SchedulePause,
    BackfillForm,
    *SLO_FORMS,
    GuardPolicyForm,
    QuarantineForm,
    Rotation,
    PipelineCompleted,
    AlertMessage,
    PlanForm,
    SimulationForm,
    CostForm,
    Registration,
    Heartbeat,
    LeaseRequest,
    AgentForm,
    AgentsWanted,
    CardForm,
    DrainForm,
    ToolForm,
    ToolCallForm,
    TemplateForm,
    PipelineForm,
    RpcMessage,
    InsightQuery,
    AnalysisQuery,
    AnomalyForm,
    TrendForm,
    CorrelationForm,
    SimilarityForm,
    TextSearchForm,
    ClusterForm,
    DriftForm,
    OutlierForm,
    *(entry.model for entry in TAKEN),
)
"""The bodies that routes read by hand, and the data of the events that they take."""


def _schemas() -> Mapping[str, Document]:
    """Return what is referred to by name: problems, bodies, events."""
    answers: tuple[type, ...] = (problem_documents.Problem, problem_documents.BatchProblem, TaskLog)
    return (
        {model.__name__: _schema(model, "validation") for model in BODIES}
        | {model.__name__: _schema(model, "serialization") for model in answers}
        | {_event_name(entry): _event(entry) for entry in TAKEN}
    )


def _schema(model: type, mode: Literal["validation", "serialization"]) -> Document:
    # A name of its own for each part, until `_hoist`: FastAPI may use the same for what it returns.
    template = f"#/components/schemas/{model.__name__}{{model}}"
    return TypeAdapter(model).json_schema(mode=mode, ref_template=template)


def _present(schema: Document) -> Document:
    """Return the schema of a parameter that is there: null is how the code reads one that is not."""
    forms = [form for form in schema.get("anyOf", ()) if form != {"type": "null"}]
    if len(forms) not in {1, len(schema.get("anyOf", ())) - 1}:
        return schema
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**(forms[0] if len(forms) == 1 else {"anyOf": forms}), **rest}


def _hoist(schemas: Document) -> None:
    """Make a component of each part of a schema: few generators of clients follow a reference into a component.

    Its title is its name, because generators call classes by titles, and two of one title exclude each other.
    """
    for name in list(schemas):
        for part, schema in schemas[name].pop("$defs", {}).items():
            schemas[f"{name}{part}"] = {**schema, "title": f"{name}{part}"}


def _event_name(entry: EventType) -> str:
    return "".join(word.capitalize() for word in entry.event_type.replace("_", ".").split(".")) + "Event"


def _event(entry: EventType) -> Document:
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "title": _event_name(entry),
        "description": f"{entry.text} The subject is the {entry.subject}. Other attributes are extensions.",
        "required": ["specversion", "id", "source", "type"],
        # One of both. Said by `oneOf`, generators of clients take it for two types without fields.
        "if": {"required": ["data"]},
        "then": {"not": {"required": ["data_base64"]}},
        "else": {"required": ["data_base64"]},
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": {**text, "format": "uri-reference"},
            "type": {"const": type_of(entry.event_type)},
            "time": {"type": "string", "format": "date-time"},
            "subject": text,
            "datacontenttype": {"type": "string", "default": "application/json", "pattern": JSON_MEDIA},
            "data": ref(entry.model.__name__),
            "data_base64": {"type": "string", "contentEncoding": "base64"},
        },
    }
