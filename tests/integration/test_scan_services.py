"""Scans by services, each a contract server: SonarQube, Snyk, OPA; pages, limits, refusals, late and wrong answers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._executors.scan import ScanExecutor
from functions._executors.scanners import sonarqube as sonarqube_scanner
from functions._executors.services import ANSWER_BYTES
from functions._executors.settings import ExecutorSettings
from tests.support import snyk, sonarqube
from tests.support.loopback import Answer, Loopback
from tests.support.opa import OpaContractServer
from tests.support.scans import ScanDesk
from tests.support.snyk import ORGANIZATION, PROJECT, SnykContractServer
from tests.support.sonarqube import SonarQubeContractServer, condition

SONAR: dict[str, Any] = {"tool": "sonarqube", "project": "shop"}
SNYK: dict[str, Any] = {"tool": "snyk", "project": PROJECT, "organization": ORGANIZATION}
DEPLOY: dict[str, Any] = {"name": "deploy", "path": "acme/deploy/deny"}
LIMITED = Answer(429, b"{}", {"retry-after": "0"})
GARBAGE = [b"", b"<html>", b"[]", b"7", b'{"data": 7, "projectStatus": 7}', b"{}"]


@pytest.fixture
async def sonar() -> AsyncIterator[SonarQubeContractServer]:
    async with SonarQubeContractServer() as server:
        yield server


@pytest.fixture
async def snyk_server() -> AsyncIterator[SnykContractServer]:
    async with SnykContractServer() as server:
        yield server


@pytest.fixture
async def opa() -> AsyncIterator[OpaContractServer]:
    async with OpaContractServer() as server:
        server.policies["a"] = "package acme.deploy\nimport rego.v1\ndeny contains input.why if input.why\n"
        yield server


@pytest.fixture
def desk(tmp_path: Path) -> ScanDesk:
    return ScanDesk(tmp_path)


def asking(desk: ScanDesk, name: str, server: Loopback, token: str = "") -> ScanDesk:
    return ScanDesk(desk.folder, **{f"WORKER_{name}_URL": f"{server.url}/", f"WORKER_{name}_TOKEN": token})


class TestSonarQube:
    @pytest.fixture
    def desk(self, tmp_path: Path, sonar: SonarQubeContractServer) -> ScanDesk:
        return asking(ScanDesk(tmp_path), "SONARQUBE", sonar, sonarqube.TOKEN)

    async def test_the_quality_gate_is_read(self, desk: ScanDesk, sonar: SonarQubeContractServer) -> None:
        output = await desk.run({"tools": [SONAR]})
        assert (output["total"], output["tools"][0]["denied"], output["score"]) == (0, False, 1.0)
        sonar.gate = {"status": "ERROR", "conditions": [condition("new_coverage"), condition("bugs", status="OK")]}
        failed = await desk.failure({"tools": [SONAR], "fail_on": "CRITICAL"})
        assert (failed.kind, failed.retryable) == ("findings", False)
        said = "denied by sonarqube: HIGH sonarqube quality_gate:new_coverage new_coverage is 63.1"
        assert failed.message == f"{said}, the quality gate has 80"

    async def test_issues_of_all_pages_are_findings(self, desk: ScanDesk, sonar: SonarQubeContractServer) -> None:
        severities = {"BLOCKER": "CRITICAL", "CRITICAL": "HIGH", "MAJOR": "MEDIUM", "MINOR": "LOW", "INFO": "INFO"}
        sonar.issues = [sonarqube.issue("python:S2", name) for name in severities] + [sonarqube.issue()] * 1_200
        failed = await desk.failure({"tools": [{**SONAR, "branch": "next"}]})
        assert failed.message.startswith("2 findings at or above HIGH: CRITICAL sonarqube python:S2 src/a.py:7 of")
        assert "sonarqube: 1 CRITICAL, 1 HIGH, 1201 MEDIUM, 1 LOW, 1 INFO" in desk.log
        pages = [one.query for one in sonar.requests if one.path == "/api/issues/search"]
        assert [page["p"] for page in pages] == ["1", "2", "3"]
        assert {page["branch"] for page in pages} == {"next"}
        assert (pages[0]["components"], pages[0]["resolved"]) == ("shop", "false")

    async def test_of_more_issues_than_the_server_gives_people_are_told(
        self, desk: ScanDesk, sonar: SonarQubeContractServer
    ) -> None:
        sonar.issues = [sonarqube.issue(severity="INFO")] * 10_700
        output = await desk.run({"tools": [SONAR]})
        assert output["total"] == 10_000
        assert output["tools"][0]["reason"] == "there are 10700 issues, of which 10000 are told"

    async def test_old_issues_may_be_left_alone(self, desk: ScanDesk, sonar: SonarQubeContractServer) -> None:
        sonar.issues = [sonarqube.issue(severity="BLOCKER"), sonarqube.issue(severity="MINOR", new=True)]
        output = await desk.run({"tools": [{**SONAR, "new_code": True}]})
        assert output["counts"] == {"LOW": 1}

    async def test_the_analysis_of_a_commit_is_waited_for(
        self, desk: ScanDesk, sonar: SonarQubeContractServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sonarqube_scanner, "NEW_ANALYSIS_SECONDS", 0.01)
        sonar.hidden = 3
        sonar.analyses = [{"key": "A-2", "revision": "newer"}, {"key": "A-1", "revision": "abc"}]
        sonar.gates = {"A-1": {"status": "ERROR"}, "A-2": {"status": "OK"}}
        failed = await desk.failure({"tools": [{**SONAR, "revision": "abc"}]})
        assert failed.message.endswith("HIGH sonarqube quality_gate the quality gate has failed")
        never = {**SONAR, "revision": "none", "timeout_seconds": 1}
        failed = await desk.failure({"tools": [never]})
        assert (failed.kind, failed.message, failed.retryable) == (
            "tool_failed",
            "sonarqube: it did not end within 1 s",
            True,
        )

    async def test_a_project_without_an_analysis_or_that_is_not_there_does_not_pass(
        self, desk: ScanDesk, sonar: SonarQubeContractServer
    ) -> None:
        sonar.gate = {"status": "NONE"}
        assert "no analysis" in (await desk.failure({"tools": [SONAR]})).message
        failed = await desk.failure({"tools": [{**SONAR, "project": "other"}]})
        assert (failed.kind, failed.retryable) == ("tool_failed", False)
        assert failed.message == "sonarqube: 127.0.0.1 answered 404 to GET"

    async def test_a_wrong_token_fails_the_task_and_none_is_repeated(
        self, tmp_path: Path, sonar: SonarQubeContractServer
    ) -> None:
        failed = await asking(ScanDesk(tmp_path), "SONARQUBE", sonar, "wrong-token-x").failure({"tools": [SONAR]})
        assert (failed.kind, failed.retryable) == ("tool_failed", False)
        assert "wrong-token-x" not in failed.message
        assert len(sonar.requests) == 1

    async def test_limits_and_outages_are_waited_out_three_times(
        self, desk: ScanDesk, sonar: SonarQubeContractServer
    ) -> None:
        sonar.faults.extend([LIMITED, Answer(503)])
        assert (await desk.run({"tools": [SONAR]}))["total"] == 0
        sonar.faults.extend([Answer(502)] * 3)
        failed = await desk.failure({"tools": [SONAR]})
        assert (failed.kind, failed.message, failed.retryable) == (
            "tool_failed",
            "sonarqube: 127.0.0.1 answered 502 to GET",
            True,
        )
        sonar.faults.append(Answer(429, b"", {"retry-after": "86400"}))
        assert (await desk.failure({"tools": [SONAR]})).retryable

    @pytest.mark.parametrize("body", [*GARBAGE, b'{"projectStatus": {"status": "GREEN"}}', b"x" * (ANSWER_BYTES + 1)])
    async def test_an_answer_that_makes_no_sense_does_not_pass(
        self, desk: ScanDesk, sonar: SonarQubeContractServer, body: bytes
    ) -> None:
        sonar.faults.extend([Answer(200, body)] * 4)
        assert (await desk.failure({"tools": [SONAR]})).kind == "tool_failed"

    async def test_a_name_of_a_plan_is_one_value_of_a_query(
        self, desk: ScanDesk, sonar: SonarQubeContractServer
    ) -> None:
        await desk.failure({"tools": [{**SONAR, "project": "shop&projectKey=other#"}]})
        assert sonar.requests[0].query == {"projectKey": "shop&projectKey=other#"}

    async def test_without_a_server_it_is_not_run(self, tmp_path: Path) -> None:
        output = await ScanDesk(tmp_path).run({"tools": [SONAR, SNYK]})
        assert output["not_run"] == ["sonarqube", "snyk"]
        assert "WORKER_SONARQUBE_URL" in output["tools"][0]["reason"]
        assert "WORKER_SNYK_TOKEN" in output["tools"][1]["reason"]


class TestSnyk:
    @pytest.fixture
    def desk(self, tmp_path: Path, snyk_server: SnykContractServer) -> ScanDesk:
        return asking(ScanDesk(tmp_path), "SNYK", snyk_server, snyk.TOKEN)

    async def test_issues_of_all_pages_are_findings(self, desk: ScanDesk, snyk_server: SnykContractServer) -> None:
        place = {"sourceLocation": {"file": "src/app.py", "region": {"start": {"line": 9, "column": 1}}}}
        snyk_server.issues = [
            snyk.issue("SNYK-PY-1", "critical"),
            snyk.issue("python/Sqli", "medium", type="code", coordinates=[{"representations": [place]}]),
            *(snyk.issue(f"SNYK-PY-{n}", "low") for n in range(250)),
        ]
        failed = await desk.failure({"tools": [SNYK], "fail_on": "MEDIUM"})
        assert failed.message == (
            "2 findings at or above MEDIUM: CRITICAL snyk SNYK-PY-1 title of SNYK-PY-1 in requests 2.0.0; "
            "MEDIUM snyk python/Sqli src/app.py:9 title of python/Sqli"
        )
        assert "snyk: 1 CRITICAL, 1 MEDIUM, 250 LOW" in desk.log
        pages = [one.query for one in snyk_server.requests if one.path.endswith("/issues")]
        assert [page.get("starting_after") for page in pages] == [None, "100", "200"]
        assert {(page["status"], page["ignored"]) for page in pages} == {("open", "false")}

    async def test_a_project_that_is_not_there_does_not_pass(
        self, desk: ScanDesk, snyk_server: SnykContractServer
    ) -> None:
        failed = await desk.failure({"tools": [{**SNYK, "project": ORGANIZATION}]})
        assert (failed.kind, failed.retryable) == ("tool_failed", False)
        assert snyk_server.requests[-1].path.endswith(f"/projects/{ORGANIZATION}")

    async def test_links_lead_to_no_other_server_and_not_round_in_a_circle(
        self, desk: ScanDesk, snyk_server: SnykContractServer
    ) -> None:
        snyk_server.issues = [snyk.issue(f"S-{n}", "low") for n in range(150)]
        async with Loopback() as other:
            snyk_server.elsewhere = other.url
            assert (await desk.run({"tools": [SNYK]}))["total"] == 150
            assert other.requests == []
        snyk_server.circle = True
        assert "circle" in (await desk.failure({"tools": [SNYK]})).message

    async def test_ids_of_a_plan_are_parts_of_a_path(self, desk: ScanDesk, snyk_server: SnykContractServer) -> None:
        await desk.failure({"tools": [{**SNYK, "organization": "../../v1/user", "project": ".."}]})
        assert snyk_server.requests[0].path in {
            "/rest/orgs/../../v1/user/projects/..",
            "/rest/orgs/..%2F..%2Fv1%2Fuser/projects/%2E%2E",
        }
        assert len(snyk_server.requests) == 1

    @pytest.mark.parametrize("body", [*GARBAGE, b'{"data": [], "links": {"next": "/x?y=1"}}'])
    async def test_an_answer_that_makes_no_sense_does_not_pass(
        self, desk: ScanDesk, snyk_server: SnykContractServer, body: bytes
    ) -> None:
        good = Answer(200, b'{"data": {}}')
        snyk_server.faults.extend([good, *[Answer(200, body)] * 4])
        assert (await desk.failure({"tools": [SNYK]})).kind == "tool_failed"

    async def test_limits_are_waited_out_and_a_wrong_token_is_final(
        self, desk: ScanDesk, snyk_server: SnykContractServer
    ) -> None:
        snyk_server.faults.extend([LIMITED, LIMITED])
        assert (await desk.run({"tools": [SNYK]}))["total"] == 0
        snyk_server.faults.append(Answer(403, b"{}"))
        assert not (await desk.failure({"tools": [SNYK]})).retryable


class TestOpaServer:
    @pytest.fixture
    def desk(self, tmp_path: Path, opa: OpaContractServer) -> ScanDesk:
        return asking(ScanDesk(tmp_path), "OPA", opa)

    async def test_a_policy_of_the_server_denies_with_its_reasons(self, desk: ScanDesk, opa: OpaContractServer) -> None:
        given = {"policies": [DEPLOY], "fail_on": "CRITICAL"}
        failed = await desk.failure({**given, "input": {"why": "it is Friday"}})
        assert (failed.kind, failed.retryable) == ("findings", False)
        assert failed.message == "denied by opa: HIGH opa deploy it is Friday"
        assert (await desk.run({**given, "input": {}}))["total"] == 0
        await desk.run({**given, "target": {"files": {"a.yaml": "x: 1", "b.json": "{"}}})
        assert opa.asked[-1] == {
            "files": {"a.yaml": {"x": 1}},
            "unread": ["b.json"],
            "texts": {"b.json": ["{"]},
            "paths": ["a.yaml", "b.json"],
            "dockerfiles": {},
        }

    async def test_nothing_passes_by_a_policy_that_is_not_there_or_a_server_that_is_away(
        self, desk: ScanDesk, opa: OpaContractServer
    ) -> None:
        failed = await desk.failure({"policies": [{"name": "a", "path": "acme/none"}], "input": {}})
        assert "gives no result: is its path right?" in failed.message
        opa.down = True
        failed = await desk.failure({"policies": [DEPLOY], "input": {}})
        assert (failed.kind, failed.retryable) == ("tool_failed", True)

    async def test_without_a_server_the_task_fails(self, tmp_path: Path) -> None:
        failed = await ScanDesk(tmp_path).failure({"policies": [DEPLOY], "input": {}})
        assert failed.kind == "tool_missing"
        assert "WORKER_OPA_URL" in failed.message


async def test_doctor_asks_services_with_their_credentials(
    sonar: SonarQubeContractServer, snyk_server: SnykContractServer, opa: OpaContractServer
) -> None:
    environment = {
        "WORKER_SONARQUBE_URL": sonar.url,
        "WORKER_SONARQUBE_TOKEN": "wrong-token-x",
        "WORKER_SNYK_URL": snyk_server.url,
        "WORKER_SNYK_TOKEN": snyk.TOKEN,
        "WORKER_OPA_URL": opa.url,
    }
    executor = ScanExecutor(ExecutorSettings.model_validate({"sandbox": "off", "environment": environment}))
    checks = {check.name: check for check in await executor.check()}
    await executor.aclose()
    assert (checks["sonarqube"].ok, checks["sonarqube"].detail) == (False, f"{sonar.url}: token refused")
    assert checks["snyk"].ok
    assert not checks["opa"].ok  # the contract server has no health
    assert not any("wrong-token-x" in check.detail for check in checks.values())


@pytest.mark.parametrize("url", ["ftp://x", "http://a:b@c/", "http://x/?a=1", "nonsense"])
def test_an_address_that_is_none_is_told_when_the_worker_starts(url: str) -> None:
    with pytest.raises(ValueError, match="WORKER_SONARQUBE_URL"):
        ScanExecutor(ExecutorSettings.model_validate({"environment": {"WORKER_SONARQUBE_URL": url}}))
