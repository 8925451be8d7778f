"""A service level objective (SLO): the form that a client sends, and the record that is stored."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, field_validator, model_validator

from functions._core.records.record import encode
from functions._core.records.values import JsonObject, Model, TaskType, Timestamp, WholeNumber, Word, a_number

SPACE = "slos"
"""The space of `KeyValues` that holds the definitions, by id."""

MAX_SLOS = 2000
"""SLOs of a platform: all are calculated every few minutes."""

WINDOW = "{{window}}"
"""The place in a query at which the window is put, such as `1h`."""

MAX_WINDOW_DAYS = 90

PAIRS: Mapping[str, str] = {")": "(", "]": "[", "}": "{"}


class SloType(Word):
    """What an objective is about."""

    AVAILABILITY = "AVAILABILITY"
    LATENCY = "LATENCY"
    ERROR_RATE = "ERROR_RATE"
    CUSTOM = "CUSTOM"


class Aggregation(Word):
    """How several values of a query become one; lower case on every wire."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    LAST = "last"
    RATIO = "ratio"


class Measure(Word):
    """What is counted of the platform's own history; lower case on every wire."""

    FLOW_SUCCESS = "flow_success"
    """Flows that ended COMPLETED, of all that ended; those that a person or C1 stopped do not count."""
    SLA_MET = "sla_met"
    """Flows that ended COMPLETED before their deadline, of the same."""
    COMPLETION_TIME = "completion_time"
    """Flows that ended COMPLETED within a time, of those that ended COMPLETED."""
    TICKET_SUCCESS = "ticket_success"
    """Tickets that ended COMPLETED, of those that ended COMPLETED or FAILED."""
    QUEUE_WAIT = "queue_wait"
    """Tickets that a worker got within a time, of those that a worker got."""


TYPE_WORDS: Mapping[SloType, re.Pattern[str]] = {
    SloType.AVAILABILITY: re.compile("availab|uptime|success", re.IGNORECASE),
    SloType.LATENCY: re.compile("latenc|p95|p99|duration", re.IGNORECASE),
    SloType.ERROR_RATE: re.compile("error|fail", re.IGNORECASE),
}
"""What the words of a name say about the type, the first that fits."""

ESCAPING = frozenset("\"'")
QUOTES = ESCAPING | {"`"}
"""Quotes within which a backslash escapes the next character, and all."""

SIGNS = re.compile(r"""\\.|["'`()\[\]{}]""", re.DOTALL)
"""Brackets and quotes, and each backslash with what follows: all that decides whether a query closes what it opens."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Characters that no query has."""

METADATA_BYTES = 8 * 1024

TIMED = frozenset({Measure.COMPLETION_TIME, Measure.QUEUE_WAIT})
"""Measures that need a time."""

OF_TICKETS = frozenset({Measure.TICKET_SUCCESS, Measure.QUEUE_WAIT})
"""Measures that count tickets; the others count flows."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""Names and labels are shown on one line, and are parts of keys: they have no control characters."""

Text200 = Annotated[str, Field(max_length=200, pattern=PRINTABLE)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)]


def type_of_name(name: str) -> SloType:
    """Return the type that a name speaks of, CUSTOM for none."""
    return next((kind for kind, words in TYPE_WORDS.items() if words.search(name)), SloType.CUSTOM)


def check_query(query: str) -> None:
    """Raise `ValueError` for PromQL that no server can read: empty, or with brackets or quotes that do not close.

    Whether it is right only the server knows: `POST /api/v1/slos/{slo_id}/test` asks it.
    """
    if not query.strip() or CONTROL.search(query):
        raise ValueError("the query is empty, or has characters that no query has")
    opened: list[str] = []
    quote = ""
    for sign in SIGNS.findall(query.replace(WINDOW, "1h")):
        character = sign if quote in ESCAPING else sign[-1]
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES:
            quote = character
        elif character in PAIRS.values():
            opened.append(character)
        elif character in PAIRS and (not opened or opened.pop() != PAIRS[character]):
            raise ValueError(f"the query has a {character!r} that closes nothing")
    if quote or opened:
        raise ValueError(f"the query has a {quote or opened[-1]!r} that is not closed")


class HistoryQuery(Model):
    """What of the platform's own history counts. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Measure
    """What is counted."""
    within_ms: Annotated[int, Field(ge=1, le=10**12), BeforeValidator(a_number)] | None = None
    """The time of `completion_time` and `queue_wait`, in milliseconds."""
    plan_id: Text200 | None = None
    """Only flows of this plan."""
    tenant_id: Text200 | None = None
    """Only flows of this tenant."""
    labels: Annotated[Mapping[Text200, Text200], Field(max_length=16)] = {}
    """Only flows with all of these labels."""
    task_type: TaskType | None = None
    """Only tickets of this type."""
    capability: Text200 | None = None
    """Only tickets that require this capability."""
    worker_id: Text200 | None = None
    """Only tickets whose last attempt was at this worker."""

    @model_validator(mode="after")
    def _fits(self) -> "HistoryQuery":
        if (self.within_ms is None) == (self.measure in TIMED):
            need = "needs" if self.measure in TIMED else "has no"
            raise ValueError(f"{self.measure} {need} within_ms")
        of_tickets = self.task_type is not None or self.capability is not None or self.worker_id is not None
        if of_tickets and self.measure not in OF_TICKETS:
            raise ValueError(f"{self.measure} counts flows: task_type, capability and worker_id are for tickets")
        return self


class SliQuery(Model):
    """How the indicator (SLI) is measured. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric_name: Text200 = ""
    """Name of the metric, for people."""
    query: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
    """PromQL that gives the share of what was good, or for ERROR_RATE the share of errors, 0 to 1; `{{window}}` in it
    becomes the window, such as `1h`."""
    aggregation: Aggregation = Aggregation.AVG
    """How several series become one value; `ratio` and `last` take the first one."""
    history: HistoryQuery | None = None
    """In place of `query`: the platform's own history."""

    @model_validator(mode="after")
    def _one_source(self) -> "SliQuery":
        if (self.query is None) == (self.history is None):
            raise ValueError("exactly one of query and history says how the SLI is measured")
        return self

    @field_validator("query")
    @classmethod
    def _balanced(cls, value: str | None) -> str | None:
        if value is not None:
            check_query(value)
        return value


def _share(value: object) -> object:
    """Return a target as a share: a number above 1, up to 100, is in percent."""
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004 pydantic makes a fault of it
    return round(value / 100, 12) if 1 < value <= 100 else value  # noqa: PLR2004 percent; 99.9 / 100 is not 0.999


class SloForm(Model):
    """What a client sends to make an SLO. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    """Name, unique for its service."""
    description: Annotated[str, Field(max_length=2000)] = ""
    """What it is for."""
    slo_type: SloType | None = None
    """What it is about; absent: as its name says."""
    service_name: Name
    """The service that it is an objective of."""
    component: Text200 | None = None
    """A part of the service."""
    layer: Text200 | None = None
    """The layer that the service is in, such as `orchestration`."""
    target: Annotated[float, Field(gt=0, lt=1), BeforeValidator(_share)]
    """The share that has to be good, above 0 and below 1; a number above 1 is in percent."""
    window_days: WholeNumber = Field(default=30, ge=1, le=MAX_WINDOW_DAYS)
    """The days over which it is kept."""
    sli_query: SliQuery
    """How it is measured."""
    enabled: StrictBool = True
    """Whether it is calculated; a deleted SLO is not."""
    labels: Annotated[Mapping[Text200, Text200], Field(max_length=16)] = {}
    """Names and values by which policies select it; `namespace` is that of the service."""
    metadata: JsonObject = Field(default_factory=dict)
    """Anything else, up to 8 KiB of JSON."""

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: JsonObject) -> JsonObject:
        if len(encode(value)) > METADATA_BYTES:
            raise ValueError(f"metadata has more than {METADATA_BYTES} bytes of JSON")
        return value

    @property
    def kind(self) -> SloType:
        """What it is about."""
        return self.slo_type or type_of_name(self.name)

    @property
    def namespace(self) -> str | None:
        """The namespace that the service is in, where its labels name one."""
        return self.labels.get("namespace")


class Slo(SloForm):
    """An SLO as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    slo_id: str
    """Id of the SLO."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When somebody changed it last."""
    managed_by: str | None = None
    """The document that it is made from, as `SLODefinition/name`; None: it was made over HTTP."""
