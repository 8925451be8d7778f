"""The README of `events/`: the catalogue as a table, and what no schema can say."""

from collections.abc import Iterator

from functions._adapters.http.cloudevents import ATTRIBUTE_LIMIT, BATCH_LIMIT
from functions._core.decision.model import DEFAULT_ESTIMATE_MS, CognitivePlan, Decision, Input, Task
from functions._core.decision.vocabulary import COMPENSATION_TYPES, MAX_ID_LENGTH, MAX_TASKS, TASK_TYPES
from functions._core.events.catalogue import CATALOGUE
from functions._core.events.envelope import TYPE_PREFIX
from functions._core.events.subscribers import DECISION_BYTES
from functions._core.placement.workers import MAX_CAPABILITIES, MAX_SLOTS
from functions._core.planning.compensation import ACTIONS, OTHERWISE
from functions._core.records.json_text import MAX_DEPTH
from functions._core.records.values import NAMESPACE
from functions._core.rules import TICKETS_PER_EVENT, Rules
from functions._engine.settings import Settings
from functions._worker.tasks import OUTPUT_LIMIT
from infra.generate.contract.scenarios import COURSES
from infra.generate.contract.schemas import paragraph

HEAD = ("event", "sent by", "handled by", "subject", "from outside", "meaning")
LONGEST = 80
"""Characters of the functions that a line of the table names: its lines have at most 160."""

FILES_HEAD = ("event", "schema", "example")

TEXT = """\
# Events

The contract of Flow C as data, for any language. `make events` writes this folder from the code; a test fails
when they differ.

Every event is a [CloudEvent](https://cloudevents.io) 1.0 with JSON data. Its type is `{prefix}<event>.v1`; the table
gives the event. A schema describes the event's `data` in JSON Schema 2020-12. What Flow C sends is exactly as its
schema says, to the last field. What comes from outside is read with more patience: words in any letter case, times as
RFC 3339 or in epoch milliseconds, unknown fields ignored. [asyncapi.json](asyncapi.json) is the same contract for tools
that read AsyncAPI 3: what may be sent to Flow C, and what it sends to whom.

Every event, through every door, is valid against one schema: that whose `$id` its `dataschema` names, or, where it has
no `dataschema`, that of its type.

{table}

{files}

From outside, only the types marked so are taken, and `ticket.reported` only with the token of its assignment.
`decision.consolidated` has two forms: users send the decision itself; between functions the event only says where it
is stored (`dataref`), and its `dataschema` says so.
Of what goes to a worker, subscribers get a copy of their own: `ticket.assigned` without a token,
`ticket.cancelled` with the whole transition.

Every transition is told as one event: to `FLOWC_SUBSCRIBER_URL`, on the bus, and by `GET /api/v1/events`, which gives
the same events with the same ids. Types that functions handle too, such as `plan.validated`, have the data of the
transition beside their own. `decision.consolidated` brings the decision as it came; of one that is larger than
{told} KiB, or that cannot be read, it says where it is stored. On a bus, subscribers get the events of these types that
the functions send each other.

A dead letter holds its event as it was. Only one that came from outside may be against its schema: that may be why it
is there.

All examples belong together: they tell of one decision, its flow and its tickets. They are taken from these courses,
which the same decision can take (where it asks for human review, that is all that is changed in it):

{courses}

## Names

A type is a thing and what happened to it, in the past tense: `ticket.completed`. `source` is `/flowc/<function>` for
what a function sends to the next one, and `/flowc` for transitions told to subscribers. `subject` is the id of what
the event is about. A change that breaks readers gets a new version, `.v2`, sent beside the old one for a while; within
a version fields may only be added, so a reader should ignore what it does not know.

## Extension attributes

| attribute | where | what |
|---|---|---|
| `partitionkey` | every event about a flow | the flow id |
| `correlationid` | every event about a flow | the decision's correlation id, else the flow id |
| `causationid` | what one event led to | the id of that event; `clock` where time alone did it |
| `traceparent` | every event about a flow | the trace in which the decision arrived, the same on every hop |
| `expirytime` | `ticket.assigned` | the ticket's deadline; later the work is of no use |
| `dataref` | `decision.consolidated` that does not bring the decision | where it is: a path of the platform's API |
| `dataschema` | likewise | `urn:neuralhive:decision.consolidated:v1:stored`, the `$id` of the schema of its data |

## Delivery

At least once and in no order. A repeated event has the same `source` and `id`; handle it once, or handle it twice with
the same effect. Flow C itself does not remember ids: a transition is guarded by the state of its flow or ticket and
by the `attempt`, which grows with every assignment. A report on an older attempt is answered, and changes nothing.

An answer of `2xx` means that the event is durable, on our side and on yours. After `404`, `408`, `409`, `429` and `5xx`
it should be, and is, sent again with growing pauses; after any other answer, redirects among them, that would be
pointless, and what was refused becomes a dead letter. What comes after it goes on. Of a batch that is refused, smaller
parts are sent until the event that is refused is found: that one alone becomes a dead letter.

## Ids

Whoever has the decision can compute all of them:

    flow_id   = uuid5({namespace}, decision_id)
    ticket_id = uuid5(flow_id, task_id)

The ticket that undoes another one is `uuid5(ticket_id, "compensation/<n>")`; n is how often the flow was redriven.

The id of an event that functions send each other follows from the flow, what it is about, the attempt and the number of
repetitions that were asked for on purpose; that of a transition from its line in the history. A redelivery is
recognised, a second attempt is not taken for one.

## Orders

What people order are events, too: those about a flow or a ticket that are taken from outside and are no report.
`requested_by` and `reason` are kept with what comes of them. An order with an id that the flow has carried out changes
nothing, and neither does one that asks for what is so already; both are successes. One that cannot be carried out as
things are is refused with the reason, and nothing changes.

## Writing a decision

Required:

{required}

The two `plan_id` are the same. Everything else has a default, and null means absent.

The same `decision_id` with the same content is the same flow, however often it is sent; with other content it is
refused. Without `sla_deadline` and `sla_deadline_seconds` the flow has {sla:g} seconds; a task without
`estimated_duration_ms` counts as {estimate} ms.

`task_type` is one of these words, in any letter case; any other word is refused and named:

{words}

A `compensation` may also be {compensations}.

### Approval

A person has to agree before anything is done where `final_decision` is `review_required` or `conditional`, where
`requires_human_review`, the plan's `is_destructive` or `destructive_tasks` say so, and where `requires_approval` is not
met by an `approval_status` of `approved`. The flow is AWAITING_APPROVAL until `flow.approval_granted` or
`flow.approval_denied` arrives; after {approval:g} h (a setting) it ends as REJECTED. Its time does not run meanwhile,
except towards an `sla_deadline`; the same holds for a flow that is paused.

### Undoing

When a flow does not succeed, the work of its COMPLETED tasks is undone as far as their `compensation` says how, from
the end of the plan to its beginning. Each gets a ticket of type COMPENSATE, which runs like any other. Its worker finds
in the parameters, beside those of the `compensation`, whose work it undoes (`compensates`: ticket_id and task_id) and
the `action`, which follows from the task's type unless it is given:

{actions}

The flow's outcome is known before (`compensation.requested`) and stays what it is; the flow ends afterwards
(`compensation.ended`), at the latest {compensation:g} h (a setting) later. A ticket whose work could not be undone ends
as FAILED, `not_compensated`, and an incident is raised. A flow that is redriven does again what was undone.

### Outputs of earlier tasks

Anywhere in `parameters`, the object `{{"$output": "<task id>", "path": "<JSON Pointer>"}}` stands for the output of a
task that is done before, directly or through others. `path` (RFC 6901) points at a part of it, and is left out for the
whole. The object holds nothing else. The parameters of a `compensation` may also refer to the task itself. References
are checked before anything runs; when the ticket goes to its worker, the value takes their place. What an output
contains is data: a reference in it is not followed.

    "parameters": {{"image": {{"$output": "build", "path": "/image"}}, "report": {{"$output": "test"}}}}

### Limits

| what | at most |
|---|---|
| characters of an id | {ids} |
| tasks in a plan | {tasks} |
| levels of nesting in JSON | {depth} |
| bytes of a request | {body} (a setting) |
| events in a batch | {batch} |
| characters of an attribute | {attribute} |
| bytes of a task's output, as JSON | {output} |
| capabilities and slots of a worker | {capabilities} and {slots} |
| tickets named in one event that we send | {tickets} |

## Envelopes

`envelopes/` shows the same events as they are delivered.

| file | what |
|---|---|
| `http-binary.http` | a decision, attributes as headers and data as the body |
| `http-structured.http` | the same decision in one JSON object |
| `http-batched.http` | a registration and the decision in one array |
| `sqs-lambda.plan.validated.json` | what C2 gets on AWS: EventBridge puts the event into a queue, Lambda reads it |
| `sqs-lambda.ticket.reported.json` | a worker's report, as C5 gets it |
| `sqs-lambda.batch.json` | two records in one invocation of C3 |

On AWS the whole event is the `detail` of the bus's own envelope; `detail-type` repeats the type, `source` the source.
"""


def readme() -> str:
    """Return the README of `events/`."""
    return TEXT.format(
        prefix=TYPE_PREFIX,
        table="\n".join(_table()),
        files="\n".join(_files()),
        courses="\n".join(f"- **{course.__name__.replace('_', ' ')}**: {paragraph(course)}" for course in COURSES),
        namespace=NAMESPACE,
        required=_required(),
        sla=Rules().default_sla.total_seconds(),
        told=DECISION_BYTES // 1024,
        estimate=DEFAULT_ESTIMATE_MS,
        words="\n".join(_words()),
        approval=Rules().approval.total_seconds() / 3600,
        compensation=Rules().compensation.total_seconds() / 3600,
        actions="\n".join(_actions()),
        compensations=", ".join(f"`{word}`" for word in COMPENSATION_TYPES if word not in TASK_TYPES),
        ids=MAX_ID_LENGTH,
        tasks=MAX_TASKS,
        depth=MAX_DEPTH,
        body=Settings().max_body_bytes,
        batch=BATCH_LIMIT,
        attribute=ATTRIBUTE_LIMIT,
        output=OUTPUT_LIMIT,
        capabilities=MAX_CAPABILITIES,
        slots=MAX_SLOTS,
        tickets=TICKETS_PER_EVENT,
    )


def _table() -> Iterator[str]:
    yield _row(*HEAD)
    yield _row(*("---" for _ in HEAD))
    for entry in CATALOGUE:
        outside = "yes" if entry.outside else ""
        name = f"`{entry.event_type}`"
        handlers = entry.handled_by if len(entry.handled_by) <= LONGEST else "all that act as time passes"
        yield _row(name, entry.sent_by, handlers, entry.subject, outside, entry.text)
        if entry.stored is not None:
            yield _row("the same, stored", "", "", "", "", paragraph(entry.stored))


def _files() -> Iterator[str]:
    yield _row(*FILES_HEAD)
    yield _row(*("---" for _ in FILES_HEAD))
    for entry in CATALOGUE:
        stems = [f"{entry.event_type}.v1", *([f"{entry.event_type}.v1.stored"] if entry.stored is not None else [])]
        for stem in stems:
            yield _row(f"`{stem}`", f"[schema]({stem}.schema.json)", f"[example]({stem}.example.json)")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def _required() -> str:
    parts = ((Decision, "the decision"), (CognitivePlan, "its `cognitive_plan`"), (Task, "every task"))
    return "\n".join(f"- of {part}: {_fields(model)}" for model, part in parts)


def _fields(model: type[Input]) -> str:
    *others, last = (f"`{name}`" for name, field in model.model_fields.items() if field.is_required())
    return f"{', '.join(others)} and {last}"


def _actions() -> Iterator[str]:
    yield "| the task is | action |"
    yield "|---|---|"
    for kind, action in ACTIONS.items():
        yield f"| {kind} | `{action}` |"
    yield f"| another | `{OTHERWISE}` |"


def _words() -> Iterator[str]:
    yield "| the task is | written as |"
    yield "|---|---|"
    for kind in dict.fromkeys(TASK_TYPES.values()):
        spellings = (f"`{word}`" for word, meaning in TASK_TYPES.items() if meaning is kind)
        yield f"| {kind} | {', '.join(spellings)} |"
