"""Services of the worker's owner over real HTTP: where calls go, what proves them, and what answers mean."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._executors.port import CallFailed
from functions._executors.services import ANSWER_BYTES, ServiceApi, ServiceConnection, json_of_reply, part
from functions._executors.settings import ExecutorSettings
from tests.support.loopback import Answer, Loopback, Request
from tests.support.processes import free_port


def connection(**variables: str) -> ServiceConnection:
    """Return the connection of a worker with these variables, `URL` for `WORKER_FORGE_URL`."""
    environment = {f"WORKER_FORGE_{name}": value for name, value in variables.items()}
    return ServiceConnection.from_settings(ExecutorSettings.model_validate({"environment": environment}), "FORGE")


@pytest.fixture
async def forge() -> AsyncIterator[Loopback]:
    async with Loopback() as server:
        yield server


@pytest.fixture
async def api(forge: Loopback) -> AsyncIterator[ServiceApi]:
    made = ServiceApi(connection(URL=f"{forge.url}/api/", TOKEN="t-1"))
    yield made
    await made.aclose()


def answering(forge: Loopback, *answers: Answer) -> None:
    """Let the server answer these, one after the other, the last one again and again."""
    left = list(answers)

    async def answer(_: Request) -> Answer:
        return left.pop(0) if len(left) > 1 else left[0]

    forge.answer = answer


async def failure(api: ServiceApi, *arguments: Any, **more: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await api.good(*arguments, **more)
    return failed.value


async def test_a_call_carries_the_proof_a_query_and_json(forge: Loopback, api: ServiceApi) -> None:
    await api.good("POST", "/runs", query={"a b": "c&d=e"}, body={"n": 1}, headers={"x-a": "1"})
    [request] = forge.requests
    assert (request.method, request.path, request.query, request.json) == (
        "POST",
        "/api/runs",
        {"a b": "c&d=e"},
        {"n": 1},
    )
    sent = {name: request.headers[name] for name in ("authorization", "content-type", "accept", "x-a")}
    json_type = "application/json"
    assert sent == {"authorization": "Bearer t-1", "content-type": json_type, "accept": json_type, "x-a": "1"}


async def test_bytes_are_sent_as_they_are_and_nothing_has_no_type(forge: Loopback, api: ServiceApi) -> None:
    await api.good("POST", "/a", body=b"a=1", headers={"content-type": "application/x-www-form-urlencoded"})
    await api.good("GET", "/b")
    assert forge.requests[0].body == b"a=1"
    assert "content-type" not in forge.requests[1].headers


async def test_a_token_file_is_read_for_each_call(forge: Loopback, tmp_path: Path) -> None:
    file = tmp_path / "token"
    api = ServiceApi(connection(URL=forge.url, TOKEN_FILE=str(file)))
    for token in ("first\n", "second"):
        file.write_text(token)
        await api.good("GET", "/")
    assert [request.headers["authorization"] for request in forge.requests] == ["Bearer first", "Bearer second"]
    file.unlink()
    failed = await failure(api, "GET", "/")
    assert (failed.kind, failed.transient) == ("no_credential", False)
    assert str(failed) == "WORKER_FORGE_TOKEN_FILE cannot be read"
    file.write_bytes(b"\xff\xfe")
    assert (await failure(api, "GET", "/")).kind == "no_credential"
    await api.aclose()
    assert len(forge.requests) == 2


async def test_a_token_with_a_line_break_is_no_second_header(forge: Loopback) -> None:
    api = ServiceApi(connection(URL=forge.url, TOKEN="a\r\nx-b: 2"))
    failed = await failure(api, "GET", "/")
    assert not failed.transient
    assert forge.requests == []
    await api.aclose()


@pytest.mark.parametrize("text", ["a/b", "..", ".", "a?b#c", "ä %2F", "", "a\r\nb"])
async def test_what_a_plan_says_is_one_part_of_a_path(forge: Loopback, api: ServiceApi, text: str) -> None:
    await api.good("GET", f"/jobs/{part(text)}/end")
    assert forge.requests[0].path == f"/api/jobs/{text}/end"
    assert forge.requests[0].raw_path.count("/") == 4


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_no_success_and_is_not_followed(forge: Loopback, api: ServiceApi, status: int) -> None:
    answering(forge, Answer(status, b"", {"location": f"{forge.url}/elsewhere"}))
    assert not (await failure(api, "GET", "/")).transient
    assert len(forge.requests) == 1


@pytest.mark.parametrize(
    ("answer", "repeatable", "transient", "after"),
    [
        (Answer(429, b"", {"retry-after": "7"}), True, True, 7),
        (Answer(429, b"", {"retry-after": "7"}), False, True, 7),
        (Answer(503), False, True, 0),
        (Answer(500), True, True, 0),
        (Answer(500), False, False, 0),
        (Answer(502), False, False, 0),
        (Answer(401, b"", {"retry-after": "7"}), True, False, 0),
        (Answer(404), True, False, 0),
    ],
)
async def test_a_refusal_says_whether_the_call_may_be_repeated_and_when(
    forge: Loopback, api: ServiceApi, answer: Answer, repeatable: bool, transient: bool, after: float
) -> None:
    answering(forge, answer)
    failed = await failure(api, "POST", "/", repeatable=repeatable)
    assert (failed.transient, failed.after_seconds, failed.kind) == (transient, after, "unexpected_status")
    assert str(failed) == f"127.0.0.1 answered {answer.status} to POST"


async def test_a_refusal_repeats_no_text_of_the_service(forge: Loopback, api: ServiceApi) -> None:
    answering(forge, Answer(403, b"token t-1 is wrong"))
    assert "t-1" not in str(await failure(api, "GET", "/"))
    assert "t-1" not in repr(api.connection)


async def test_a_call_without_an_answer_may_have_been_carried_out(forge: Loopback, api: ServiceApi) -> None:
    async def never(_: Request) -> Answer:
        await forge_answers.wait()
        return Answer()

    forge_answers = asyncio.Event()
    forge.answer = never
    failed = await failure(api, "POST", "/", seconds=0.2)
    assert (failed.kind, failed.transient) == ("no_answer", True)
    failed = await failure(api, "POST", "/", seconds=0.2, repeatable=False)
    assert (failed.kind, failed.transient) == ("unknown_outcome", False)
    forge_answers.set()


async def test_a_service_that_is_away_was_not_reached_and_may_be_called_again() -> None:
    api = ServiceApi(connection(URL=f"http://127.0.0.1:{free_port()}"))
    failed = await failure(api, "POST", "/", repeatable=False)
    assert (failed.kind, failed.transient) == ("unavailable", True)
    await api.aclose()


async def test_an_answer_that_is_cut_or_no_json_is_none(forge: Loopback, api: ServiceApi) -> None:
    answering(forge, Answer(200, b'"' + b"x" * ANSWER_BYTES + b'"'))
    with pytest.raises(CallFailed) as failed:
        json_of_reply(await api.good("GET", "/"))
    assert (failed.value.kind, failed.value.transient) == ("answer_too_large", False)
    for body in (b"<html>", b"", b"[1,", b"[" * 1000):
        answering(forge, Answer(200, body))
        with pytest.raises(CallFailed) as failed:
            json_of_reply(await api.good("GET", "/"))
        assert (failed.value.kind, failed.value.transient) == ("not_json", True)
    answering(forge, Answer(200, json.dumps({"a": [1]}).encode()))
    assert json_of_reply(await api.good("GET", "/")) == {"a": [1]}


async def test_a_service_that_nobody_named_is_not_called() -> None:
    api = ServiceApi(connection(TOKEN="t-1"))
    failed = await failure(api, "GET", "/")
    assert (failed.kind, failed.transient) == ("not_configured", False)
    assert "WORKER_FORGE_URL" in str(failed)
    assert not (await api.reached("/", "forge")).ok
    await api.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://forge.test",
        "forge.test",
        "http://",
        "http://user:hunter2@forge.test",
        "http://forge.test/?a=1",
        "http://f/#x",
    ],
)
def test_what_is_no_address_of_an_api_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="WORKER_FORGE_URL") as refused:
        connection(URL=url)
    assert "hunter2" not in str(refused.value)


async def test_the_doctor_says_what_a_harmless_question_was_answered(forge: Loopback, api: ServiceApi) -> None:
    for status, ok in ((200, True), (401, False)):
        answering(forge, Answer(status))
        assert await api.reached("/me", "forge") == ("forge", ok, f"{forge.url}/api answered {status}", True)
