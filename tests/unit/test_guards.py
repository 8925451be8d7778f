"""Which tasks guards deny or quarantine, what they find to be a secret, and how tickets wait, go on or fail by it."""

from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any

import pytest
from pydantic import ValidationError

from functions._core.decision.reading import decision_in
from functions._core.errors import Rejected
from functions._core.events import commands
from functions._core.events.commands import QuarantineRuling
from functions._core.explain.flow import explain_flow
from functions._core.explain.ticket import explain_ticket, ticket_waits_for
from functions._core.guards.defaults import DEFAULTS, with_defaults
from functions._core.guards.detector import found_secrets, without_secrets
from functions._core.guards.gate import ALLOWED, Finding, GuardState, GuardVerdict, Stage
from functions._core.guards.judging import plan_verdict, ticket_verdicts, told, work_of, works_of
from functions._core.guards.policy import GuardPolicy, GuardPolicyForm, broken
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Assigned, Discovered, waits_for_worker
from functions._core.machine.beginning import Begun, Denied
from functions._core.machine.claim import claimable
from functions._core.machine.commands import Commanded
from functions._core.machine.context import Context
from functions._core.machine.flow import Refused
from functions._core.machine.guarding import Unjudged
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.ports import at_once
from functions._core.records.change_set import ChangeSet
from functions._core.records.json_text import parse_json
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.record import encode
from functions._core.records.values import FlowStatus, Outcome, Priority, RiskBand, TicketStatus, Waiting
from functions._core.records.worker import Candidate
from functions._core.rules import Rules
from functions._core.slo.admission import FlowFacts
from tests.support.builders import T0, make_flow, make_ticket, seconds
from tests.support.world import decision, task

FLOW = make_flow(status=FlowStatus.EXECUTING, tickets_generated=1)
CANDIDATE = Candidate(
    worker_id="w", score=1, health_score=1, pheromone_score=0.5, telemetry_score=0.5, active=0, slots=4
)
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3
FACTS = FlowFacts({"service": "checkout"}, RiskBand.HIGH, Priority.HIGH)


def policy(name: str = "rule", action: str = "DENY", **changes: Any) -> GuardPolicy:
    """Return a guard policy."""
    return GuardPolicy.model_validate({"name": name, "created_at": T0, "updated_at": T0, "action": action, **changes})


def ticket(**changes: Any) -> Ticket:
    """Return a ticket that wants a worker."""
    return make_ticket(FLOW, **{"waiting": Waiting.DISCOVERY, "emissions": 0, **changes})


def breaks(policy: GuardPolicy, flow: FlowFacts = FACTS, **changes: Any) -> str | None:
    """Return why a task breaks a policy, None when it does not."""
    found = [why for _, why in broken([policy], flow, work_of(ticket(**changes)))]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("rule", "task", "why"),
    [
        ({"allowed_task_types": ["TEST"]}, {}, "its type is BUILD, and only TEST may be"),
        ({"allowed_task_types": ["test", "build"]}, {}, None),
        ({"allowed_providers": ["http"]}, {"parameters": {"provider": " HTTP "}}, None),
        ({"allowed_providers": ["http"]}, {"parameters": {"provider": "command"}}, "its provider is command"),
        ({"allowed_providers": ["http"]}, {"parameters": {}}, "it names no provider"),
        ({"allowed_providers": ["http"]}, {"parameters": {"provider": {"$output": "a"}}}, "it names no provider"),
        ({"denied_capabilities": ["Root"]}, {"required_capabilities": ("python", "root")}, "it requires root"),
        ({"denied_capabilities": ["root"]}, {"required_capabilities": ("python",)}, None),
        ({"security_level_at_most": "INTERNAL"}, {"security_level": "CONFIDENTIAL"}, "its security level is CONF"),
        ({"security_level_at_most": "CONFIDENTIAL"}, {"security_level": "CONFIDENTIAL"}, None),
        (
            {"secrets": True},
            {"parameters": {"env": {"GITHUB": TOKEN}}},
            "parameters.env.GITHUB holds a token of GitHub",
        ),
        ({"secrets": True}, {"parameters": {"env": {"TOKEN": {"$secret": "github"}}}}, None),
        ({"secrets": True}, {"item": {"key": TOKEN}}, "more[0].key holds a token of GitHub"),
        ({"secrets": True, "providers": ["http"]}, {"parameters": {"provider": "command", "t": TOKEN}}, None),
        ({"secrets": True, "task_types": ["TEST"]}, {"parameters": {"t": TOKEN}}, None),
        ({"secrets": True, "flows": {"risk_bands": ["low"]}}, {"parameters": {"t": TOKEN}}, None),
        ({"secrets": True, "flows": {"risk_bands": ["high"]}}, {"parameters": {"t": TOKEN}}, "a token of GitHub"),
        ({"secrets": True, "enabled": False}, {"parameters": {"t": TOKEN}}, None),
        ({"secrets": True, "message": "ask security"}, {"parameters": {"t": TOKEN}}, "task task-1: ask security"),
    ],
)
def test_a_task_breaks_a_policy_by_what_it_is(rule: dict[str, Any], task: dict[str, Any], why: str | None) -> None:
    found = breaks(policy(**rule), **task)
    assert (found is None) if why is None else (found is not None and why in found), found
    assert TOKEN not in str(found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "DENY"},
        {"action": "EXPLODE", "secrets": True},
        {"action": "DENY", "secrets": True, "pattern": "(a+)+$"},
        {"action": "DENY", "allowed_providers": ["x" * 201]},
        {"action": "DENY", "allowed_providers": ["x"] * 101},
        {"secrets": True},
    ],
)
def test_a_policy_that_could_not_be_kept_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GuardPolicyForm.model_validate(wrong)


SECRETS: Sequence[tuple[Any, str]] = [
    ({"a": "AKIA" + "ABCDEFGH12345678"}, "access key of AWS"),
    ({"a": [{"b": f"curl -H 'x: {TOKEN}'"}]}, "token of GitHub"),
    ({"a": "glpat-" + "x1Y2z3W4v5U6t7S8r9Q0"}, "token of GitLab"),
    ({"a": "xoxb-" + "123456789012-abcdefABCDEF"}, "token of Slack"),
    ({"a": "sk_live_" + "a1B2c3D4e5F6g7H8i9J0"}, "key of Stripe"),
    ({"a": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl"}, "private key"),
    ({"a": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"}, "JWT"),
    ({"a": "postgresql://app:h4rdT0guess@db/shop"}, "address with a password"),
    ({"database_password": "Zx9#kd82mQpl"}, "looks like a secret"),
    ({"apiKey": "q8Zt1LmN5vXr2BcD"}, "looks like a secret"),
    ({"headers": {"Authorization": "Bearer q8Zt1LmN5vXr2BcDk3"}}, "looks like a secret"),
    ({"argv": ["deploy", "--token=q8Zt1LmN5vXr2BcDk3"]}, "looks like a secret"),
    ({f"{TOKEN}": 1}, "token of GitHub"),
]

HARMLESS: Sequence[Any] = [
    {"password": {"$secret": "db"}},
    {"password": "${DB_PASSWORD}"},
    {"password": "{{ secrets.db }}"},
    {"token": "vault:kv/db#password"},
    {"api_key": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-a1b2"},
    {"token": "550e8400-e29b-41d4-a716-446655440000"},
    {"password": "changeme"},
    {"password_policy": "at least 12 characters and 3 digits"},
    {"token_url": "https://login.example/oauth2/v2.0/token"},
    {"tokens": 4096, "max_token": "1024"},
    {"secret_name": "projects/p1/secrets/db/versions/latest"},
    {"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    {"image": "registry.example/shop@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    {"query": "select token, password from users where id = 42"},
    {"text": "the password is checked by policy and rotated quarterly"},
    {"url": "https://user:${PASSWORD}@example.org/"},
    {"url": "http://shop.example:8080/@scope/package"},
    {"commit": "1d4f2a9c0b7e6f5d4c3b2a190807060504030201"},
    {"argv": ["pytest", "-k", "test_token_expiry_2024"]},
    {"certificate": "-----BEGIN CERTIFICATE-----\nMIIB"},
]


@pytest.mark.parametrize(("value", "kind"), SECRETS)
def test_what_is_a_secret_is_found_where_it_is(value: Any, kind: str) -> None:
    [found] = found_secrets(value)
    assert kind in found.kind
    assert found.value
    assert found.value not in repr(found)


@pytest.mark.parametrize("value", HARMLESS)
def test_what_is_none_is_left_alone(value: Any) -> None:
    assert found_secrets(value) == ()


def test_a_look_at_a_hostile_value_is_bounded() -> None:
    hostile = {
        "a": "://" * 200_000,
        "b": "eyJ" * 100_000 + ".",
        "c": "token=" * 100_000,
        "d": "A" * 500_000,
        "e": ["-----BEGIN " * 20_000] * 2,
        "f": [f"password {number}" for number in range(20_000)],
        "g": "Bearer " + "a1" * 100_000,
    }
    begun = process_time()
    found_secrets(hostile)
    assert process_time() - begun < 5
    large = found_secrets({"a": ["x" * 1024 * 1024] * 8})
    assert [one.kind for one in large] == ["more text than is looked through"], "what was not looked at is no pass"
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    assert found_secrets({"a": deep}) == ()


def test_a_message_is_one_line_without_secrets() -> None:
    text = told(f"<b>no</b>\n\x1b[31m{TOKEN} password=q8Zt1LmN5vXr2BcDk3 " + "x" * 5_000)
    assert TOKEN not in text
    assert "q8Zt1LmN5vXr2BcDk3" not in text
    assert text.startswith("<b>no</b>  [31m***")
    assert len(text) == 500
    assert without_secrets("the token is valid for 3600 seconds") == "the token is valid for 3600 seconds"


def test_the_tasks_of_sub_flows_are_looked_at_with_the_words_that_hold_for_them() -> None:
    inner = task("inner", parameters={"t": TOKEN}, risk_band="critical")
    outer = {
        "task_id": "outer",
        "task_type": "SUBFLOW",
        "description": "more",
        "plan": {"tasks": [inner, task("other")]},
    }
    document = decision(
        task("a", compensation={"parameters": {"key": TOKEN}}), outer, risk_band="high", labels={"team": "shop"}
    )
    works = {work.task_id: work for work in works_of(decision_in(document))}
    assert [*works] == ["a", "outer", "outer/inner", "outer/other"]
    assert (works["outer/inner"].risk_band, works["outer/other"].risk_band) == (RiskBand.CRITICAL, RiskBand.HIGH)
    assert works["a"].labels == {"team": "shop"}
    secrets = policy(secrets=True)
    assert [work.task_id for work in works.values() if [*broken([secrets], FACTS, work)]] == ["a", "outer/inner"]


async def verdict_of(document: dict[str, Any], *policies: GuardPolicy) -> GuardVerdict:
    return await plan_verdict(encode(document), GuardState(policies=policies), at_once)


async def test_c1_denies_by_rules_that_deny_and_leaves_quarantine_to_the_tickets() -> None:
    document = decision(task("a", parameters={"t": TOKEN}))
    denied = await verdict_of(document, policy(secrets=True), policy("other", allowed_task_types=["TEST"]))
    assert (denied.finding, len(denied.reasons), denied.stops) == (Finding.DENY, 2, True)
    assert denied.reasons[0].code == "policy_denied"
    assert denied.reasons[0].where == "a"
    assert "(guard policy rule)" in denied.reasons[0].message
    assert (await verdict_of(document, policy(action="QUARANTINE", secrets=True))) == ALLOWED
    assert (await plan_verdict(b'{"no": "decision"}', GuardState(policies=[policy(secrets=True)]), at_once)) == ALLOWED
    many = decision(*(task(f"t{number}", parameters={"t": TOKEN}) for number in range(100)))
    assert len((await verdict_of(many, policy(secrets=True))).reasons) == 20


def test_the_defaults_can_be_replaced_one_by_one() -> None:
    known = {one.name: one for one in with_defaults([policy("default-secrets", secrets=True, enabled=False)])}
    assert len(known) == len(DEFAULTS)
    assert not known["default-secrets"].enabled
    assert breaks(known["default-restricted-http"], parameters={"provider": "http"}, security_level="RESTRICTED")
    critical = FlowFacts({}, RiskBand.CRITICAL, Priority.HIGH)
    commanded = {"task_type": "EXECUTE", "parameters": {"provider": "command"}}
    assert breaks(known["default-critical-commands"], critical, **commanded)
    assert breaks(known["default-critical-commands"], FACTS, **commanded) is None


# How tickets wait, go on, or fail.


def quarantine(message: str = "it holds a secret") -> GuardVerdict:
    return GuardVerdict(Finding.QUARANTINE, (Reason(code="quarantined", message=message),))


def away(*, passes: bool = False) -> GuardVerdict:
    reason = Reason(code="policy_unavailable", message="the policy server gives no verdict")
    return GuardVerdict(Finding.UNAVAILABLE, (reason,), passes)


def after(one: Ticket, outcome: AnyOutcome, at: float = 0, flow: Flow = FLOW) -> ChangeSet:
    """Return the step of an outcome about one ticket."""
    tickets = {one.ticket_id: one}
    context = Context(flow=flow, tickets=tickets, now=T0 + seconds(at), rules=Rules(), function="discover", cause="c")
    return advance(context, outcome)


def guarded(one: Ticket, verdict: GuardVerdict, at: float = 0, flow: Flow = FLOW) -> ChangeSet:
    found = {} if verdict.stops else {one.ticket_id: (CANDIDATE,)}
    return after(one, Discovered(found, {}, {}, guarded={one.ticket_id: verdict}), at, flow)


def held(at: float = 0, **changes: Any) -> Ticket:
    [found] = guarded(ticket(**changes), quarantine(), at).tickets
    return found


def test_a_ticket_in_quarantine_waits_for_a_person_and_no_worker_gets_it() -> None:
    step = guarded(ticket(), quarantine(), 5)
    [found], [line], [audit] = step.tickets, step.history, step.audit
    assert (found.status, found.waiting, found.attempt) == (TicketStatus.PENDING, Waiting.QUARANTINE, 0)
    assert found.until == FLOW.sla_deadline, "before the day that people have: it ends with its flow"
    assert (line.type, line.cause, line.detail["finding"]) == ("guard.verdict", "quarantined", "quarantine")
    assert (getattr(audit, "action", ""), getattr(audit, "why", "")) == ("quarantine_ticket", "it holds a secret")
    assert not waits_for_worker(found)
    assert not after(found, Assigned({found.ticket_id: "w"}, {found.ticket_id: (CANDIDATE,)}, {})).changes
    assert not after(found, Discovered({found.ticket_id: (CANDIDATE,)}, {}, {})).changes
    claim = commands.ClaimRequest(flow_id=FLOW.flow_id, ticket_id=found.ticket_id, worker_id="w9")
    with pytest.raises(Rejected, match="waits for a person to release it"):
        claimable(FLOW, found, claim, None)


def test_the_rules_of_its_sla_apply_in_quarantine_and_it_ends_when_nobody_decides() -> None:
    found = held(latest_start=T0 + seconds(30), schedule_to_start_ms=10_000)
    step = after(found, TicketOverdue(found.ticket_id), 30)
    assert [entry.type for entry in step.history] == ["sla.at_risk"]
    assert step.tickets[0].waiting is Waiting.QUARANTINE
    late = FLOW.but(sla_deadline=T0 + seconds(10**6))
    [longer] = guarded(ticket(), quarantine(), 0, late).tickets
    assert longer.until == T0 + Rules().approval
    over = Rules().approval.total_seconds()
    ended = after(longer.but(announced="breached", late=True), TicketOverdue(longer.ticket_id), over, late)
    [failed] = ended.tickets
    assert failed.status is TicketStatus.FAILED
    assert failed.reason is not None
    assert failed.reason.code == "quarantine_expired"
    assert "it holds a secret" in failed.reason.message


def ruled(one: Ticket, ruling: str, flow: Flow = FLOW) -> ChangeSet:
    order = commands.QuarantineDecision(
        flow_id=flow.flow_id,
        ticket_id=one.ticket_id,
        ruling=QuarantineRuling(ruling),
        requested_by="ada",
        reason="I know it",
    )
    return after(one, Commanded(order, "1", around=RelatedTickets(goes_on=True)), 7, flow)


def test_a_person_releases_a_ticket_for_good_and_that_is_audited() -> None:
    step = ruled(held(), "release")
    [free], [line], [audit] = step.tickets, step.history, step.audit
    assert (free.guard_release, free.waiting, free.reason, free.ready_at) == (
        True,
        Waiting.DISCOVERY,
        None,
        T0 + seconds(7),
    )
    assert [event.event_type for event in step.events] == ["tickets.ready"]
    assert (line.type, line.detail["finding"], line.detail["requested_by"]) == ("guard.verdict", "allow", "ada")
    assert (getattr(audit, "action", ""), getattr(audit, "why", "")) == ("decide_quarantine", "I know it")
    assert ruled(free, "release").tickets == ()
    with pytest.raises(Rejected, match="in no quarantine"):
        ruled(free, "reject")
    assert breaks(policy(action="QUARANTINE", secrets=True), parameters={"t": TOKEN}), "it would break it still"


def test_a_person_rejects_a_ticket_and_that_is_no_trouble_to_look_at() -> None:
    step = ruled(held(), "reject")
    [failed] = step.tickets
    assert (failed.status, failed.reason and failed.reason.code) == (TicketStatus.FAILED, "quarantine_rejected")
    assert [entry.type for entry in step.history] == ["guard.verdict", "ticket.failed"]
    assert ruled(failed, "reject").tickets == ()
    with pytest.raises(Rejected, match="is FAILED and in no quarantine"):
        ruled(failed, "release")
    with pytest.raises(Rejected, match="in no quarantine"):
        ruled(ticket(), "release")


def test_a_denied_ticket_fails_and_is_audited() -> None:
    one = ticket()
    reason = Reason(code="policy_denied", message="its type is BUILD")
    begun = Begun(
        {one.ticket_id: Denied(reason)},
        RelatedTickets(goes_on=True),
        Discovered({}, {}, {}, guarded={one.ticket_id: GuardVerdict(Finding.DENY, (reason,))}),
    )
    step = after(one, begun)
    [failed] = step.tickets
    assert (failed.status, failed.attempt) == (TicketStatus.FAILED, 0)
    assert [(entry.type, entry.cause) for entry in step.history] == [
        ("guard.verdict", "policy_denied"),
        ("ticket.failed", "policy_denied"),
    ]
    assert [getattr(audit, "action", "") for audit in step.audit] == ["deny_ticket_by_guard"]


def test_a_ticket_that_cannot_be_judged_is_looked_at_again_and_that_is_said_once() -> None:
    step = guarded(ticket(), away())
    [waits] = step.tickets
    assert (waits.waiting, waits.until, waits.emissions) == (Waiting.RETRY, T0 + seconds(30), 1)
    assert [entry.cause for entry in step.history] == ["policy_unavailable"]
    woken = after(waits, TicketOverdue(waits.ticket_id), 30)
    assert [event.event_type for event in woken.events] == ["tickets.ready"]
    again = guarded(woken.tickets[0], away(), 31)
    assert again.history == ()
    assert again.tickets[0].waiting is Waiting.RETRY
    free = after(woken.tickets[0], Discovered({waits.ticket_id: (CANDIDATE,)}, {}, {}), 31)
    assert (free.tickets[0].reason, [event.event_type for event in free.events]) == (None, ["workers.discovered"])


def test_a_ticket_goes_on_without_a_verdict_where_the_setting_says_so_and_that_is_said() -> None:
    step = guarded(ticket(), away(passes=True))
    assert [event.event_type for event in step.events] == ["workers.discovered"]
    assert [(entry.type, entry.detail["finding"]) for entry in step.history] == [("guard.verdict", "unavailable")]


def test_c1_says_once_that_it_waits_for_the_policy_server() -> None:
    flow = make_flow(status=FlowStatus.VALIDATING)
    context = Context(flow=flow, now=T0 + seconds(1), rules=Rules(), function="validate", cause="c")
    step = advance(context, Unjudged(away().one_reason))
    assert step.flow is not None
    assert step.flow.next_wakeup_at == flow.next_wakeup_at
    assert [entry.type for entry in step.history] == ["guard.verdict"]
    text = " ".join(explain_flow(step.flow, (), T0, Rules()).sentences)
    assert "a verdict of the policy server" in text
    again = advance(
        Context(flow=step.flow, now=T0, rules=Rules(), function="v", cause="d"), Unjudged(away().one_reason)
    )
    assert not again.changes
    refused = advance(context, Refused(reasons=(Reason(code="policy_denied", message="no"),)))
    assert refused.flow is not None
    assert refused.flow.outcome is Outcome.REJECTED
    assert "guard.verdict" in [entry.type for entry in refused.history]


def test_a_ticket_in_quarantine_says_what_for_and_what_ends_it() -> None:
    found, now = held(), T0 + seconds(10)
    assert ticket_waits_for(found).startswith("a person to release it from quarantine: it holds a secret")
    explained = explain_ticket(found, FLOW.but(sla_deadline=T0 + seconds(10**6)), now, Rules())
    assert f"flowc guard release {found.ticket_id}" in " ".join(explained.details)
    assert "The last attempt" not in " ".join(explained.details)
    waits = guarded(ticket(), away()).tickets[0]
    assert ticket_waits_for(waits).startswith("a verdict of the policy server")
    free = ruled(found, "release").tickets[0]
    assert "A person has released it from quarantine." in explain_ticket(free, FLOW, now, Rules()).details


async def test_a_server_is_asked_in_one_form_about_what_it_may_know() -> None:
    asked: list[Any] = []

    class Server:
        async def decide(self, stage: Stage, questions: Sequence[Mapping[str, Any]]) -> Sequence[GuardVerdict]:
            asked.append((stage, parse_json(encode(list(questions)))))
            return [ALLOWED] * len(questions)

    state = GuardState(server=Server(), stages=frozenset(Stage))
    one = ticket(parameters={"provider": " HTTP "}, security_level="CONFIDENTIAL")
    assert await ticket_verdicts([one], FLOW, state, at_once) == {}
    [(stage, [question])] = asked
    assert (stage, question["stage"], question["ticket_id"]) == (Stage.TICKET, "ticket", one.ticket_id)
    assert question["flow"]["risk_band"] == "medium"
    assert (question["task"]["provider"], question["task"]["clearance"]) == ("http", 2)
    assert question["task"]["parameters"] == {"provider": " HTTP "}
