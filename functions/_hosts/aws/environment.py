"""AWS Lambda: an environment is made at its first invocation, and used for all that follow.

Events come from a queue of SQS, ticks of the schedule and timers among them; to the api they also come over HTTP.
Between two invocations everything stands still, so what one has set going is waited for before it is answered.
"""

import asyncio
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import structlog

from functions._adapters.aws.client import Clients
from functions._adapters.aws.secrets import AwsSecrets
from functions._engine.clock import SystemClock
from functions._engine.secrets import with_secrets
from functions._engine.settings import PREFIX, Settings, SettingsError
from functions._hosts.aws.function import LambdaFunction
from functions._hosts.aws.records import Records
from functions._observability import logs
from functions._observability.emf import EmbeddedMetrics

REQUIRED = {
    "table": "the functions share a DynamoDB table",
    "bus": "events go to an EventBridge bus",
    "public_url": "workers report to it",
    "worker_key": "all functions sign and check the workers' tokens with it",
}
OF_FUNCTIONS = {
    "api": {"api_key": "clients come from elsewhere"},
    "dead_letter": {"outside_queue": "what came from outside is not replayed as the platform's own"},
}
NAMESPACE = "FlowC"
MARGIN_SECONDS = 3.0
"""Left of an invocation when what it has set going is waited for no longer: what is cut off is done again."""

TEXT = ["text/", "application/json", "application/problem+json", "application/cloudevents"]
"""Content that goes to the gateway as it is, all else in base64."""


def invoked(name: str, event: Mapping[str, Any], context: Any) -> Any:  # noqa: ANN401 as Lambda has it
    """Handle an invocation of the function `name`; whatever cannot be made at the first is tried again at the next."""
    return _entry(name)(event, context)


@cache
def _entry(name: str) -> "LambdaEntry":
    return LambdaEntry(name, os.environ)


def read_environment(function: str, environment: Mapping[str, str]) -> Settings:
    """Return the settings; raise `SettingsError` naming all that is wrong or missing."""
    settings = Settings.from_mapping(environment)
    required = REQUIRED | OF_FUNCTIONS.get(function, {})
    missing = {name: why for name, why in required.items() if getattr(settings, name) is None}
    if missing:
        raise SettingsError([f"{PREFIX}{name.upper()}: not set; {why}" for name, why in missing.items()])
    return settings.model_copy(update={"worker_networks": settings.worker_networks or "private,public"})


class LambdaEntry:
    """What Lambda calls: one function, in an event loop that lives as long as its environment."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        """Read the settings and secrets, and put the function together; raises `SettingsError`, `Unavailable`."""
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)  # Powertools and Mangum run what they are given in the current one
        clients = Clients()
        secrets = AwsSecrets(clients.of("secretsmanager"))
        whole = self._loop.run_until_complete(with_secrets(environment, SystemClock(), lambda: secrets))
        settings = read_environment(name, whole)
        logs.configure(settings.log_level)
        self._function = self._loop.run_until_complete(LambdaFunction.made(name, settings, clients))
        self._metrics = EmbeddedMetrics(self._function.platform.metrics, name, NAMESPACE)
        self._records = Records(self._function, clients.of("sqs"), self._metrics)
        self._tracer = _tracer(name, environment)
        self._name = name

    def __call__(self, event: Mapping[str, Any], context: Any) -> Any:  # noqa: ANN401 as Lambda has it
        """Handle one invocation; raises `ValueError` for one that is neither a batch nor a request."""
        structlog.contextvars.bind_contextvars(function=self._name, request_id=context.aws_request_id)
        self._function.until = self._loop.time() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
        try:
            return self._traced(event, context)
        finally:
            self._loop.run_until_complete(self._function.settle())
            self._metrics.flush()
            structlog.contextvars.clear_contextvars()

    def _traced(self, event: Mapping[str, Any], context: Any) -> Any:  # noqa: ANN401 as Lambda has it
        if self._tracer is None:
            return self._handled(event, context)
        with self._tracer.provider.in_subsegment(f"## {self._name}") as segment:
            segment.put_annotation("function", self._name)
            flows = self._records.flows(event)
            if len(flows) == 1:
                segment.put_annotation("flow_id", flows.pop())
            return self._handled(event, context)

    def _handled(self, event: Mapping[str, Any], context: Any) -> Any:  # noqa: ANN401 as Lambda has it
        if "Records" in event:
            return self._records.handled(event, context)
        if "requestContext" in event and self._function.app is not None:
            return self._answered(event, context)
        raise ValueError(f"{self._name} takes batches of SQS" + (", and requests" if self._function.app else ""))

    def _answered(self, event: Mapping[str, Any], context: Any) -> Any:  # noqa: ANN401 as Lambda has it
        """Answer a request; who has passed an authoriser of the gateway needs no key."""
        headers = dict(event.get("headers") or {})
        if "authorizer" in event["requestContext"] and self._function.settings.api_key is not None:
            headers["x-api-key"] = self._function.settings.api_key.get_secret_value()
        return gateway(self._function.app)({**event, "headers": headers}, context)


def gateway(app: Any) -> Any:  # noqa: ANN401 Mangum has types of its own for the same
    """Return the application as what answers requests of an HTTP API."""
    from mangum import Mangum

    return Mangum(app, lifespan="off", text_mime_types=TEXT)


def _tracer(name: str, environment: Mapping[str, str]) -> Any:  # noqa: ANN401 it is imported where it is wanted
    """Return the tracer of X-Ray if the function is to be traced: by default the SDK for it is not even imported."""
    if environment.get("POWERTOOLS_TRACE_DISABLED", "true").lower() != "false":
        return None
    from aws_lambda_powertools import Tracer

    return Tracer(service=name, auto_patch=False)  # what it would patch runs in threads, where it has no segment
