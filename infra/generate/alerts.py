"""The alert rules of Flow C, made of the catalogue's metrics.

Each rule is a signal, a comparison and a threshold. A signal has no value (no sample, or NaN) while there is nothing to
judge: nobody reports, or nothing happened. That is a state of its own. It never fires the alert, it never counts as
healthy: `state_of` gives neither 0 nor 1 then, and `FlowCNoData` fires when the metrics themselves are not there.

A gauge is absent in a process that does not count it, and several processes may show the same one: hence the maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps

from functions._observability.catalogue import INTERNAL_FAILURES

DURATION = "neural_hive_flow_c_duration_seconds"
STEP = "neural_hive_flow_c_steps_duration_seconds"
SUCCESS = "neural_hive_flow_c_success_total"
FAILURES = "neural_hive_flow_c_failures_total"
VIOLATIONS = "neural_hive_flow_c_sla_violations_total"
DECISIONS = "flowc_decisions_total"
GENERATED = "orchestration_tickets_generated_total"
WORKERS = "agents_active"
BUFFER = "neural_hive_flow_c_telemetry_buffer_size"
UNREADABLE = "flowc_unreadable_records_total"
CALLS = "neural_hive_service_registry_calls_total"

PIPELINES = "forge_pipelines_total"
APPROVED = "forge_approvals_total"
LETTERS = "ticket_dlq_total"
LEAKED = "flowc_jobs_leaked_total"
TOKENS = "jwt_validation_failures_total"
SIGNATURES = "signature_validation_failures_total"
DELIVERED = "flowc_webhooks_delivered_total"
UNDELIVERED = "flowc_webhooks_failed_total"
QUEUE = "flowc_queue_depth"
APPROVALS = "flowc_approvals_late"
TICKETS = "tickets_by_status"
DISCOVERY = "discovery_duration_seconds"

NO_DATA = "FlowCNoData"

RUNBOOKS = "docs/operate/runbooks"
"""Where the pages are that alerts refer to, one for each, in this repository: a page is named like its alert."""


METRICS = "the catalogue of metrics"
"""What rules are made of."""


def share_of(name: str, bad: str, window: str) -> str:
    """Return the query for the part of what a metric counts that has the labels `bad`."""
    return f"(sum(rate({name}{{{bad}}}[{window}])) / sum(rate({name}[{window}])))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alert: `signal comparison threshold`, true for `lasting`. `reads` are the metrics of the signal."""

    alert: str
    severity: str
    signal: str
    comparison: str
    threshold: float
    lasting: str
    reads: tuple[str, ...]
    summary: str
    description: str

    @property
    def expr(self) -> str:
        """The alert's condition in PromQL."""
        return f"{self.signal} {self.comparison} {self.threshold:g}"

    @property
    def state(self) -> str:
        """The alert's state in PromQL: 1 is bad, 0 is good, no sample is no data. `>= 0` drops NaN."""
        return f"({self.signal} >= 0) {self.comparison} bool {self.threshold:g}"

    @property
    def runbook(self) -> str:
        """The page that says what the alert means and what to do."""
        return f"{RUNBOOKS}/{self.alert}.md"

    @property
    def no_data(self) -> str:
        """The condition in PromQL that a metric of the alert is not there, or NaN because it could not be counted."""
        return " or ".join(f"absent({name} >= 0)" for name in self.reads)


def _success_rate(window: str) -> str:
    ours = "|".join(INTERNAL_FAILURES)
    good = f"sum(rate({SUCCESS}[{window}]))"
    return f'{good} / ({good} + sum(rate({FAILURES}{{reason=~"{ours}"}}[{window}])))'


def _failing(operation: str, window: str) -> str:
    errors = f'sum(rate({CALLS}{{operation="{operation}",status="error"}}[{window}]))'
    return f'{errors} / sum(rate({CALLS}{{operation="{operation}"}}[{window}]))'


RULES: Sequence[Rule] = (
    Rule(
        alert="FlowCHighLatency",
        severity="critical",
        signal=f"histogram_quantile(0.95, sum by (le) (rate({DURATION}_bucket[30m])))",
        comparison=">",
        threshold=14_400,
        lasting="5m",
        reads=(f"{DURATION}_bucket",),
        summary="Flows take longer than the SLA",
        description="One flow in twenty takes longer than 4 h. `flowc flows --status EXECUTING`, then `flowc why ID`.",
    ),
    Rule(
        alert="FlowCLowSuccessRate",
        severity="critical",
        signal=f"({_success_rate('30m')})",
        comparison="<",
        threshold=0.99,
        lasting="10m",
        reads=(SUCCESS, FAILURES),
        summary="Flows fail",
        description="More than 1 % of the flows failed, not counting what users cancelled or what was refused. "
        f"The label `reason` of {FAILURES} says why.",
    ),
    Rule(
        alert="FlowCStepTimeout",
        severity="warning",
        signal=f'histogram_quantile(0.95, sum by (le, step) (rate({STEP}_bucket{{step!="C5"}}[30m])))',
        comparison=">",
        threshold=600,
        lasting="5m",
        reads=(f"{STEP}_bucket",),
        summary="Step {{ $labels.step }} is slow",
        description="One flow in twenty spends more than 10 min in this step. C3: workers are missing or full. "
        "C4: they do not answer. C6: the telemetry sink does not.",
    ),
    Rule(
        alert="FlowCNoTicketsGenerated",
        severity="critical",
        signal=f"(sum(increase({GENERATED}[15m])) and sum(increase({DECISIONS}[15m])) > 0)",
        comparison="==",
        threshold=0,
        lasting="15m",
        reads=(GENERATED, DECISIONS),
        summary="Decisions come in and no ticket is made",
        description="Either all plans are refused (`flowc flows --status REJECTED`) or C1 and C2 do not work "
        "(`flowc dead-letters list`).",
    ),
    Rule(
        alert="FlowCWorkersUnavailable",
        severity="critical",
        signal=f'max({WORKERS}{{status="HEALTHY",type="WORKER"}})',
        comparison="<",
        threshold=1,
        lasting="2m",
        reads=(WORKERS,),
        summary="No healthy worker",
        description="Tickets wait, and fail after 10 min. `GET /api/v1/workers` says when each was heard of last.",
    ),
    Rule(
        alert="FlowCTelemetryBufferFull",
        severity="warning",
        signal=f"max({BUFFER})",
        comparison=">",
        threshold=1000,
        lasting="5m",
        reads=(BUFFER,),
        summary="The telemetry sink does not take events",
        description="Telemetry waits in the buffer; after an hour it becomes dead letters.",
    ),
    Rule(
        alert="FlowCSLAViolations",
        severity="critical",
        signal=f"sum(increase({VIOLATIONS}[1h]))",
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(VIOLATIONS,),
        summary="A flow missed its deadline",
        description="`flowc flows --status TIMED_OUT` lists them; `flowc show ID` says where the time went.",
    ),
    Rule(
        alert="FlowCWorkerDiscoveryFailures",
        severity="warning",
        signal=f"({_failing('discover', '5m')})",
        comparison=">",
        threshold=0.05,
        lasting="5m",
        reads=(CALLS,),
        summary="The registry of workers fails",
        description="More than 5 % of the questions for workers were not answered: look at the store.",
    ),
    Rule(
        alert="FlowCUnreadableRecords",
        severity="critical",
        signal=f"sum(increase({UNREADABLE}[1h]))",
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(UNREADABLE,),
        summary="A stored record cannot be read",
        description="It is set aside, and what it is about waits for a person: `GET /ready` names it, `flowc why ID` "
        "and the log line `record.set_aside` say what is wrong with it.",
    ),
    Rule(
        alert="FlowCDeadLetters",
        severity="warning",
        signal=f"sum(increase({LETTERS}[1h]))",
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(LETTERS,),
        summary="An event was given up",
        description="`flowc dead-letters list` says which and why; `flowc dead-letters replay ID` sends it again.",
    ),
    Rule(
        alert="FlowCJobsLeaked",
        severity="warning",
        signal=f"sum(increase({LEAKED}[1h]))",
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(LEAKED,),
        summary="A job goes on that nobody wants",
        description="`flowc jobs --leaked` says which and why; end it in the service that does it.",
    ),
    Rule(
        alert="FlowCForgeFailing",
        severity="warning",
        signal=f'(sum(rate({PIPELINES}{{status=~"failed|timed_out"}}[30m])) / sum(rate({PIPELINES}[30m])))',
        comparison=">",
        threshold=0.1,
        lasting="5m",
        reads=(PIPELINES,),
        summary="Pipelines of the code forge fail",
        description="More than one in ten failed or took too long. `forge_stage_total` says in which stage.",
    ),
    Rule(
        alert="FlowCForgeReviews",
        severity="warning",
        signal=f'(sum(rate({APPROVED}{{class="auto"}}[6h])) / sum(rate({APPROVED}[6h])))',
        comparison="<",
        threshold=0.8,
        lasting="5m",
        reads=(APPROVED,),
        summary="Few pipelines are approved by their score",
        description="People had to decide, or it was rejected, for more than one in five. See `forge_approval_score`.",
    ),
    Rule(
        alert="FlowCTokenFailures",
        severity="warning",
        signal=f'sum(increase({TOKENS}{{reason=~"bad_token|foreign_token"}}[5m]))',
        comparison=">",
        threshold=5,
        lasting="0m",
        reads=(TOKENS,),
        summary="Reports come with tokens that are not theirs",
        description="Either processes of the platform have different worker keys, or somebody makes tokens up.",
    ),
    Rule(
        alert="FlowCSignatureFailures",
        severity="warning",
        signal=f"sum(increase({SIGNATURES}[5m]))",
        comparison=">",
        threshold=5,
        lasting="0m",
        reads=(SIGNATURES,),
        summary="Incoming webhooks have wrong signatures",
        description="A pipeline has another secret than FLOWC_WEBHOOK_SECRET, its clock is off, or it is a stranger.",
    ),
    Rule(
        alert="FlowCWebhookFailures",
        severity="warning",
        signal=f"(sum(rate({UNDELIVERED}[30m])) / (sum(rate({UNDELIVERED}[30m])) + sum(rate({DELIVERED}[30m]))))",
        comparison=">",
        threshold=0.05,
        lasting="10m",
        reads=(UNDELIVERED, DELIVERED),
        summary="Webhooks do not take their events",
        description="More than 5 % were refused, or not taken in ten tries. `flowc subscriptions deliveries ID`.",
    ),
    Rule(
        alert="FlowCQueueBacklog",
        severity="warning",
        signal=f"max({QUEUE})",
        comparison=">",
        threshold=1000,
        lasting="10m",
        reads=(QUEUE,),
        summary="Events wait to be handled",
        description="More come in than are handled: look at CPU, disk and database of the platform.",
    ),
    Rule(
        alert="FlowCTicketBacklog",
        severity="warning",
        signal=f'max({TICKETS}{{status="PENDING"}})',
        comparison=">",
        threshold=10_000,
        lasting="15m",
        reads=(TICKETS,),
        summary="Many tickets wait",
        description="They wait for other tickets, for capable workers or for free slots; `flowc why ID` says which.",
    ),
    Rule(
        alert="FlowCApprovalsLate",
        severity="warning",
        signal=f"max({APPROVALS})",
        comparison=">",
        threshold=0,
        lasting="10m",
        reads=(APPROVALS,),
        summary="Nobody approves",
        description="Flows or tickets have waited for people for more than half of their time: `flowc inbox`.",
    ),
    Rule(
        alert="FlowCHeartbeatDrop",
        severity="critical",
        signal=f'(sum(max by (status) ({WORKERS}{{status!="HEALTHY"}})) / sum(max by (status) ({WORKERS})))',
        comparison=">",
        threshold=0.25,
        lasting="2m",
        reads=(WORKERS,),
        summary="Workers are not heard of",
        description="More than a quarter of the workers are silent or say that they are not well. `flowc workers`.",
    ),
    Rule(
        alert="FlowCDiscoverySlow",
        severity="warning",
        signal=f"histogram_quantile(0.95, sum by (le) (rate({DISCOVERY}_bucket[10m])))",
        comparison=">",
        threshold=1,
        lasting="10m",
        reads=(f"{DISCOVERY}_bucket",),
        summary="C3 is slow",
        description="One discovery in twenty takes longer than 1 s: there are very many workers, or the store is slow.",
    ),
    Rule(
        alert="FlowCStoreErrors",
        severity="critical",
        signal=f'(sum(rate({CALLS}{{status="error"}}[5m])) / sum(rate({CALLS}[5m])))',
        comparison=">",
        threshold=0.05,
        lasting="5m",
        reads=(CALLS,),
        summary="The store fails",
        description="More than 5 % of the calls of the registry, which is in the store of all else, end in an error.",
    ),
)


def rules_file() -> str:
    """Return the rule file of Prometheus."""
    lines = [*head_lines(METRICS), *group_lines("flow-c")]
    for rule in RULES:
        lines += alert_lines(rule.alert, rule.expr, rule.lasting, {"severity": rule.severity}, annotations_of(rule))
    for rule in RULES:
        labels = {"severity": "warning", "concerns": rule.alert}
        text = (
            f"{rule.alert} cannot be judged: {', '.join(rule.reads)} is not reported. Is the platform up and scraped?"
        )
        about = {"summary": "No data", "description": text, "runbook_url": f"{RUNBOOKS}/{NO_DATA}.md"}
        lines += alert_lines(NO_DATA, rule.no_data, "5m", labels, about)
    return "\n".join(lines) + "\n"


def head_lines(source: str) -> list[str]:
    """Return how a rule file begins that is made of `source`."""
    return [f"# Made by `make observability` from {source}; do not edit.", "groups:"]


def group_lines(name: str) -> list[str]:
    """Return how a group of rules begins."""
    return [f"  - name: {name}", "    rules:"]


def annotations_of(rule: Rule, dashboard: str = "") -> dict[str, str]:
    """Return the annotations of an alert; `dashboard` is the path of its dashboard, below the address of Grafana."""
    texts = {"summary": rule.summary, "description": rule.description, "runbook_url": rule.runbook}
    return {**texts, "dashboard_url": dashboard} if dashboard else texts


def alert_lines(name: str, expr: str, lasting: str, labels: dict[str, str], annotations: dict[str, str]) -> list[str]:
    """Return an alert of a rule file, line by line."""
    return [
        f"      - alert: {name}",
        f"        expr: {dumps(expr)}",
        f"        for: {lasting}",
        "        labels:",
        *(f"          {key}: {dumps(value)}" for key, value in labels.items()),
        "        annotations:",
        *(f"          {key}: {dumps(value, ensure_ascii=False)}" for key, value in annotations.items()),
    ]
