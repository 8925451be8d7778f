"""One phrase for every field of the contract, for the schemas' readers."""

from collections.abc import Mapping

from pydantic import BaseModel

from functions._core.planning.compensation import TIMEOUT_MS

COMMON: Mapping[str, str] = {
    "attempt": "Number of the attempt; it grows with every assignment, so that late reports can be told apart.",
    "correlation_id": "The decision's correlation id; without one the flow id.",
    "decision_id": "Id of the decision; the flow id follows from it.",
    "description": "What is to be done, for people.",
    "detail": "What else is worth knowing; its fields depend on the type and may grow.",
    "flow_id": "Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it.",
    "idempotent": "False: once begun, the task is never tried again; it fails instead.",
    "intent_id": "Id of the intent that led to the plan.",
    "metadata": "Anything the sender wants to keep with it; nothing here depends on it.",
    "outcome": "How the flow ends.",
    "parameters": "What the work needs to know, any JSON object.",
    "plan_id": "Id of the plan.",
    "priority": "How much it matters to the user.",
    "reason": "Why, for people.",
    "requested_by": "Who gives the order, for the history; it is not checked.",
    "risk_band": "How dangerous it is; it decides about retries and about the care that is taken.",
    "required_capabilities": "What a worker has to offer, all of it.",
    "running": "All tickets that the worker has accepted and not reported as ended; null or absent says nothing.",
    "security_level": "Who may see the tickets.",
    "sla_deadline": "When it has to be done.",
    "clearance": "The highest security level of the tickets that the worker may get; INTERNAL where it is left out.",
    "slots": "How many tickets the worker takes at once.",
    "task_id": "Id of the task, unique within its plan.",
    "task_type": "What kind of work it is.",
    "telemetry": "What the worker says of its own record.",
    "ticket_id": "Id of the ticket: a UUIDv5 of flow id and task id.",
    "ticket_ids": "Ids of the tickets.",
    "trace_id": "The trace that the flow belongs to, 32 hexadecimal digits.",
    "valid_until": "From this moment on it is refused.",
    "worker_id": "Id of the worker.",
}
"""By field name; what a model says of its own field goes first."""

SPECIAL: Mapping[str, Mapping[str, str]] = {
    "Candidate": {
        "active": "How many tickets it held when it was ranked.",
        "health_score": "Its health, 0 to 1.",
        "pheromone_score": "What is known of earlier work of this kind, 0 to 1; unknown is 0.5.",
        "score": "0.4 health + 0.3 pheromone + 0.3 telemetry.",
        "telemetry_score": "Its success rate, 0 to 1; unknown is 0.5.",
    },
    "TransitionData": {
        "cause": "What moved it: a trigger of the state machine or the code of a reason.",
        "from_status": "Where it was.",
        "to_status": "Where it is now.",
        "worker_id": "Id of the worker that has, or had, the ticket.",
    },
    "CognitivePlan": {
        "approval_status": "'approved', in any letter case, satisfies requires_approval, and nothing else.",
        "compensate_by_type": "Whether tasks without `compensation` are undone in the way of their type.",
        "destructive_tasks": "Tasks that destroy something; a plan that names any waits for approval.",
        "execution_order": "Task ids in an order that the author has in mind; the order used follows the dependencies.",
        "is_destructive": "Whether the plan destroys something; then it waits for approval.",
        "original_priority": "The priority that the intent asked for; counts where no other is given.",
        "original_security_level": "The security level that the intent asked for; counts where no other is given.",
        "plan_id": "Id of the plan; the same as the decision's plan_id.",
        "priority": "Priority of tasks that name none.",
        "requires_approval": "Whether the flow waits for approval, unless approval_status says it has been given.",
        "risk_band": "Risk band of tasks that name none.",
        "schema_version": "Version of the plan's form; 1 is known, others are read like it, with a warning.",
        "security_level": "Security level of tasks that name none.",
        "tasks": "The tasks, in any order; there must be one at least.",
        "version": "Version of the plan, MAJOR.MINOR.PATCH; the major version 1 is supported.",
    },
    "Compensation": {
        "parameters": "What undoing needs to know; `action`, without one, follows from the task's type.",
        "required_capabilities": "What a worker has to offer to undo the task; without it what the task asks for.",
        "task_type": "What kind of work undoes the task; any other than COMPENSATE goes along in its parameters.",
        "timeout_ms": f"How long undoing it may take, in milliseconds; {TIMEOUT_MS} without it.",
    },
    "CompensationRequested": {"outcome": "How the flow will end, once that is done."},
    "Decision": {
        "cognitive_plan": "The plan: an object, or its JSON text; either may lie under cognitive_plan or plan_data.",
        "correlation_id": "What ties this to other work; without one the event's correlationid or the flow id.",
        "decision_id": "Identifies the flow: the same id with the same content is the same flow, and runs once.",
        "final_decision": "What was decided: 'approve' is carried out, 'reject' ends the flow as REJECTED, the others "
        "wait for approval.",
        "plan_id": "Id of the plan; the same as the plan's own.",
        "priority": "Priority where the plan names none.",
        "requires_human_review": "Whether a person has to look at it first; then the flow waits for approval.",
        "risk_band": "Risk band where the plan names none.",
        "schema_version": "Version of the decision's form; 1 is known, others are read like it, with a warning.",
        "sla_deadline": "When the flow must be done, as a moment; with sla_deadline_seconds the earlier one counts.",
        "sla_deadline_seconds": "When the flow must be done, in seconds after it was received; 14400 without either.",
    },
    "DecisionStored": {"plan_id": "Id of the plan, if the decision names a usable one."},
    "Deregistration": {"reason": "Why it leaves, for people."},
    "Heartbeat": {
        "status": "How the worker feels; silence counts more than words.",
        "worker_id": "Id of the worker; may be left out where the event's subject says it.",
    },
    "Command": {
        "dry_run": "Whether to tell only what the order would change.",
        "reason": "Why, for the history and for those whom it concerns.",
    },
    "Reason": {
        "code": "A stable word for programs.",
        "message": "A sentence for people.",
        "where": "The place in the decision, e.g. cognitive_plan.tasks[3].task_id, or a task id.",
    },
    "RedriveRequest": {
        "sla_seconds": "How long the flow has from now on, in seconds; without it as long as it had before.",
    },
    "Registration": {
        "capabilities": "What the worker can do, in its own words; compared in lower case.",
        "endpoint": "Where assignments are POSTed to.",
        "worker_id": "Id of the worker; registering again replaces what is known of it.",
    },
    "Report": {
        "attempt": "The attempt that the assignment named; a report on another one changes nothing.",
        "error": "Why it failed: an object, or the message alone.",
        "log": "What the task wrote; its last 64 KiB are kept for people, who ask for it alone.",
        "output": "What came of it, any JSON value; tasks that come later can refer to it.",
        "progress": "How far the work is, in percent.",
        "status": "RUNNING may be left out; COMPLETED and FAILED end the attempt.",
        "worker_id": "Id of the worker; the token says it for certain.",
    },
    "ReportError": {
        "message": "What went wrong, for people.",
        "retryable": "False: another attempt is pointless.",
        "type": "A stable word for programs; it becomes the code of the reason.",
    },
    "Retry": {
        "coefficient": "By what the pause grows with every retry.",
        "initial_ms": "The pause before the first retry, in milliseconds.",
        "jitter": "By what share of itself a pause is made longer or shorter at most, 0 to 1.",
        "max_ms": "The longest pause, in milliseconds, before its jitter.",
        "max_retries": "How often the task is tried again; without it critical 5, high 3, medium 2, low 1 times.",
        "non_retryable": "Types of errors after which it is not tried again.",
    },
    "Running": {"attempt": "The attempt that it works on."},
    "SkipRequest": {
        "output": "What counts as the task's output, any JSON value; tasks that come later can refer to it."
    },
    "Step": {
        "attempts": "How often it was tried; of C3, C4 the sum over all tickets.",
        "completed_at": "When it ended.",
        "duration_ms": "How long it took, in milliseconds.",
        "name": "The function that did it.",
        "started_at": "When it began.",
        "status": "How it went; in_progress: not ended yet; skipped: the flow ended before it did anything.",
        "step": "Its place in the chain.",
    },
    "Suspension": {
        "failures": "How many failures in a row the worker was to blame for.",
        "until": "From when on it is tried again.",
        "why": "What the last of them was: timed_out, heartbeat_lost, worker_unreachable or worker_refused.",
    },
    "Task": {
        "compensation": "How its work is undone when the flow does not succeed; true: in the way of its type, false: "
        "not at all. Without it the plan's compensate_by_type decides.",
        "dependencies": "Ids of the tasks that must be done before.",
        "estimated_duration_ms": "Expected duration in milliseconds; 60000 unless given.",
        "parameters": 'Any JSON; {"$output": "<task id>", "path": "<JSON Pointer>"} stands for an upstream output.',
        "heartbeat_timeout_ms": "How long a worker may be silent about the task, in milliseconds; each RUNNING counts.",
        "retry": "How it is tried again after a failure.",
        "schedule_to_start_ms": "How long it may wait for a worker once nothing else is in its way, in milliseconds.",
        "task_id": "Id of the task, unique within the plan.",
        "template_id": "Id of a template that the worker knows.",
        "timeout_ms": "How long one attempt may take, in milliseconds; without it three times its estimate, at least "
        "60000.",
    },
    "TaskAssignment": {
        "attempt": "Number of the attempt; every report has to repeat it.",
        "callback_url": "Where ticket.reported is POSTed to; null in the copy for subscribers.",
        "estimated_duration_ms": "Expected duration in milliseconds.",
        "heartbeat_timeout_ms": "The worker has to report RUNNING more often than this; null: it need not.",
        "parameters": "The task's parameters, references to upstream outputs resolved; as planned for subscribers.",
        "payload": "ticket_id and template_id in one object; the parameters are beside it.",
        "sla_deadline": "The ticket's latest finish that keeps the flow within its SLA.",
        "timeout_ms": "How long the worker may take from its acknowledgement on, in milliseconds.",
        "token": "Bearer token of the reports on this attempt; null in the copy for subscribers.",
    },
    "TelemetryFrame": {
        "ticket_ids": "Ids of the plan's tickets; of a large plan the first 500.",
        "compensations": "How many tickets were to be undone, because the flow did not complete.",
        "critical_path_ms": "Length of the critical path by estimates, in milliseconds.",
        "duration_ms": "From the reception of the decision to the outcome, in milliseconds.",
        "reasons": "Why the flow did not complete; empty if it did.",
        "reassignments": "How often tickets were taken from one worker to be given to another.",
        "received_at": "When the decision was received.",
        "retries": "How often tickets were tried again.",
        "sla_remaining_ms": "Milliseconds that were left to the deadline; below zero it was missed.",
        "sla_violated": "Whether the deadline was missed.",
        "steps": "The steps as far as the flow came.",
        "ticket_duration_ms": "Sum of the tickets' actual durations, in milliseconds.",
        "tickets_by_status": "How many tickets of the plan ended in each status.",
        "tickets_compensated": "How many tickets were undone.",
        "tickets_generated": "How many tickets the plan has.",
    },
    "WorkerTelemetry": {
        "avg_duration_ms": "Average duration of its tasks, in milliseconds; null: unknown.",
        "success_rate": "Share of its tasks that succeed, 0 to 1; null: unknown.",
        "total_executions": "How many tasks it has done; null: unknown.",
    },
    "WorkerUnhealthy": {
        "attempts": "The attempts that are lost, by ticket id; a ticket at another attempt stays where it is.",
        "worker_id": "Id of the worker that is lost.",
        "why": "What is the matter with it, following its id in a sentence.",
    },
    "WorkersDiscovered": {"candidates": "Ranked workers by ticket id, the best first."},
}
"""By model and field; a model that derives from another one inherits its phrases."""


def phrase(model: type[BaseModel], field: str) -> str:
    """Return what a field of the contract says; raise `LookupError` when nobody has said it yet."""
    for cls in model.__mro__:
        said = SPECIAL.get(cls.__name__, {}).get(field)
        if said is not None:
            return said
    if field not in COMMON:
        raise LookupError(f"{model.__name__}.{field} has no phrase in {__name__}")
    return COMMON[field]
