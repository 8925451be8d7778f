"""SLOs and freeze policies over HTTP: what is taken, what is refused, what is shown, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._core.slo import stored
from functions.api import freeze_policies, slos
from tests.support.http_api import Api, problem_of, running_api
from tests.support.slos import FORM, POLICY

SLOS, POLICIES = "/api/v1/slos", "/api/v1/policies"
JSON = {"content-type": "application/json"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def post(api: Api, path: str = SLOS, base: dict[str, Any] | None = None, **form: Any) -> dict[str, Any]:
    answer = await api.client.post(path, json={**(FORM if base is None else base), **form})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def names(api: Api, query: str = "") -> list[str]:
    return sorted(one["name"] for one in (await api.client.get(f"{SLOS}{query}")).json()["items"])


class TestSlos:
    async def test_an_slo_is_made_with_its_defaults_and_shown(self, api: Api) -> None:
        answer = await api.client.post(SLOS, json=FORM)
        made = answer.json()
        assert (answer.status_code, made["window_days"], made["enabled"], made["managed_by"]) == (201, 30, True, None)
        shown = await api.client.get(f"{SLOS}/{made['slo_id']}")
        assert (shown.json(), shown.headers["etag"]) == (made, answer.headers["etag"])
        assert (await post(api, name="b", target=99.9))["target"] == 0.999
        problem_of(await api.client.get(f"{SLOS}/nothing"), 404, "unknown_slo")

    @pytest.mark.parametrize(
        ("wrong", "where"),
        [
            ({"target": 1}, "body.target"),
            ({"target": 100}, "body.target"),
            ({"target": 0}, "body.target"),
            ({"target": "0.9"}, "body.target"),
            ({"service_name": ""}, "body.service_name"),
            ({"window_days": 0}, "body.window_days"),
            ({"window_days": 91}, "body.window_days"),
            ({"sli_query": {"query": "sum(rate(x[{{window}}])"}}, "body.sli_query.query"),
            ({"sli_query": {}}, "body.sli_query"),
            ({"slo_id": "mine"}, "body.slo_id"),
            ({"name": "a\u0000b"}, "body.name"),
            ({"labels": {"a": "b\u001b[2J"}}, "body.labels.a"),
        ],
    )
    async def test_a_wrong_slo_is_refused_with_the_field_named(self, api: Api, wrong: Any, where: str) -> None:
        answer = await api.client.post(SLOS, json={**FORM, **wrong})
        errors = problem_of(answer, 422, "invalid_data")["errors"]
        assert any(error["where"].startswith(where) for error in errors), errors
        assert await names(api) == []

    async def test_each_filter_and_their_and_give_the_right_slos(self, api: Api) -> None:
        await post(api, name="p95 latency", layer="edge")
        await post(api, name="uptime", layer="edge")
        await post(api, name="uptime", service_name="bank")
        gone = await post(api, name="error rate")
        await api.client.delete(f"{SLOS}/{gone['slo_id']}", headers=JSON)
        assert await names(api, "?service_name=shop") == ["error rate", "p95 latency", "uptime"]
        assert await names(api, "?layer=edge") == ["p95 latency", "uptime"]
        assert await names(api, "?slo_type=availability") == ["uptime", "uptime"]
        assert await names(api, "?enabled=false") == ["error rate"]
        assert await names(api, "?enabled=true&service_name=shop&slo_type=LATENCY&layer=edge") == ["p95 latency"]
        problem_of(await api.client.get(f"{SLOS}?slo_type=WITCHCRAFT"), 422, "invalid_data")
        problem_of(await api.client.get(f"{SLOS}?servce_name=shop"), 400, "unknown_parameter")

    async def test_slos_are_listed_in_pages(self, api: Api) -> None:
        ids = sorted([(await post(api, name=str(number)))["slo_id"] for number in range(5)])
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await api.client.get(f"{SLOS}?limit=2{cursor and f'&cursor={cursor}'}")).json()
            seen += [one["slo_id"] for one in page["items"]]
            cursor = page["cursor"]
        assert seen == ids

    async def test_fields_that_are_given_are_changed_and_others_stay(self, api: Api) -> None:
        made = await post(api, description="as it was")
        path = f"{SLOS}/{made['slo_id']}"
        changed = (await api.client.put(path, json={"target": 99.5})).json()
        assert {**changed, "updated_at": made["updated_at"]} == {**made, "target": 0.995}
        for body, where in (
            ({"slo_id": "x"}, "body.slo_id"),
            ({"created_at": "2026-01-01T00:00:00Z"}, "body.created_at"),
            ({"managed_by": "me"}, "body.managed_by"),
            ({"target": 2000}, "body.target"),
        ):
            errors = problem_of(await api.client.put(path, json=body), 422, "invalid_data")["errors"]
            assert where in {error["where"] for error in errors}
        assert (await api.client.put(path, json={**FORM, "layer": "edge"})).json()["layer"] == "edge"
        problem_of(await api.client.put(path, json=[1]), 422, "invalid_data")

    async def test_a_change_asks_for_the_etag_that_was_read(self, api: Api) -> None:
        answer = await api.client.post(SLOS, json=FORM)
        path, old = f"{SLOS}/{answer.json()['slo_id']}", answer.headers["etag"]
        first = await api.client.put(path, json={"target": 0.9}, headers={"if-match": old})
        assert first.status_code == 200
        for method in ("PUT", "DELETE"):
            again = await api.client.request(method, path, json={"target": 0.8}, headers={"if-match": old})
            problem_of(again, 412, "version_moved")
        assert (await api.client.get(path)).json()["target"] == 0.9
        assert (await api.client.delete(path, headers={**JSON, "if-match": first.headers["etag"]})).status_code == 200

    async def test_a_deleted_slo_can_be_read_and_brought_back(self, api: Api) -> None:
        made = await post(api)
        path = f"{SLOS}/{made['slo_id']}"
        gone = await api.client.delete(path, headers=JSON)
        assert (gone.status_code, gone.json()["enabled"]) == (200, False)
        assert (await api.client.get(path)).json()["enabled"] is False
        other = await post(api)  # the name is free
        problem_of(await api.client.put(path, json={"enabled": True}), 409, "slo_exists")
        await api.client.delete(f"{SLOS}/{other['slo_id']}", headers=JSON)
        assert (await api.client.put(path, json={"enabled": True})).json()["enabled"] is True

    async def test_a_name_is_unique_for_its_service(self, api: Api) -> None:
        await post(api)
        problem_of(await api.client.post(SLOS, json=FORM), 409, "slo_exists")
        await post(api, service_name="bank")
        other = await post(api, name="other")
        taken = await api.client.put(f"{SLOS}/{other['slo_id']}", json={"name": FORM["name"]})
        problem_of(taken, 409, "slo_exists")

    async def test_of_many_who_take_a_name_at_once_at_most_one_gets_it(self, api: Api) -> None:
        answers = await asyncio.gather(*(api.client.post(SLOS, json=FORM) for _ in range(8)))
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len(await names(api)) == sum(answer.status_code == 201 for answer in answers) <= 1

    async def test_there_are_so_many_slos_and_no_more(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slos, "MAX_SLOS", 2)
        one = await post(api, name="a")
        await post(api, name="b")
        problem_of(await api.client.post(SLOS, json={**FORM, "name": "c"}), 409, "too_many")
        for name in "cdef":  # deleted ones make room for each other
            await api.client.delete(f"{SLOS}/{one['slo_id']}", headers=JSON)
            one = await post(api, name=name)
        assert await names(api, "?enabled=true") == ["b", "f"]
        assert await names(api) == ["b", "e", "f"]
        assert (await api.client.put(f"{SLOS}/{one['slo_id']}", json={"target": 0.5})).status_code == 200

    async def test_an_slo_of_a_document_is_changed_by_its_document_alone(self, api: Api) -> None:
        made = await post(api)
        path = f"{SLOS}/{made['slo_id']}"
        document = {"managed_by": "SLODefinition/checkout"}
        await stored.changed_slo(api.world.ports.key_values, made["slo_id"], lambda one: one.but(**document))
        for method in ("PUT", "DELETE"):
            refused = problem_of(await api.client.request(method, path, json={}), 409, "managed_by_document")
            assert "SLODefinition/checkout" in refused["detail"]

    async def test_what_people_do_is_kept(self, api: Api) -> None:
        made = (await api.client.post(f"{SLOS}?requested_by=ada&reason=new", json=FORM)).json()
        path = f"{SLOS}/{made['slo_id']}"
        await api.client.put(f"{path}?requested_by=bob", json={"target": 0.9})
        await api.client.delete(path, headers=JSON)
        actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
        assert [(one["action"], one["target"], one["who"], one["why"]) for one in actions] == [
            ("delete_slo", made["slo_id"], "unnamed", "no reason given"),
            ("change_slo", made["slo_id"], "bob", "no reason given"),
            ("create_slo", made["slo_id"], "ada", "new"),
        ]


class TestPolicies:
    async def test_a_policy_is_made_with_its_defaults_and_shown(self, api: Api) -> None:
        answer = await api.client.post(POLICIES, json=POLICY)
        made = answer.json()
        assert (answer.status_code, made["actions"], made["trigger_threshold_percent"]) == (201, ["BLOCK_DEPLOY"], 20)
        shown = await api.client.get(f"{POLICIES}/{made['policy_id']}")
        assert (shown.json(), shown.headers["etag"]) == (made, answer.headers["etag"])
        problem_of(await api.client.get(f"{POLICIES}/nothing"), 404, "unknown_policy")
        problem_of(await api.client.post(POLICIES, json=POLICY), 409, "policy_exists")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"trigger_threshold_percent": 60},
            {"scope": "GLOBAL"},
            {"target": "*"},
            {"actions": []},
            {"actions": ["EXPLODE"]},
            {"target": "ä" * 200 + "ö"},
            {"target": "😀" * 150},
            {"name": "a\nb"},
            {"slo_selector": {"names": []}},
        ],
    )
    async def test_a_wrong_policy_is_refused(self, api: Api, wrong: dict[str, Any]) -> None:
        problem_of(await api.client.post(POLICIES, json={**POLICY, **wrong}), 422, "invalid_data")

    async def test_policies_are_listed_and_deleted_ones_only_if_asked_for(self, api: Api) -> None:
        gone = await post(api, POLICIES, POLICY)
        kept = await post(api, POLICIES, POLICY, name="other")
        deleted = await api.client.delete(f"{POLICIES}/{gone['policy_id']}", headers=JSON)
        assert (deleted.status_code, deleted.json()["enabled"]) == (200, False)

        async def ids(query: str) -> set[str]:
            return {one["policy_id"] for one in (await api.client.get(f"{POLICIES}{query}")).json()["items"]}

        assert await ids("?enabled=true") == {kept["policy_id"]}
        assert await ids("?enabled=false") == {gone["policy_id"]}
        assert await ids("") == {kept["policy_id"], gone["policy_id"]}
        assert (await api.client.put(f"{POLICIES}/{gone['policy_id']}", json={"enabled": True})).status_code == 200

    async def test_a_changed_policy_has_to_be_one(self, api: Api) -> None:
        made = await post(api, POLICIES, POLICY)
        path = f"{POLICIES}/{made['policy_id']}"
        changed = await api.client.put(path, json={"trigger_threshold_percent": 30})
        assert changed.json()["trigger_threshold_percent"] == 30
        problem_of(await api.client.put(path, json={"trigger_threshold_percent": 51}), 422, "invalid_data")
        problem_of(await api.client.put(path, json={}, headers={"if-match": '"old"'}), 412, "version_moved")
        assert (await api.client.get(path)).json() == changed.json()

    async def test_there_are_so_many_policies_and_no_more(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(freeze_policies, "MAX_POLICIES", 1)
        await post(api, POLICIES, POLICY)
        problem_of(await api.client.post(POLICIES, json={**POLICY, "name": "b"}), 409, "too_many")


RULES = """
groups:
- name: shop
  rules:
  - alert: CheckoutLatency
    expr: histogram_quantile(0.95, rate(x_bucket[5m])) > 0.2
    labels: {service: shop}
  - alert: CheckoutErrors
    expr: sum(rate(errors[5m])) / sum(rate(all[5m])) > 0.01
    labels: {service: shop}
  - alert: CheckoutAvailability
    expr: avg(up{job="shop"}) < 0.99
    labels: {service: shop}
  - record: shop:all
    expr: sum(rate(all[5m]))
"""


class TestImport:
    async def test_three_alerts_are_three_slos_with_the_types_that_their_names_say(self, api: Api) -> None:
        tried = await api.client.post(f"{SLOS}/import/alerts", json={"rules": RULES, "dry_run": True})
        assert (tried.status_code, len(tried.json()["items"]), await names(api)) == (201, 3, [])
        answer = await api.client.post(f"{SLOS}/import/alerts?requested_by=ada", json={"rules": RULES})
        assert (answer.status_code, answer.json()["skipped"]) == (201, [])
        assert {(one["name"], one["slo_type"], one["target"]) for one in answer.json()["items"]} == {
            ("CheckoutLatency", "LATENCY", 0.999),
            ("CheckoutErrors", "ERROR_RATE", 0.999),
            ("CheckoutAvailability", "AVAILABILITY", 0.999),
        }
        again = (await api.client.post(f"{SLOS}/import/alerts", json={"rules": RULES})).json()
        assert (len(again["skipped"]), again["items"], len(await names(api))) == (3, [], 3)

    @pytest.mark.parametrize("rules", ["", "- {", "groups: 7", "&a [*a, *a]", "\u0000", "groups: []"])
    async def test_what_is_no_file_of_rules_is_refused(self, api: Api, rules: str) -> None:
        answer = await api.client.post(f"{SLOS}/import/alerts", json={"rules": rules})
        assert answer.status_code == 422, answer.text
        assert await names(api) == []
