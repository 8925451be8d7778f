"""Pipelines of the code forge from outside: begin one, ask about it, wait for its end, stop it."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from flowc.client.calls import Steps
from flowc.client.errors import BadAnswer
from flowc.client.models import ForgePipeline
from flowc.client.service import AsyncServiceClient, Operation, ServiceClient, SyncServiceClient, in_path

PIPELINES = "/api/v1/pipelines"


class ForgeOperations(ServiceClient):
    """What both clients of the code forge can do."""

    @Operation
    def trigger_pipeline(
        self,
        ticket_id: str | None = None,
        template_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        artifact_id: str | None = None,
        attempt: int = 1,
        idempotency_key: str | None = None,
    ) -> Steps[str]:
        """Begin a pipeline that makes `artifact_id`, without one what is named after the ticket, and return its id.

        `parameters` are words of the forge, such as `language`, and what the template asks for; without a template the
        one is taken that fits best. The same ticket and attempt, or the same key, is the same pipeline; without both
        each call begins another one. Raises `Invalid`, code `no_template`, where no template fits.
        """
        given = dict(parameters or {}) | ({"template_id": template_id} if template_id else {})
        made = artifact_id or ticket_id
        if not made:
            raise ValueError("a pipeline is for an artifact or a ticket: name one of them")
        body: dict[str, Any] = {"artifact_id": made, "attempt": attempt, "parameters": given}
        if ticket_id is not None:
            body["ticket_id"] = ticket_id
        elif idempotency_key is None:
            idempotency_key = str(uuid4())  # so that the call can be repeated when its answer is lost
        headers = {"idempotency-key": idempotency_key} if idempotency_key is not None else None
        reply = yield from self._call("POST", PIPELINES, body, headers=headers, repeatable=True)
        if not isinstance(begun := reply.document().get("pipeline_id"), str):
            raise BadAnswer("the answer names no pipeline")
        return begun

    @Operation
    def get_pipeline_status(self, pipeline_id: str) -> Steps[ForgePipeline]:
        """Return a pipeline with its stages, and what it has made."""
        return (yield from self._call("GET", f"{PIPELINES}/{in_path(pipeline_id)}")).as_a(ForgePipeline)

    @Operation
    def get_artifacts(self, pipeline_id: str) -> Steps[dict[str, Any]]:
        """Return all that a pipeline has made: `items`, `code`, `sbom`, `provenance` and the keys of its signatures."""
        return (yield from self._call("GET", f"{PIPELINES}/{in_path(pipeline_id)}/artifacts")).document()

    @Operation
    def wait(self, pipeline_id: str, timeout_seconds: float | None = None) -> Steps[ForgePipeline]:
        """Return a pipeline once it has ended; raises `NotEnded` when that takes longer, a review included."""
        return self._ended(f"{PIPELINES}/{in_path(pipeline_id)}", ForgePipeline, pipeline_id, timeout_seconds)

    @Operation
    def cancel(self, pipeline_id: str, reason: str = "no reason given") -> Steps[ForgePipeline]:
        """Stop a pipeline; one that has ended stays as it is. What it had pushed is taken away again."""
        path = f"{PIPELINES}/{in_path(pipeline_id)}/cancel"
        reply = yield from self._call("POST", path, {"reason": reason}, repeatable=True)
        return reply.as_a(ForgePipeline)


class CodeForgeClient(ForgeOperations, AsyncServiceClient):
    """Pipelines of the code forge, by coroutines."""


class SyncCodeForgeClient(ForgeOperations, SyncServiceClient):
    """Pipelines of the code forge, by plain calls."""
