"""Clients of Flow C in Python: flows, tickets, the registry, workers and telemetry, by coroutines or by plain calls.

`FlowCOrchestrator().execute_flow_c(decision)` carries out a decision. Each client has a twin whose name begins with
`Sync` and whose methods are plain. The guide is docs/guides/python.md.
"""

from flowc.client.errors import (
    BadAnswer,
    CircuitOpen,
    Conflicting,
    Fault,
    Forbidden,
    Invalid,
    NoAnswer,
    NotEnded,
    NotFound,
    PlatformError,
    PlatformFailed,
    Refused,
    TooMany,
    Unauthorized,
)
from flowc.client.forge import CodeForgeClient, SyncCodeForgeClient
from flowc.client.models import (
    AgentChanges,
    AgentInfo,
    AgentRegistration,
    AgentTelemetry,
    ExecutionTicket,
    FlowCContext,
    FlowCResult,
    FlowCStep,
    ForgePipeline,
    ForgeStage,
    HealthStatus,
    HeartbeatTaken,
    TaskAssignment,
    TaskStatus,
    TaskTaken,
    TicketPage,
    TicketToken,
    Workflow,
)
from flowc.client.orchestrator import (
    FlowCOrchestrator,
    OrchestratorClient,
    SyncFlowCOrchestrator,
    SyncOrchestratorClient,
)
from flowc.client.registry import ServiceRegistryClient, SyncServiceRegistryClient
from flowc.client.retries import CircuitBreaker, RetryPolicy
from flowc.client.telemetry import FlowCTelemetryPublisher, SyncFlowCTelemetryPublisher
from flowc.client.tickets import ExecutionTicketClient, SyncExecutionTicketClient
from flowc.client.tracing import traced
from flowc.client.worker_agent import SyncWorkerAgentClient, WorkerAgentClient

__all__ = [
    "AgentChanges",
    "AgentInfo",
    "AgentRegistration",
    "AgentTelemetry",
    "BadAnswer",
    "CircuitBreaker",
    "CircuitOpen",
    "CodeForgeClient",
    "Conflicting",
    "ExecutionTicket",
    "ExecutionTicketClient",
    "Fault",
    "FlowCContext",
    "FlowCOrchestrator",
    "FlowCResult",
    "FlowCStep",
    "FlowCTelemetryPublisher",
    "Forbidden",
    "ForgePipeline",
    "ForgeStage",
    "HealthStatus",
    "HeartbeatTaken",
    "Invalid",
    "NoAnswer",
    "NotEnded",
    "NotFound",
    "OrchestratorClient",
    "PlatformError",
    "PlatformFailed",
    "Refused",
    "RetryPolicy",
    "ServiceRegistryClient",
    "SyncCodeForgeClient",
    "SyncExecutionTicketClient",
    "SyncFlowCOrchestrator",
    "SyncFlowCTelemetryPublisher",
    "SyncOrchestratorClient",
    "SyncServiceRegistryClient",
    "SyncWorkerAgentClient",
    "TaskAssignment",
    "TaskStatus",
    "TaskTaken",
    "TicketPage",
    "TicketToken",
    "TooMany",
    "Unauthorized",
    "WorkerAgentClient",
    "Workflow",
    "traced",
]
