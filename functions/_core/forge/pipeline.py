"""The plan of a pipeline: six stages one after the other, each done by an executor of the forge, and a review.

A request becomes a decision of which the engine makes a flow: its id follows from a key, so the same key is the same
pipeline. The making has half an hour; a review by people comes on top of that.
"""

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from functions._core.decision.references import MARKS
from functions._core.decision.vocabulary import Id
from functions._core.events.pipelines import LABEL, PIPELINE_KEY
from functions._core.executors.build import MOST_INPUT, InputName
from functions._core.executors.execute import MOST_NAMES
from functions._core.executors.forge import LONGEST_INSTRUCTIONS, ArtifactId, ShortWord, Version
from functions._core.executors.table import MAKING_SECONDS, REVIEW_SECONDS, capability_of
from functions._core.forge.selection import ranked
from functions._core.forge.stages import STAGES, Score, TemplateCard
from functions._core.records.json_text import json_size
from functions._core.records.models import Flow
from functions._core.records.values import Model, flow_id_of

PREFIX = "forge:"
"""How the ids of the decisions and of the plans of pipelines begin."""

PIPELINE = "pipeline"
"""The value of `LABEL` that pipelines have."""

PIPELINES = (f"{LABEL}:{PIPELINE}",)
"""The labels by which pipelines are found among flows."""

ARTIFACT_LABEL, TICKET_LABEL, REQUEST_LABEL = "flowc-forge/artifact", "flowc-forge/ticket", "flowc-forge/request"
"""Labels with what is made, for which BUILD ticket, and the hash of the request; long ids are shortened."""

GATE, MERGE_REQUEST, PERSON = "approve/gate", "approve/merge_request", "approve/person"
"""The tasks within the last stage."""

AT_ONCE = 10
"""Pipelines that are made at once; more of them wait for their turn."""

LONGEST_REVIEW = 30 * 86_400

STAGE_SECONDS: Mapping[str, int] = {
    "select_template": 60,
    "compose_code": 300,
    "validate_code": 600,
    "run_tests": 600,
    "package": 600,
}
"""How long one attempt at a stage may take; the review has a limit of its own."""

EXPECTED_MS: Mapping[str, int] = {
    "select_template": 5_000,
    "compose_code": 10_000,
    "validate_code": 60_000,
    "run_tests": 60_000,
    "package": 60_000,
    "gate": 1_000,
    "merge_request": 3_600_000,
}
"""Estimates: a stage is tried again as long as all that follows it still fits into the time."""

MOST_CARDS = 20
"""Templates that the first stage is handed: those that fit best."""

LONGEST_KEY = 200
"""Characters of a key that are part of an id as they are; of a longer one the hash is."""

RETRY: Mapping[str, Any] = {
    "max_retries": 2,
    "initial_ms": 2_000,
    "max_ms": 30_000,
    "non_retryable": ["no_template", "bad_parameters", "rejected", "tests_failed"],
}
"""Stages are tried again for faults that pass, as the executor says of each; a lost worker costs no retry."""


class PipelineRequest(Model):
    """What a pipeline is asked to make. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact_id: ArtifactId
    """What is made, such as `acme/shop`."""
    ticket_id: Id | None = None
    """The BUILD ticket that it is made for; None: a person asked."""
    template_id: ShortWord | None = None
    """The template; without it the one that fits best."""
    artifact_type: ShortWord | None = None
    """The kind of thing: service, function, library or module."""
    language: ShortWord | None = None
    """The language of its code."""
    capabilities: Annotated[tuple[ShortWord, ...], Field(max_length=MOST_NAMES)] = ()
    """What it has to do."""
    inputs: Annotated[Mapping[InputName, Any], Field(max_length=MOST_NAMES)] = {}
    """Answers to what the template asks, any JSON, 64 KiB at most. Everybody who may read pipelines can see them."""
    version: Version = "0.1.0"
    """The version of what is made."""
    instructions: Annotated[str, Field(max_length=LONGEST_INSTRUCTIONS)] = ""
    """What a language model is to change in the code, where the worker has one."""
    min_coverage: Score = 0.8
    """The share of lines that its tests should run."""
    review_seconds: Annotated[int, Field(ge=60, le=LONGEST_REVIEW)] = REVIEW_SECONDS
    """How long people may take to decide."""
    plan_id: Id | None = None
    """The plan of the BUILD ticket."""
    flow_id: Id | None = None
    """The flow of the BUILD ticket."""
    correlation_id: Id | None = None
    """What ties it to other work; without it the id of its flow."""

    @field_validator("inputs")
    @classmethod
    def _plain(cls, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if json_size(inputs) > MOST_INPUT:
            raise ValueError(f"has more than {MOST_INPUT} bytes")
        if _has_reference(inputs):
            # A reference would be filled in by the platform: a secret would become part of the code.
            raise ValueError(f"has an object with one of {', '.join(sorted(MARKS))}; inputs are values, not references")
        return inputs

    @model_validator(mode="after")
    def _artifact_fits(self) -> "PipelineRequest":
        if any(part in {"", ".", ".."} for part in self.artifact_id.split("/")):
            raise ValueError("artifact_id: has an empty part, or `.` or `..`")
        return self


def decision_id_for(key: str) -> str:
    """Return the id of the decision of a pipeline with a key: the same key is the same pipeline."""
    short = key if len(key) <= LONGEST_KEY else f"sha256:{sha256(key.encode(errors='surrogatepass')).hexdigest()}"
    return f"{PREFIX}{short}"


def request_hash(request: PipelineRequest) -> str:
    """Return what two requests have in common that ask for the same, in whatever order they name it."""
    return sha256(json.dumps(request.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:32]


def pipeline_decision(
    request: PipelineRequest, cards: Sequence[TemplateCard], key: str, at_once: int = AT_ONCE
) -> dict[str, Any]:
    """Return the decision of a pipeline, of which `at_once` are made at once.

    Raises `Rejected`, code `no_template`, where no template fits.
    """
    decision_id, plan_id = decision_id_for(key), f"{PREFIX}{request.artifact_id}"
    fitting = [card for card, _ in ranked(cards, request)[:MOST_CARDS]]
    return {
        "decision_id": decision_id,
        "plan_id": plan_id,
        "intent_id": request.ticket_id or plan_id,
        "final_decision": "approve",
        "sla_deadline_seconds": MAKING_SECONDS + request.review_seconds,
        **({"correlation_id": request.correlation_id} if request.correlation_id else {}),
        "cognitive_plan": {
            "plan_id": plan_id,
            "tasks": _tasks(request, fitting, flow_id_of(decision_id)),
            "labels": _labels(request),
            "concurrency": {"key": PIPELINE_KEY, "limit": at_once},
            "result": {
                "artifacts": {"$output": "package", "path": "/artifacts"},
                "sbom": {"$output": "package", "path": "/sbom"},
                "provenance": {"$output": "package", "path": "/provenance"},
                **{name: {"$output": "approve", "path": f"/{name}"} for name in ("score", "outcome", "git_mr_url")},
            },
        },
    }


def is_pipeline(flow: Flow) -> bool:
    """Whether a flow is a pipeline of the forge; its labels are there once C1 has read its plan."""
    return flow.decision_id.startswith(PREFIX) and (flow.plan_id or "").startswith(PREFIX)


def artifact_of(flow: Flow) -> str:
    """Return what the pipeline of a flow makes."""
    return (flow.plan_id or "").removeprefix(PREFIX)


def build_ticket_of(flow: Flow) -> str | None:
    """Return the BUILD ticket for which the pipeline of a flow was begun; None for none."""
    return None if flow.intent_id in {None, flow.plan_id} else flow.intent_id


def _tasks(request: PipelineRequest, cards: Sequence[TemplateCard], flow_id: str) -> list[dict[str, Any]]:
    given = _parameters(request, cards)
    tasks = [_stage(name, given[name]) for name in STAGES[:-1]]
    about = {"artifact_id": request.artifact_id, "version": request.version, "ticket_id": request.ticket_id}
    origin = {"plan_id": request.plan_id, "flow_id": request.flow_id}
    tasks[0]["metadata"] = {"pipeline": {name: value for name, value in {**about, **origin}.items() if value}}
    package = tasks[STAGES.index("package")]
    package["compensation"] = {
        "parameters": {"provider": _executor("package"), **_artifact(request), "pushed": _output("package", "/pushed")},
        "required_capabilities": [capability_of(_executor("package"))],
        "timeout_ms": STAGE_SECONDS["package"] * 1_000,
    }
    return [*tasks, _approve(request, flow_id)]


def _parameters(request: PipelineRequest, cards: Sequence[TemplateCard]) -> Mapping[str, Mapping[str, Any]]:
    """Return the parameters of the stages but for the review."""
    asked = {
        name: value
        for name in ("template_id", "artifact_type", "language")
        if (value := getattr(request, name)) is not None
    }
    return {
        "select_template": {
            **_artifact(request),
            **asked,
            "capabilities": list(request.capabilities),
            "templates": [card.model_dump(mode="json", exclude_none=True) for card in cards],
        },
        "compose_code": {
            **_artifact(request),
            "template": _output("select_template"),
            "inputs": dict(request.inputs),
            "version": request.version,
            "instructions": request.instructions,
        },
        "validate_code": {"code": _output("compose_code")},
        "run_tests": {"code": _output("compose_code"), "min_coverage": request.min_coverage},
        "package": {
            **_artifact(request),
            "code": _output("compose_code"),
            "template": _output("select_template"),
            "validation": _output("validate_code"),
            "tests": _output("run_tests"),
            "version": request.version,
        },
    }


def _stage(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    place = STAGES.index(name)
    return {
        "task_id": name,
        "description": DESCRIPTIONS[name],
        **({"dependencies": [STAGES[place - 1]]} if place else {}),
        **_done_by(name, parameters, STAGE_SECONDS[name]),
    }


def _done_by(name: str, parameters: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """Return the fields of a task that an executor of the forge does."""
    return {
        "task_type": TASK_TYPES.get(name, "BUILD"),
        "required_capabilities": [capability_of(_executor(name))],
        "parameters": {"provider": _executor(name), **parameters},
        "estimated_duration_ms": EXPECTED_MS[name],
        "timeout_ms": seconds * 1_000,
        "schedule_to_start_ms": MAKING_SECONDS * 1_000,
        "retry": dict(RETRY),
    }


def _approve(request: PipelineRequest, flow_id: str) -> dict[str, Any]:
    """Return the last stage: the gate, and where it asks for a review, a merge request or the decision of a person.

    A verdict that is not known is put before a person. An output leaves out what it does not say.
    """
    gate = {
        "task_id": "gate",
        "description": "Weigh quality, tests and confidence",
        **_done_by("gate", MEASURED, STAGE_SECONDS["select_template"]),
    }
    return {
        "task_id": "approve",
        "task_type": "SUBFLOW",
        "description": DESCRIPTIONS["approve"],
        "dependencies": ["package"],
        "parameters": {
            "code": _output("compose_code"),
            "validation": _output("validate_code"),
            "tests": _output("run_tests"),
            "package": _output("package"),
        },
        "plan": {
            "tasks": [gate, *_reviews(request, flow_id)],
            "result": {
                **{name: _output("gate", f"/{name}") for name in ("score", "outcome", "reason")},
                "git_mr_url": _output("merge_request", "/url"),
                "decision": _output("person"),
            },
        },
    }


def _reviews(request: PipelineRequest, flow_id: str) -> list[dict[str, Any]]:
    """Return the two ways of a review, of which the gate chooses one."""
    by_request = 'has(outputs.gate.review) && outputs.gate.review == "merge_request"'
    shown = {"score": _output("gate", "/score"), "reason": _output("gate", "/reason")}
    review_ms = request.review_seconds * 1_000
    merge_request = {
        "task_id": "merge_request",
        "description": f"Have {request.artifact_id} {request.version} reviewed on the code host",
        "dependencies": ["gate"],
        "when": f'outputs.gate.outcome != "APPROVED" && {by_request}',
        **_done_by(
            "merge_request",
            {**_artifact(request), **MEASURED, **shown, "package": {"$input": "/package"}},
            request.review_seconds,
        ),
        "estimated_duration_ms": min(EXPECTED_MS["merge_request"], review_ms // 2),
        "retry": {**RETRY, "non_retryable": [*RETRY["non_retryable"], "timeout"]},  # people are asked once
    }
    person = {
        "task_id": "person",
        "task_type": "APPROVE",
        "description": f"Decide about {request.artifact_id} {request.version}",
        "dependencies": ["gate"],
        "when": f'outputs.gate.outcome != "APPROVED" && !({by_request})',
        "approval": {
            "message": _question(request, flow_id),
            "timeout_ms": review_ms,
            "stops_clock": True,
        },
    }
    return [merge_request, person]


def _question(request: PipelineRequest, flow_id: str) -> str:
    """Return what a person is asked; findings, tests and artifacts are behind its addresses."""
    return (
        f"May {request.artifact_id} {request.version} be released? Its score is neither good enough to be approved "
        f"without a person nor bad enough to be rejected. The score and its reason are the output of {GATE}, findings "
        f"those of validate_code, tests those of run_tests: GET /api/v1/pipelines/{flow_id}. What was made: "
        f"GET /api/v1/pipelines/{flow_id}/artifacts. After a denial, what was pushed is taken away again."
    )


def _artifact(request: PipelineRequest) -> dict[str, str]:
    return {"artifact_id": request.artifact_id}


def _executor(name: str) -> str:
    return f"forge_{name}"


def _output(task_id: str, path: str = "") -> dict[str, str]:
    return {"$output": task_id, "path": path} if path else {"$output": task_id}


def _labels(request: PipelineRequest) -> dict[str, str]:
    labels = {
        LABEL: PIPELINE,
        ARTIFACT_LABEL: label_of(request.artifact_id),
        REQUEST_LABEL: request_hash(request),
    }
    return labels | ({TICKET_LABEL: label_of(request.ticket_id)} if request.ticket_id else {})


def label_of(text: str) -> str:
    """Return an id as the value of a label: itself where it can be one, else its beginning and a part of its hash."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?", text):
        return text
    safe = re.sub(r"[^A-Za-z0-9._/-]", "-", text)[:40].strip("._/-")
    return f"{safe or 'id'}-{sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _has_reference(value: object) -> bool:
    """Whether an object within a value is a reference, or would be one; depth is bounded by those who parse JSON."""
    if isinstance(value, Mapping):
        return not MARKS.isdisjoint(value) or any(_has_reference(one) for one in value.values())
    return isinstance(value, list | tuple) and any(_has_reference(one) for one in value)


MEASURED: Mapping[str, Any] = {name: {"$input": f"/{name}"} for name in ("code", "validation", "tests")}
"""What the gate weighs, and people see who decide: inputs of the last stage."""

DESCRIPTIONS: Mapping[str, str] = {
    "select_template": "Choose the template that fits best, and bring it",
    "compose_code": "Make the project of the template and the answers to what it asks",
    "validate_code": "Let scanners and policies look at the project",
    "run_tests": "Run the tests of the project",
    "package": "Build, list, sign and push what the project is",
    "approve": "Approve it by its score, or have it reviewed",
}
"""The stages in words for people."""

TASK_TYPES: Mapping[str, str] = {
    "validate_code": "VALIDATE",
    "run_tests": "TEST",
    "gate": "VALIDATE",
    "merge_request": "VALIDATE",
}
"""The types of the tasks that are no BUILD."""
