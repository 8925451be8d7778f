"""Workers of Flow C in Python: a function becomes a worker in one call.

`Worker` is a process, `ServerlessWorker` a function that serves one request at a time, `AgentClient` a place in the
registry for agents of any kind. The guide is docs/guides/python.md.
"""

from flowc.client.models import AgentTelemetry
from flowc.worker.agent import AgentClient, AgentConfig
from flowc.worker.serverless import HeartbeatMode, HttpRequest, HttpResponse, SecretStore, ServerlessWorker, beat_for
from flowc.worker.worker import Handler, Worker
from functions._worker import TaskFailed
from functions._worker.context import TaskContext

__all__ = [
    "AgentClient",
    "AgentConfig",
    "AgentTelemetry",
    "Handler",
    "HeartbeatMode",
    "HttpRequest",
    "HttpResponse",
    "SecretStore",
    "ServerlessWorker",
    "TaskContext",
    "TaskFailed",
    "Worker",
    "beat_for",
]
