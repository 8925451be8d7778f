"""How the Python clients retry, give up and explain themselves: their steps are driven by hand, without a network."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from pydantic import ValidationError

from flowc.client import (
    AgentTelemetry,
    BadAnswer,
    CircuitBreaker,
    CircuitOpen,
    Conflicting,
    FlowCContext,
    FlowCResult,
    Forbidden,
    Invalid,
    NoAnswer,
    NotFound,
    PlatformFailed,
    Refused,
    RetryPolicy,
    SyncExecutionTicketClient,
    SyncFlowCTelemetryPublisher,
    SyncOrchestratorClient,
    TaskAssignment,
    TooMany,
    Unauthorized,
    traced,
)
from flowc.client.calls import Call, Reply, Steps
from flowc.client.errors import refusal
from flowc.client.retries import exchange
from flowc.client.telemetry import KEPT_SECONDS
from flowc.client.tracing import TRACEPARENT, next_traceparent
from functions._core.records.values import flow_id_of

T = TypeVar("T")
KINDS: dict[int, type[Refused]] = {
    **dict.fromkeys((400, 413, 415, 422), Invalid),
    **dict.fromkeys((409, 412), Conflicting),
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    418: Refused,
    429: TooMany,
    500: PlatformFailed,
}
GET = Call(method="GET", url="/", repeatable=True)
AWAY = NoAnswer("away")


def drive(steps: Steps[T], answers: Sequence[Reply | NoAnswer]) -> tuple[list[Call], T]:
    """Carry out steps with these answers; return the calls that were made, and the result."""
    calls: list[Call] = []
    left = list(answers)
    try:
        calls.append(next(steps))
        while True:
            answer = left.pop(0)
            calls.append(steps.throw(answer) if isinstance(answer, NoAnswer) else steps.send(answer))
    except StopIteration as end:
        assert left == []
        return calls, end.value


def reply(status: int = 200, body: object = None, **headers: str) -> Reply:
    return Reply(status, headers, b"" if body is None else json.dumps(body).encode())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestRetries:
    def test_what_may_be_repeated_is_repeated_with_pauses_that_double(self) -> None:
        calls, last = drive(exchange(GET, RetryPolicy(attempts=4), CircuitBreaker()), [AWAY, reply(503), AWAY, reply()])
        assert last.status == 200
        pauses = [call.after for call in calls]
        assert pauses[0] == 0
        assert all(most * 0.8 <= pause <= most for pause, most in zip(pauses[1:], (1, 2, 4), strict=True))

    def test_the_last_failure_is_told(self) -> None:
        assert drive(exchange(GET, RetryPolicy(attempts=2), CircuitBreaker()), [AWAY, reply(500)])[1].status == 500
        with pytest.raises(NoAnswer):
            drive(exchange(GET, RetryPolicy(attempts=2), CircuitBreaker()), [reply(500), AWAY])

    @pytest.mark.parametrize("answer", [AWAY, reply(503), reply(429)])
    def test_what_may_not_be_repeated_is_sent_once(self, answer: Reply | NoAnswer) -> None:
        steps = exchange(Call(method="POST", url="/"), RetryPolicy(), CircuitBreaker())
        if isinstance(answer, NoAnswer):
            with pytest.raises(NoAnswer):
                drive(steps, [answer])
        else:
            assert drive(steps, [answer])[1] is answer

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 415, 422, 501])
    def test_a_refusal_for_good_is_not_repeated(self, status: int) -> None:
        assert drive(exchange(GET, RetryPolicy(), CircuitBreaker()), [reply(status)])[1].status == status

    def test_retry_after_is_kept_to_and_one_that_is_too_long_is_not_waited_for(self) -> None:
        policy = RetryPolicy(longest_pause=20)
        calls, _ = drive(exchange(GET, policy, CircuitBreaker()), [reply(429, **{"retry-after": "7"}), reply()])
        assert calls[1].after == 7
        _, last = drive(exchange(GET, policy, CircuitBreaker()), [reply(429, **{"retry-after": "21"})])
        assert last.retry_after == 21
        for nonsense in ("soon", "-1", "", "Wed, 21 Oct 2026 07:28:00 GMT"):
            assert reply(429, **{"retry-after": nonsense}).retry_after is None

    def test_a_policy_that_cannot_be_kept_is_refused(self) -> None:
        for wrong in ({"attempts": 0}, {"first_pause": -1}, {"first_pause": 2, "longest_pause": 1}):
            with pytest.raises(ValueError, match="once"):
                RetryPolicy(**wrong)


class TestBreaker:
    def test_five_failures_open_it_a_pause_tries_again_and_two_successes_close_it(self) -> None:
        clock = Clock()
        breaker = CircuitBreaker(clock=clock)
        once = RetryPolicy(attempts=1)
        for _ in range(5):
            assert breaker.state == "closed"
            drive(exchange(GET, once, breaker), [reply(500)])
        assert breaker.state == "open"
        with pytest.raises(CircuitOpen) as refused:
            drive(exchange(GET, once, breaker), [])
        assert refused.value.retry_after == 30
        clock.now += 30
        assert breaker.state == "half-open"
        drive(exchange(GET, once, breaker), [reply(404)])
        assert breaker.state == "half-open"
        drive(exchange(GET, once, breaker), [reply()])
        assert breaker.state == "closed"

    def test_a_failure_while_it_is_tried_opens_it_again_at_once(self) -> None:
        clock = Clock()
        breaker = CircuitBreaker(failures=1, clock=clock)
        breaker.failed()
        clock.now += 31
        breaker.succeeded()
        breaker.failed()
        assert breaker.state == "open"
        clock.now += 31
        breaker.succeeded()
        assert breaker.state == "half-open"

    def test_successes_in_between_keep_it_closed(self) -> None:
        breaker = CircuitBreaker(failures=2)
        for _ in range(3):
            breaker.failed()
            breaker.succeeded()
        assert breaker.state == "closed"

    def test_one_that_opens_during_retries_ends_them(self) -> None:
        with pytest.raises(CircuitOpen):
            drive(exchange(GET, RetryPolicy(attempts=9), CircuitBreaker(failures=2)), [AWAY, AWAY])


class TestErrors:
    @pytest.mark.parametrize(("status", "kind"), KINDS.items())
    def test_a_problem_document_becomes_an_exception_of_its_kind(self, status: int, kind: type[Refused]) -> None:
        faults = [{"code": "missing", "message": "is missing", "where": "body.x"}]
        document = {"title": "T", "detail": "it is wrong", "code": "some_code", "errors": faults, "more": 1}
        error = refusal(status, json.dumps(document).encode(), 3.0)
        assert type(error) is kind
        assert (error.status, error.code, error.detail, error.retry_after) == (status, "some_code", "it is wrong", 3.0)
        assert (error.errors[0].where, error.document["more"]) == ("body.x", 1)
        assert str(error) == f"it is wrong ({status} some_code)"

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b'"x"', b"\xff", b"null", b'{"errors": 7, "detail": null}']
    )
    def test_any_other_body_becomes_one_as_well(self, body: bytes) -> None:
        error = refusal(502, body)
        assert (error.status, error.code, error.errors) == (502, "", ())
        assert "502" in str(error)

    @pytest.mark.parametrize("body", [b"<html>", b"[1]", b"\xff", b'{"ticket_id": 7}', b"{}", b""])
    def test_an_answer_that_is_none_of_the_platform_is_told(self, body: bytes) -> None:
        client = SyncExecutionTicketClient("http://127.0.0.1:1")
        with pytest.raises(BadAnswer):
            drive(steps_of(client, "get_ticket", "t-1"), [Reply(200, {}, body)])

    def test_a_redirect_is_not_followed(self) -> None:
        client = SyncExecutionTicketClient("http://127.0.0.1:1")
        with pytest.raises(BadAnswer, match="redirects"):
            drive(steps_of(client, "get_ticket", "t-1"), [Reply(302, {"location": "http://evil.test/"}, b"")])

    @pytest.mark.parametrize(
        "url", ["ftp://x", "127.0.0.1:8080", "http://", "http://x?y", "http://[::1", "http://x:99999"]
    )
    def test_what_is_no_address_is_refused_at_once(self, url: str) -> None:
        with pytest.raises(ValueError, match="no address"):
            SyncOrchestratorClient(url)

    def test_an_id_cannot_lead_to_another_path(self) -> None:
        client = SyncExecutionTicketClient("http://127.0.0.1:1")
        [call, *_], _ = drive(steps_of(client, "get_ticket", "../workers?x#y"), [reply(200, {"ticket_id": "t"})])
        assert call.url == "/api/v1/tickets/..%2Fworkers%3Fx%23y"
        for wrong in ("", ".", ".."):
            with pytest.raises(ValueError, match="no id"):
                drive(steps_of(client, "get_ticket", wrong), [])

    def test_a_key_is_neither_shown_nor_sent_beside_a_token(self) -> None:
        client = SyncExecutionTicketClient("http://127.0.0.1:1", api_key="hidden-key")
        assert "hidden-key" not in repr(client)
        [call], _ = drive(
            steps_of(client, "update_status", "t", "completed", attempt=1, token="jwt"),
            [reply(200, {"ticket_id": "t"})],
        )
        assert call.headers["authorization"] == "Bearer jwt"
        assert "x-api-key" not in call.headers


def steps_of(client: Any, operation: str, *arguments: Any, **named: Any) -> Steps[Any]:
    """Return the steps of an operation, which its client would carry out at once."""
    steps: Steps[Any] = getattr(type(client), operation).steps(client, *arguments, **named)
    return steps


class TestRepetition:
    @pytest.mark.parametrize(
        ("operation", "arguments", "repeatable"),
        [
            ("get_ticket", ("t",), True),
            ("create_ticket", ({"plan_id": "p", "task_type": "BUILD"},), True),
            ("update_status", ("t", "running"), False),
            ("retry_ticket", ("t",), True),
        ],
    )
    def test_only_idempotent_calls_and_those_with_a_key_may_be_sent_twice(
        self, operation: str, arguments: tuple[Any, ...], repeatable: bool
    ) -> None:
        call = next(steps_of(SyncExecutionTicketClient("http://127.0.0.1:1"), operation, *arguments))
        assert call.repeatable is repeatable

    def test_the_end_of_an_attempt_may_be_said_twice_and_a_signal_with_an_id(self) -> None:
        tickets = SyncExecutionTicketClient("http://127.0.0.1:1")
        assert next(steps_of(tickets, "update_status", "t", "failed", attempt=2)).repeatable
        assert not next(steps_of(tickets, "update_status", "t", "running", attempt=2)).repeatable
        flows = SyncOrchestratorClient("http://127.0.0.1:1")
        assert next(steps_of(flows, "signal_workflow", "w", "cancel_workflow", signal_id="1")).repeatable
        assert not next(steps_of(flows, "signal_workflow", "w", "cancel_workflow")).repeatable

    def test_a_new_ticket_has_a_key_of_its_own_unless_one_is_given(self) -> None:
        client = SyncExecutionTicketClient("http://127.0.0.1:1")
        keys = [next(steps_of(client, "create_ticket", plan_id="p")).headers["idempotency-key"] for _ in range(2)]
        assert len(set(keys)) == 2
        given = next(steps_of(client, "create_ticket", plan_id="p", idempotency_key="mine"))
        assert (given.headers["idempotency-key"], json.loads(given.body or b"")) == ("mine", {"plan_id": "p"})


class TestTraces:
    def test_calls_continue_the_trace_of_their_block_each_with_a_span_of_its_own(self) -> None:
        parent = f"00-{'a' * 32}-{'b' * 16}-01"
        with traced(parent):
            spans = {next_traceparent() for _ in range(3)}
        assert len(spans | {parent}) == 4
        assert {span[:36] for span in spans} == {parent[:36]}

    @pytest.mark.parametrize(
        "wrong", [None, "", "nonsense", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01"]
    )
    def test_without_a_trace_one_begins(self, wrong: str | None) -> None:
        with traced(wrong):
            assert TRACEPARENT.fullmatch(next_traceparent())


RESULT: dict[str, Any] = {
    "success": True,
    "total_duration_ms": 3_600_000,
    "tickets_generated": 5,
    "tickets_completed": 5,
    "tickets_failed": 0,
    "telemetry_published": True,
    "error": None,
    "steps": [{"step": "C1", "status": "completed", "duration_ms": 1}],
}
T0 = datetime(2030, 1, 1, tzinfo=UTC)
IDS: dict[str, Any] = {"intent_id": "i", "plan_id": "p", "decision_id": "d"}


class TestModels:
    def test_a_context_has_ten_fields_and_four_hours(self) -> None:
        context = FlowCContext(**IDS, correlation_id="c", trace_id="a" * 32, span_id="b" * 16, started_at=T0)
        assert len(FlowCContext.model_fields) == 10
        assert (context.sla_deadline, context.priority, context.risk_band) == (T0 + timedelta(hours=4), 5, "medium")
        assert (context.workflow_id, context.traceparent) == (flow_id_of("d"), f"00-{'a' * 32}-{'b' * 16}-01")

    def test_a_context_is_made_of_a_decision(self) -> None:
        decision = {**IDS, "priority": 7, "risk_band": "high", "sla_deadline_seconds": 60}
        context = FlowCContext.of(decision, T0, f"00-{'a' * 32}-{'b' * 16}-01")
        assert (context.priority, context.risk_band, context.trace_id) == (7, "high", "a" * 32)
        assert (context.sla_deadline, context.correlation_id) == (T0 + timedelta(seconds=60), flow_id_of("d"))
        with pytest.raises(ValidationError):
            FlowCContext.of({"plan_id": "p"}, T0)

    @pytest.mark.parametrize(
        "wrong", [{"trace_id": "0" * 32}, {"trace_id": "x"}, {"priority": 11}, {"risk_band": "grave"}, {"misspelt": 1}]
    )
    def test_a_context_that_makes_no_sense_is_refused(self, wrong: dict[str, Any]) -> None:
        right: dict[str, Any] = {
            **IDS,
            "correlation_id": "c",
            "trace_id": "a" * 32,
            "span_id": "b" * 16,
            "started_at": T0,
        }
        with pytest.raises(ValidationError):
            FlowCContext(**right | wrong)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"tickets_failed": 1},
            {"tickets_completed": 6},
            {"tickets_generated": -1},
            {"error": "it failed"},
            {"success": False, "tickets_completed": 3, "tickets_failed": 3},
            {"steps": [{"step": "C7", "status": "completed"}]},
        ],
    )
    def test_a_result_that_does_not_add_up_is_refused(self, wrong: dict[str, Any]) -> None:
        assert FlowCResult(**RESULT).steps[0].duration_ms == 1
        with pytest.raises(ValidationError):
            FlowCResult(**RESULT | wrong)

    def test_an_assignment_keeps_its_five_fields_over_a_round_trip(self) -> None:
        sent = {
            "task_id": "task",
            "ticket_id": "ticket",
            "task_type": "BUILD",
            "payload": {"template_id": "t", "parameters": {"language": "python"}},
            "sla_deadline": "2030-01-01T00:00:00Z",
        }
        kept = json.loads(TaskAssignment(**sent).model_dump_json())  # type: ignore[arg-type]
        assert {name: kept[name] for name in sent} == sent
        assert "secret" not in repr(TaskAssignment(**sent, token="secret"))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"success_rate": 1.1},
            {"success_rate": -0.1},
            {"active_tasks": -1},
            {"cpu": 2},
            {"memory": -1},
            {"latency_ms": -1},
            {"total_executions": 1.5},
            {"succes_rate": 1},
        ],
    )
    def test_telemetry_that_cannot_be_is_refused(self, wrong: dict[str, Any]) -> None:
        assert AgentTelemetry(success_rate=0.95).stated() == {"success_rate": 0.95}
        with pytest.raises(ValidationError):
            AgentTelemetry(**wrong)


class TestTelemetry:
    def publisher(self) -> SyncFlowCTelemetryPublisher:
        return SyncFlowCTelemetryPublisher("http://127.0.0.1:1/sink", platform_url="http://127.0.0.1:2")

    def publish(self, publisher: Any, *answers: Reply | NoAnswer, **fields: Any) -> tuple[list[Call], bool]:
        return drive(steps_of(publisher, "publish_event", "step_completed", intent_id="i", **fields), answers)

    def test_an_event_has_all_ten_arguments(self) -> None:
        more = {"plan_id": "p", "decision_id": "d", "workflow_id": "w", "ticket_ids": ["t"], "duration_ms": 1500}
        more |= {"step": "C3", "status": "completed", "metadata": {"workers_found": 3}}
        [call], published = self.publish(self.publisher(), reply(202), **more)
        event = json.loads(call.body or b"")
        assert published
        assert event["data"] == {"event_type": "step_completed", "intent_id": "i", **more}
        assert (event["type"], event["source"]) == ("io.neuralhive.telemetry.step.completed.v1", "/telemetry-flow-c")

    def test_what_the_sink_does_not_take_waits_and_goes_first_the_next_time(self) -> None:
        publisher = self.publisher()
        assert not self.publish(publisher, AWAY, duration_ms=1)[1]
        assert not self.publish(publisher, reply(503), duration_ms=2)[1]
        assert publisher.buffered == 2
        calls, published = self.publish(publisher, reply(), reply(), reply(), duration_ms=3)
        assert published
        assert [json.loads(call.body or b"")["data"]["duration_ms"] for call in calls] == [1, 2, 3]
        assert (publisher.buffered, publisher.lost) == (0, 0)

    def test_flushing_by_hand_sends_what_waits_here_and_at_the_platform(self) -> None:
        publisher = self.publisher()
        self.publish(publisher, AWAY)
        calls, sent = drive(steps_of(publisher, "flush_buffer", "i"), [reply(), reply(200, {"flushed": 4})])
        assert sent == 5
        assert calls[1].url == "http://127.0.0.1:2/api/v1/telemetry/flush"

    def test_what_is_refused_for_good_is_told_and_does_not_hold_up_the_rest(self) -> None:
        publisher = self.publisher()
        with pytest.raises(Invalid):
            self.publish(publisher, reply(400))
        assert (publisher.buffered, publisher.lost) == (0, 1)

    def test_what_is_too_old_is_dropped_and_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock()
        monkeypatch.setattr("flowc.client.telemetry.time.monotonic", clock)
        publisher = self.publisher()
        self.publish(publisher, AWAY, duration_ms=1)
        clock.now += KEPT_SECONDS + 1
        calls, _ = self.publish(publisher, reply(), duration_ms=2)
        assert (len(calls), publisher.lost) == (1, 1)

    def test_the_buffer_is_bounded_and_the_oldest_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flowc.client.telemetry.KEPT_EVENTS", 2)
        publisher = self.publisher()
        publisher.breaker = CircuitBreaker(failures=99)
        for number in range(4):
            self.publish(publisher, AWAY, duration_ms=number)
        assert (publisher.buffered, publisher.lost) == (2, 2)
        calls, _ = drive(steps_of(publisher, "flush_buffer", "i"), [reply(), reply(), reply(200, {})])
        assert [json.loads(call.body or b"")["data"]["duration_ms"] for call in calls[:2]] == [2, 3]


def test_the_operations_of_both_kinds_of_client_are_the_same_code() -> None:
    from flowc import client

    named: dict[str, Any] = {name: getattr(client, name) for name in client.__all__}
    twins = {name: sync for name, sync in named.items() if name.startswith("Sync")}
    assert len(twins) == 7
    for name, sync in twins.items():
        assert sync.__mro__[1] is named[name.removeprefix("Sync")].__mro__[1]
