"""Texts compared over HTTP: by words and groups of characters, or by a server of embeddings."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.http.client import HttpClient
from functions._adapters.http.embeddings import BATCH, EmbeddingServer
from functions._core.errors import Unavailable, Unreadable
from functions._core.insights.semantics import embedded
from functions._engine.settings import Settings
from functions.api import analyst_state
from functions.api.services import MAX_ANALYSES
from tests.support.http_api import Api, problem_of, running_api
from tests.support.insights import insight, store_insights
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import decision, task

PATH = "/api/v1/semantics"
REFUSED = [f"connection to db-{n} refused after {n} ms" for n in range(5)]
MEMORY = [f"worker {n} was killed: out of memory" for n in range(5)]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def asked(api: Api, what: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.client.post(f"{PATH}/{what}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_of_the_five_answers(api: Api) -> None:
    same = await asked(api, "similarity", {"text1": "Time out", "text2": "time  out"})
    assert same == {"similarity": 1.0, "space": "hashed-ngrams-384"}
    found = await asked(api, "search", {"query": REFUSED[2], "texts": [*MEMORY, *REFUSED], "top_k": 3})
    assert found["items"][0]["text"] == REFUSED[2]
    assert len(found["items"]) == 3
    groups = await asked(api, "cluster", {"texts": [*REFUSED, *MEMORY, "kaputt"]})
    assert groups["labels"] == [0] * 5 + [1] * 5 + [-1]
    assert [one["indices"] for one in groups["clusters"]] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert groups["noise"] == [10]
    moved = await asked(api, "drift", {"baseline_texts": REFUSED, "current_texts": MEMORY})
    stayed = await asked(api, "drift", {"baseline_texts": REFUSED, "current_texts": REFUSED[1:]})
    assert (moved["drifted"], stayed["drifted"], moved["threshold"]) == (True, False, 0.3)
    strange = await asked(api, "outliers", {"texts": [*REFUSED, "kaputt"]})
    assert [one["text"] for one in strange["items"]] == ["kaputt"]


@pytest.mark.parametrize(
    ("what", "body", "where"),
    [
        ("similarity", {"text1": "a"}, "body.text2"),
        ("similarity", {"text1": "", "text2": "a"}, "body.text1"),
        ("similarity", {"text1": "a", "text2": "x" * 4001}, "body.text2"),
        ("similarity", {"text1": "a", "text2": "b", "more": 1}, "body.more"),
        ("search", {"query": "a", "texts": []}, "body.texts"),
        ("search", {"query": "a", "texts": ["a"], "top_k": 101}, "body.top_k"),
        ("search", {"query": "a", "texts": ["a"], "threshold": "1"}, "body.threshold"),
        ("cluster", {"texts": ["a"] * 1001}, "body.texts"),
        ("cluster", {"texts": ["a"], "eps": 0}, "body.eps"),
        ("cluster", {"texts": [7]}, "body.texts[0]"),
        ("drift", {"baseline_texts": ["a"], "current_texts": []}, "body.current_texts"),
        ("outliers", {"texts": ["a"], "threshold_percentile": 100}, "body.threshold_percentile"),
    ],
)
async def test_a_refusal_says_where(api: Api, what: str, body: dict[str, Any], where: str) -> None:
    document = problem_of(await api.client.post(f"{PATH}/{what}", json=body), 422, "invalid_data")
    assert document["errors"][0]["where"] == where


async def test_errors_of_flows_and_insights_are_found_by_other_words(api: Api) -> None:
    await api.world.register()
    errors = {"a": "connection to db-7 refused", "b": "out of memory at 512 MiB"}

    def fails(assignment: Any) -> Any:
        message = errors.get(assignment["task_id"])
        error = {"type": "broken", "message": message, "retryable": False}
        return {"status": "FAILED", "error": error} if message else {"status": "COMPLETED"}

    api.world.workers.behave = fails
    flows = {name: await api.world.submit(decision(task(name))) for name in ("a", "b", "fine")}
    for flow_id in flows.values():
        await api.world.ended(flow_id)
    about = insight("memory", title="Workers run out of memory", flow_id=flows["b"])
    await store_insights(api.world.ports.key_values, about)
    found = (await api.client.get(f"{PATH}/errors", params={"query": "refused connections"})).json()
    assert (found["flows"], found["complete"]) == (3, True)
    assert [(one["kind"], one["flows"], one["count"]) for one in found["items"]] == [("error", [flows["a"]], 1)]
    assert "db-7" in found["items"][0]["text"]
    found = (await api.client.get(f"{PATH}/errors", params={"query": "memory"})).json()
    assert {(one["kind"], one["insight_id"], *one["flows"]) for one in found["items"]} == {
        ("error", None, flows["b"]),
        ("insight", about.insight_id, flows["b"]),
    }


async def test_a_flow_that_cannot_be_read_is_left_out_and_its_absence_told(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.world.register()
    await api.world.run(task("a"))

    async def damaged(_self: object, flow_id: str) -> None:
        raise Unreadable(f"the tickets of {flow_id} cannot be read")

    monkeypatch.setattr(type(api.world.ports.store), "tickets_of", damaged)
    answer = await api.client.get(f"{PATH}/errors", params={"query": "memory"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["flows"], answer.json()["complete"]) == (1, False)


async def test_a_flow_of_more_tickets_than_one_look_may_read_is_left_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.world.register()
    await api.world.run(task("a"), task("b"))
    monkeypatch.setattr(analyst_state, "TICKETS", 1)
    found = (await api.client.get(f"{PATH}/errors", params={"query": "memory"})).json()
    assert (found["flows"], found["complete"]) == (0, False)


async def test_looking_for_errors_is_an_analysis_as_any_other(api: Api) -> None:
    """Each span of time is another look at thousands of tickets."""
    with ExitStack() as under_way:
        for number in range(MAX_ANALYSES):
            under_way.enter_context(api.app.state.services.analyses.one(f"client {number}"))
        problem_of(await api.client.get(f"{PATH}/errors", params={"query": "memory"}), 503, "overloaded")


async def test_without_history_nothing_is_found(api: Api) -> None:
    found = (await api.client.get(f"{PATH}/errors", params={"query": "memory"})).json()
    assert (found["items"], found["flows"], found["complete"]) == ([], 0, True)
    problem_of(await api.client.get(f"{PATH}/errors"), 422, "invalid_data")
    problem_of(await api.client.get(f"{PATH}/errors", params={"query": "x" * 501}), 422, "invalid_data")


class TestServer:
    """The contract of OpenAI's `POST /embeddings`, as its reference has it, answered on loopback."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[Loopback]:
        async with Loopback() as running:
            running.answer = self.give
            yield running

    @staticmethod
    async def give(request: Request) -> Answer:
        texts = request.json["input"]
        data = [{"object": "embedding", "index": n, "embedding": [1.0, float(len(t))]} for n, t in enumerate(texts)]
        return Answer(200, json.dumps({"object": "list", "data": data[::-1], "model": "m"}).encode())

    async def test_its_vectors_are_compared_and_it_is_asked_as_the_reference_says(
        self, api: Api, server: Loopback
    ) -> None:
        client = HttpClient()
        made = EmbeddingServer(client, f"{server.url}/v1/", "all-minilm", key="a-key")
        services = api.app.state.services
        api.app.state.services = replace(services, ports=replace(services.ports, embeddings=made))
        try:
            found = await asked(api, "similarity", {"text1": "ab", "text2": "cd"})
            assert found == {"similarity": 1.0, "space": "all-minilm"}
            assert (server.requests[0].path, server.requests[0].headers["authorization"]) == (
                "/v1/embeddings",
                "Bearer a-key",
            )
            assert server.requests[0].json == {"model": "all-minilm", "input": ["ab", "cd"], "encoding_format": "float"}
            many = await made.vectors(["x" * (n + 1) for n in range(2 * BATCH + 1)])
            assert len(many) == 2 * BATCH + 1
            assert all(math.hypot(*vector) == pytest.approx(1) for vector in many)
            assert many[2][1] / many[2][0] == pytest.approx(3), "vectors are in the order of texts"
            await server.stop()
            document = problem_of(
                await api.client.post(f"{PATH}/similarity", json={"text1": "a", "text2": "b"}), 503, "unavailable"
            )
            assert "hashed" not in json.dumps(document), "nothing else is compared instead"
        finally:
            await client.aclose()

    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            (Answer(401, b"{}"), "answered 401"),
            (Answer(302, b"{}", {"location": "http://127.0.0.1:1/"}), "answered 302"),
            (Answer(200, b"nonsense"), "no list of vectors"),
            (Answer(200, b"[]"), "no list of vectors"),
            (Answer(200, b'{"data": 7}'), "no list of vectors"),
            (Answer(200, b'{"data": []}'), "no list of vectors"),
            (Answer(200, b'{"data": [{"index": 1, "embedding": [1.0]}]}'), "no list of vectors"),
            (Answer(200, b'{"data": [{"index": 0, "embedding": []}]}'), "no list of vectors"),
            (Answer(200, b'{"data": [{"index": 0, "embedding": [true]}]}'), "no list of vectors"),
            (Answer(200, b'{"data": [{"index": 0, "embedding": [1e999]}]}'), "no list of vectors"),
            (Answer(200, b'{"data": [{"index": 0, "embedding": [NaN]}]}'), "no list of vectors"),
            (Answer(200, json.dumps({"data": [{"index": 0, "embedding": [1.0] * 4097}]}).encode()), "no list of"),
        ],
    )
    async def test_what_is_no_list_of_vectors_is_none(self, server: Loopback, answer: Answer, says: str) -> None:
        async def give(_request: Request) -> Answer:
            return answer

        server.answer = give
        client = HttpClient()
        try:
            with pytest.raises(Unavailable, match=says):
                await EmbeddingServer(client, server.url, "m", timeout_seconds=2).vectors(["a"])
        finally:
            await client.aclose()

    async def test_it_has_a_time(self, server: Loopback) -> None:
        async def never(_request: Request) -> Answer:
            await asyncio.sleep(30)
            return Answer()

        server.answer = never
        client = HttpClient()
        begun = asyncio.get_running_loop().time()
        try:
            with pytest.raises(Unavailable):
                await EmbeddingServer(client, server.url, "m", timeout_seconds=0.3).vectors(["a"] * (3 * BATCH))
        finally:
            await client.aclose()
        assert asyncio.get_running_loop().time() - begun < 5

    def test_the_settings_name_it(self, tmp_path: Path) -> None:
        chosen = Settings.from_mapping({"FLOWC_EMBEDDINGS_URL": "http://127.0.0.1:11434/v1"}, data=tmp_path)
        assert str(chosen.embeddings_url) == "http://127.0.0.1:11434/v1"
        assert (chosen.embeddings_model, chosen.embeddings_key) == ("all-minilm", None)
        assert embedded("a") == embedded("a")
