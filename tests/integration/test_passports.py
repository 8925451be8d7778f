"""Passports over HTTP and at the command line: made by each store, checked without the platform."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key
from pydantic import SecretStr

from functions._adapters.stores import Stores
from functions._core.passport.envelope import checked
from functions._core.passport.seal import hash_of
from functions._engine.passport_key import passport_key
from functions._engine.settings import Settings
from functions.api.services import ApiServices, PassportSigner
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api
from tests.support.ordering import silent
from tests.support.processes import running_platform
from tests.support.world import decision, task


def flowc(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "functions", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


async def passport_of(api: Api, flow_id: str) -> tuple[bytes, Any]:
    """Return a passport and the public key."""
    answer = await api.client.get(f"/api/v1/flows/{flow_id}/passport")
    assert answer.status_code == 200, answer.text
    public = await api.get("/api/v1/passport-key")
    return answer.content, load_pem_public_key(public["pem"].encode())


def believed(file: bytes, key: Any) -> dict[str, Any]:
    """Return what a passport says that an Ed25519 key has signed."""

    def verify(data: bytes, signature: bytes) -> bool:
        key.verify(signature, data)
        return True

    return dict(checked(file, verify).predicate)


class PassportsSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            await running.world.register()
            running.world.workers.behave = lambda given: {"status": "COMPLETED", "output": {"of": given["task_id"]}}
            yield running

    async def test_a_passport_says_who_did_what(self, api: Api) -> None:
        flow_id = await api.world.submit(decision(task("a"), task("b", "a"), final_decision="review_required"))
        await api.world.reached(flow_id, "AWAITING_APPROVAL")
        given = {"requested_by": "ada", "reason": "as ordered"}
        await api.client.post(f"/api/v1/flows/{flow_id}/approve", json=given)
        await api.world.ended(flow_id)
        said = believed(*await passport_of(api, flow_id))
        tickets = await api.world.tickets(flow_id)
        assert (said["flow"]["outcome"], said["sla"]["kept"]) == ("COMPLETED", True)
        assert [(act["action"], act["who"], act["why"]) for act in said["approvals"]] == [
            ("approve_flow", "ada", "as ordered")
        ]
        shown = {ticket["task_id"]: ticket for ticket in said["tickets"]}
        assert shown.keys() == {"a", "b"}
        for name, ticket in shown.items():
            assert (ticket["worker_id"], ticket["status"], ticket["attempt"]) == ("w1", "COMPLETED", 1)
            assert [one["worker_id"] for one in ticket["eligible"]] == ["w1"]
            assert ticket["output_sha256"] == hash_of(tickets[name].output)
        assert [line["type"] for line in said["history"]] == [line["type"] for line in await api.world.history(flow_id)]

    async def test_before_the_end_and_of_a_flow_that_is_not_there_is_none(self, api: Api) -> None:
        flow_id = await api.world.submit(decision(task("a"), final_decision="review_required"))
        problem_of(await api.client.get(f"/api/v1/flows/{flow_id}/passport"), 409, "not_ended")
        problem_of(await api.client.get("/api/v1/flows/nobody/passport"), 404, "unknown_flow")

    async def test_a_flow_that_goes_on_while_it_is_read_has_none(self, api: Api) -> None:
        refused = {"type": "Broken", "message": "no", "retryable": False}
        api.world.workers.behave = lambda _given: {"status": "FAILED", "error": refused}
        flow_id = await api.world.submit(decision(task("a")))
        await api.world.ended(flow_id)
        api.world.workers.behave = silent
        loop = asyncio.get_running_loop()
        services: ApiServices = api.app.state.services

        def key_after_a_redrive() -> PassportSigner | None:
            redrive = api.client.post(f"/api/v1/flows/{flow_id}/redrive", json={})
            asyncio.run_coroutine_threadsafe(redrive, loop).result().raise_for_status()
            return services.passport_key()

        api.app.state.services = replace(services, passport_key=key_after_a_redrive)
        problem_of(await api.client.get(f"/api/v1/flows/{flow_id}/passport"), 409, "not_ended")


class TestMemory(OnMemory, PassportsSuite):
    pass


class TestSqlite(OnSqlite, PassportsSuite):
    pass


class TestPostgres(OnPostgres, PassportsSuite):
    pass


class TestDynamo(OnDynamo, PassportsSuite):
    pass


async def test_a_flow_of_a_thousand_tickets_has_one_within_moments(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        await api.world.register(slots=1000)
        flow_id = await api.world.submit(decision(*(task(f"t-{n}") for n in range(1000))))
        await api.world.ended(flow_id)
        begun = time.process_time()
        file, key = await passport_of(api, flow_id)
        made = time.process_time() - begun
        assert len(believed(file, key)["tickets"]) == 1000
        sys.stdout.write(f"1,000 tickets: {made:.2f} s CPU, {len(file)} bytes")


async def test_without_a_key_there_is_no_passport_and_the_answer_says_what_to_set(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.app.state.services = replace(api.app.state.services, passport_key=lambda: None)
        problem = problem_of(await api.client.get("/api/v1/passport-key"), 409, "no_signing_key")
    assert "FLOWC_TOKEN_KEYS" in problem["detail"]


def test_the_key_is_that_of_the_settings_or_a_file_of_this_machine(tmp_path: Path) -> None:
    first = passport_key(Settings(data=tmp_path))
    again = passport_key(Settings(data=tmp_path))
    assert first is not None
    assert again is not None
    assert (first.keyid, (tmp_path / "passport.pem").stat().st_mode & 0o777) == (again.keyid, 0o600)
    assert passport_key(Settings(data=tmp_path, table="flows")) is None
    private = ec.generate_private_key(ec.SECP256R1())
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = SecretStr(private.private_bytes(*form).decode())
    named = passport_key(Settings(data=tmp_path, table="flows", token_keys=pem))
    assert named is not None
    assert named.algorithm == "ES256"
    private.public_key().verify(named.sign(b"said"), b"said", ec.ECDSA(SHA256()))
    assert load_pem_public_key(named.public_pem.encode()) == private.public_key()


async def test_a_passport_is_checked_at_the_command_line_without_the_platform(tmp_path: Path) -> None:
    async with running_platform(tmp_path) as platform:
        platform.hire("w1", "--simulate", "1000", "--capability", "python")
        flow_id = await platform.submit(decision(task("a"), task("b", "a")))
        await platform.ended(flow_id)
        made = flowc("passport", flow_id, "--key", "key.pem", folder=tmp_path, FLOWC_URL=platform.url)
        asked = flowc("verify", f"{flow_id}.passport.json", folder=tmp_path, FLOWC_URL=platform.url)
    assert (made.returncode, asked.returncode) == (0, 0), made.stderr + asked.stderr
    file = tmp_path / f"{flow_id}.passport.json"
    alone = flowc("verify", str(file), "--key", "key.pem", folder=tmp_path)
    assert (alone.returncode, alone.stdout.splitlines()[0]) == (0, "intact; signed by the key in key.pem")
    assert "b COMPLETED by w1, attempt 1" in alone.stdout
    file.write_bytes(file.read_bytes().replace(b"A", b"B", 1))
    changed = flowc("verify", str(file), "--key", "key.pem", folder=tmp_path)
    assert (changed.returncode, changed.stdout) == (1, "")
    assert changed.stderr.startswith(f"flowc: {file}: ")
    as_json = flowc("verify", str(file), "--key", "key.pem", "--json", folder=tmp_path)
    assert json.loads(as_json.stdout)["intact"] is False
    nobody = flowc("verify", str(file), "--key", "none.pem", folder=tmp_path)
    assert nobody.returncode == 1
    assert "cannot be read" in nobody.stderr
