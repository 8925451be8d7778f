"""Attacks on the doors of tickets, identity and webhooks: each is refused, nothing is lost, and none keeps the loop.

The platform is that of one machine, with SQLite and HTTP on a port; attackers are in threads of their own, so that the
turns of the event loop are those of the platform alone.
"""

import asyncio
import hmac
import json
import socket
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from functions._core.webhooks.filters import MAX_FILTERS
from functions._core.webhooks.subscription import MAX_SUBSCRIPTIONS
from functions.api.roles import ROLES
from tests.support.one_machine import OneMachine, one_machine
from tests.support.turns import Turns, measured_turns
from tests.support.webhook_receiver import WebhookReceiver

LONGEST_SECONDS = 0.05
"""CPU of the event loop that no attack may take at a time, where a piece of work takes `WORK_SECONDS`."""

WORK_SECONDS = 0.02
"""CPU of `work_seconds` on a quiet machine; a slow or busy one takes longer for everything."""


def work_seconds() -> float:
    """Return the CPU that a fixed piece of work takes now."""
    begun = time.thread_time()
    for number in range(1_000):
        record = {f"field_{place}": f"{number}:{place}" for place in range(20)}
        assert json.loads(json.dumps(record)) == record
    return time.thread_time() - begun


KEY, PIPELINE, WORKER_KEY = "the-key-of-the-first-administrator", "the-secret-of-all-pipelines", "5ec" + "0" * 61
PEM = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ENVIRONMENT = {
    "FLOWC_API_KEY": KEY,
    "FLOWC_WEBHOOK_SECRET": PIPELINE,
    "FLOWC_WORKER_KEY": WORKER_KEY,
    "FLOWC_TOKEN_KEYS": PEM,
}
TICKETS, SUBSCRIPTIONS, KEYS = "/api/v1/tickets", "/api/v1/subscriptions", "/api/v1/keys"
PIPELINES = "/api/v1/webhooks/pipeline-completed"
NEW = {"plan_id": "p", "task_type": "BUILD", "required_capabilities": ["nobody-offers-this"]}
JSON = {"content-type": "application/json"}


@dataclass
class Target:
    """A platform under attack; `longest` has the CPU of the longest turn of its loop by attack, in seconds."""

    at: OneMachine
    client: httpx.Client
    turns: Turns
    longest: dict[str, float]

    async def send(self, attack: str, method: str, path: str, *, key: str | None = KEY, **given: Any) -> httpx.Response:
        """Send a request from a thread of its own."""
        headers = {**({"x-api-key": key} if key else {}), **JSON, **given.pop("headers", {})}
        self.turns.longest = 0.0
        answer = await asyncio.to_thread(self.client.request, method, path, headers=headers, **given)
        self.longest[attack] = max(self.longest.get(attack, 0.0), self.turns.longest)
        return answer

    async def ticket(self, ticket_id: str, *, claimed_by: str | None = None) -> str:
        answer = await self.send("create", "POST", TICKETS, json={**NEW, "ticket_id": ticket_id})
        assert answer.status_code == 201, answer.text
        path = f"{TICKETS}/{ticket_id}"
        if claimed_by is not None:
            claim = {"status": "RUNNING", "worker_id": claimed_by}
            assert (await self.send("claim", "PATCH", f"{path}/status", json=claim)).status_code == 200
        return path

    def check(self) -> None:
        """No turn was long."""
        limit = LONGEST_SECONDS * max(1.0, work_seconds() / WORK_SECONDS)
        assert {attack: took for attack, took in self.longest.items() if took >= limit} == {}


@asynccontextmanager
async def attacked(folder: Path, limits: str = "off", **environment: str) -> AsyncIterator[Target]:
    settings = {**ENVIRONMENT, "FLOWC_RATE_LIMITS": limits, **environment}
    async with one_machine(folder, settings) as at:
        with httpx.Client(base_url=at.url, trust_env=False, timeout=60) as client:
            for path in ("/health", "/metrics"):  # what is only done once is no attack
                await asyncio.to_thread(client.get, path, headers={"x-api-key": KEY})
            with measured_turns() as turns:
                target = Target(at, client, turns, {})
                yield target
    target.check()


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(genuine: str) -> Mapping[str, str]:
    """Return tokens that are none, made of a genuine one."""
    head, payload, signature = genuine.split(".")
    kid = json.loads(_decoded(head))["kid"]
    claims = json.loads(_decoded(payload))
    mac = urlsafe_b64encode(hmac.digest(kid.encode(), f"{head}.{payload}".encode(), "sha256")).rstrip(b"=").decode()
    return {
        "none": f"{part({'alg': 'none'})}.{payload}.",
        "none of the key": f"{part({'alg': 'none', 'kid': kid, 'typ': 'JWT'})}.{payload}.{signature}",
        "HS256 by what is public": f"{part({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{payload}.{mac}",
        "a type that is no text": f"{part({'alg': 'EdDSA', 'kid': kid, 'typ': []})}.{payload}.{signature}",
        "an unknown key": f"{part({'alg': 'EdDSA', 'kid': 'x', 'typ': 'JWT'})}.{payload}.{signature}",
        "an hour more": f"{head}.{part({**claims, 'exp': claims['exp'] + 3600})}.{signature}",
        "another ticket": f"{head}.{part({**claims, 'ticket_id': 't-2'})}.{signature}",
        "another audience": f"{head}.{part({**claims, 'aud': 'somebody-else'})}.{signature}",
        "deep": f"{part(b'[' * 6_000)}.{payload}.{signature}",
        "long": f"{head}.{part(b'x' * 11_000)}.{signature}",
    }


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


async def test_no_forged_token_opens_anything(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        path = await target.ticket("t-1", claimed_by="w1")
        token = (await target.send("token", "GET", f"{path}/token")).json()["access_token"]
        doors = [
            ("GET", path),
            ("PATCH", f"{path}/status"),
            ("POST", "/api/v1/flows/x/reports"),
            ("GET", f"{path}/token"),
            ("POST", "/"),
        ]
        for name, wrong in forged(token).items():
            for method, door in doors:
                answer = await target.send(
                    name,
                    method,
                    door,
                    key=None,
                    headers={"authorization": f"Bearer {wrong}"},
                    **({} if method == "GET" else {"json": {"status": "COMPLETED", "attempt": 1}}),
                )
                assert (answer.status_code, answer.json()["status"]) == (401, 401), (name, door, answer.text)
        assert (await target.send("look", "GET", path)).json()["status"] == "RUNNING"


async def test_the_token_of_one_ticket_opens_no_route_but_those_of_its_ticket(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        mine = await target.ticket("t-1", claimed_by="w1")
        other = await target.ticket("t-2", claimed_by="w1")
        token = (await target.send("token", "GET", f"{mine}/token")).json()["access_token"]
        names = {"ticket_id": "t-2", "flow_id": (await target.send("look", "GET", other)).json()["flow_id"]}
        for route, needed in ROLES.items():
            method, _, door = route.partition(" ")
            if not needed:
                continue
            for name in ("ticket_id", "flow_id", "workflow_id"):
                door = door.replace(f"{{{name}}}", names.get(name, "x"))
            given: dict[str, Any] = (
                {} if method in {"GET", "DELETE"} else {"json": {"status": "COMPLETED", "attempt": 1}}
            )
            answer = await target.send(
                "foreign", method, door, key=None, headers={"authorization": f"Bearer {token}"}, **given
            )
            assert answer.status_code == 403, (route, answer.text)
        report = {"ticket_id": "t-2", "attempt": 1, "status": "COMPLETED"}
        bearer = {"authorization": f"Bearer {token}"}
        flow = f"/api/v1/flows/{names['flow_id']}/reports"
        assert (await target.send("foreign", "POST", flow, key=None, headers=bearer, json=report)).status_code == 403
        assert (await target.send("look", "GET", other)).json()["status"] == "RUNNING"


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
BODIES: Mapping[str, bytes] = {
    "deep": DEEP,
    "deep list": b"[" * 200_000,
    "many values": b"[" + b"[]," * 300_000 + b"[]]",
    "many keys": b"{" + b",".join(b'"%d":0' % number for number in range(80_000)) + b"}",
    "long number": b'{"plan_id":' + b"9" * 900_000 + b"}",
    "long text": b'{"plan_id":"' + b"x" * 900_000 + b'"}',
    "same key": b'{"plan_id":"p","task_type":"BUILD","parameters":{' + b'"a":1,' * 100_000 + b'"a":1}}',
    "too large": b'{"plan_id":"' + b"x" * 20_000_000 + b'"}',
    "many faults": b'{"plan_id":"p","task_type":"BUILD","required_capabilities":[' + b"0," * 400_000 + b"0]}",
    "many roles": b'{"name":"x","roles":[' + b"0," * 400_000 + b"0]}",
    "garbage": b"\x00\xff" * 100_000,
}


async def test_no_body_keeps_the_loop_or_makes_anything(tmp_path: Path) -> None:
    """Whoever sends them is an administrator, and has signed them for the pipelines."""
    async with attacked(tmp_path) as target:
        path = await target.ticket("t-1", claimed_by="w1")
        doors = [
            ("POST", TICKETS, {}),
            ("POST", TICKETS, {"content-type": "application/avro"}),
            ("PATCH", f"{path}/status", {}),
            ("POST", f"{path}/retry", {}),
            ("POST", KEYS, {}),
            ("POST", SUBSCRIPTIONS, {}),
            ("POST", PIPELINES, {}),
        ]
        for name, body in BODIES.items():
            signature = f"sha256={hmac.new(PIPELINE.encode(), body, sha256).hexdigest()}"
            for method, door, headers in doors:
                given = {"x-webhook-signature": signature, **headers}
                try:
                    answer = await target.send(f"{name} at {door}", method, door, headers=given, content=body)
                except httpx.WriteError:  # it was refused before all of it was sent
                    continue
                known = name == "same key" and door == TICKETS and answer.status_code == 201
                assert known or 400 <= answer.status_code < 500, (name, door, answer.text)
        assert (await target.send("look", "GET", path)).json()["status"] == "RUNNING"
        assert (await target.send("look", "GET", KEYS)).json()["items"] == []
        assert (await target.send("look", "GET", SUBSCRIPTIONS)).json()["items"] == []


async def test_bodies_that_never_end_keep_nobody_waiting(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        host, port = target.client.base_url.host, target.client.base_url.port or 0
        lines = f"POST {PIPELINES} HTTP/1.1\r\nhost: x\r\nx-webhook-signature: sha256=0\r\n"
        lines += "content-type: application/json\r\n"
        slow = [socket.create_connection((host, port)) for _ in range(100)]
        for one in slow:
            one.sendall(f"{lines}content-length: 200000\r\n\r\n".encode() + b"x" * 100_000)
        begun = time.perf_counter()
        assert (await target.send("slow", "GET", "/health", key=None)).status_code == 200
        assert time.perf_counter() - begun < 5
        for one in slow:
            one.close()


HOSTS = """
127.0.0.1, 127.1, 0, 0.0.0.0, 2130706433, 0x7f000001, 0x7f.1, 0177.0.0.1, 127.0.0.1., 127。0。0。1, ①②⑦.⓪.⓪.①,
localhost, LOCALHOST, localhost., a.localhost, ⓛocalhost, [::1], [::], [::ffff:127.0.0.1], [::ffff:7f00:1], [::1,
[::127.0.0.1], [::ffff:0:127.0.0.1], [2002:7f00:1::], [64:ff9b::7f00:1], [64:ff9b:1::7f00:1], [fe80::1],
[0:0:0:0:0:ffff:7f00:0001], [fe80::1%25lo], 169.254.169.254, 0xa9fea9fe, [::ffff:a9fe:a9fe],
metadata.google.internal, x@127.0.0.1, 127.0.0.1#@example.com, a.example@[::1], 127.0.0.1%00.example.com,
127.0.0.1 example.com, 127.0.0.1\r\nx: y
"""


@pytest.mark.parametrize("network", ["public", "private,public"])
async def test_no_notation_of_an_address_gets_it_called(tmp_path: Path, network: str) -> None:
    async with WebhookReceiver() as receiver, attacked(tmp_path, FLOWC_WORKER_NETWORKS=network) as target:
        for host in map(str.strip, HOSTS.split(",")):
            for sink in (f"http://{host}:{receiver.port}/x", f"http://{host}/x"):
                form = {"sink": sink, "protocolsettings": {"handshake": True}}
                answer = await target.send("sink", "POST", SUBSCRIPTIONS, json=form)
                assert answer.status_code in {400, 403, 422}, (sink, answer.text)
                worker = {"worker_id": "w1", "endpoint": sink, "capabilities": ["python"]}
                answer = await target.send("endpoint", "POST", "/api/v1/workers", json=worker)
                assert answer.status_code in {400, 403, 422}, (sink, answer.text)
        for scheme in (
            "file:///etc/passwd",
            "gopher://127.0.0.1/",
            "ftp://127.0.0.1/",
            "//127.0.0.1/",
            "http:/127.0.0.1",
        ):
            assert (await target.send("sink", "POST", SUBSCRIPTIONS, json={"sink": scheme})).status_code == 422
        assert receiver.requests == []


async def test_floods_are_refused_and_cost_the_others_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path, limits="read=100/200 write=20/40 worker=200/400 stranger=20/40") as target:
        made = await target.send("key", "POST", KEYS, json={"name": "eve", "roles": ["operator"]})
        unknown = f"flowc_{'0' * 16}_{'0' * 64}"
        token = f"{part({'alg': 'EdDSA', 'kid': 'x', 'typ': 'JWT'})}.{part({})}.{part(b'x' * 64)}"
        floods: Mapping[str, tuple[str, str, str | None, dict[str, str]]] = {
            "a good key": ("POST", TICKETS, made.json()["key"], {"x": "y"}),
            "no key": ("GET", TICKETS, None, {}),
            "unknown keys": ("GET", TICKETS, unknown, {}),
            "unknown kids": ("GET", f"{TICKETS}/x", None, {"authorization": f"Bearer {token}"}),
            "reports": ("POST", "/api/v1/flows/x/reports", None, {"authorization": f"Bearer {token}"}),
            "pipelines": ("POST", PIPELINES, None, {"x-webhook-signature": "sha256=0"}),
        }
        for name, (method, path, key, headers) in floods.items():
            given: dict[str, Any] = {} if method == "GET" else {"content": b"{}"}
            answers = [await target.send(name, method, path, key=key, headers=headers, **given) for _ in range(120)]
            counted = Counter(answer.status_code for answer in answers)
            assert counted[429] > 0, (name, counted)
            assert counted.keys() <= {401, 422, 429}, (name, counted)
            assert (await target.send("the others", "GET", TICKETS)).status_code == 200


async def test_as_many_subscriptions_as_there_may_be_cost_an_event_little(tmp_path: Path) -> None:
    """They have as many filters as they may, and match all; one of them has a backlog, as its sink takes its time."""
    async with WebhookReceiver() as receiver, attacked(tmp_path) as target:
        receiver.behave["slow"] = receiver.hang
        wide = [{"prefix": {"id": "", "source": "/"}}]
        filters = [{"prefix": {"source": "/", "type": "io"}}] * (MAX_FILTERS // 2)
        form = {"sink": receiver.sink("slow"), "filters": filters}
        answers = [await target.send("subscribe", "POST", SUBSCRIPTIONS, json=form) for _ in range(MAX_SUBSCRIPTIONS)]
        assert {answer.status_code for answer in answers} == {201}
        for _ in range(20):
            assert (await target.send("too many", "POST", SUBSCRIPTIONS, json=form)).status_code == 409
        assert (await target.send("wide", "POST", SUBSCRIPTIONS, json={**form, "filters": wide})).status_code == 422
        await target.send("list", "GET", SUBSCRIPTIONS)
        for number in range(5):
            target.turns.longest = 0.0
            await target.ticket(f"t-{number}", claimed_by="w1")
        await target.send("metrics", "GET", "/metrics")
        first = answers[0].json()["id"]
        page = (await target.send("log", "GET", f"{SUBSCRIPTIONS}/{first}/deliveries")).json()
        assert len(page["items"]) >= 5  # nothing is lost while nobody takes it


async def test_of_twenty_that_claim_at_once_one_has_the_ticket(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        path = await target.ticket("t-1")
        claims = [{"status": "RUNNING", "worker_id": f"w{number}"} for number in range(20)]
        answers = await asyncio.gather(
            *(target.send("claim", "PATCH", f"{path}/status", json=claim) for claim in claims)
        )
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 19}
        winner = next(answer.json()["worker_id"] for answer in answers if answer.status_code == 200)
        ticket = (await target.send("look", "GET", path)).json()
        assert (ticket["worker_id"], ticket["attempt"]) == (winner, 1)
        done = {"status": "COMPLETED", "attempt": 1, "worker_id": winner, "output": 1}
        ended = [await target.send("end", "PATCH", f"{path}/status", json=done) for _ in range(10)]
        assert {answer.status_code for answer in ended} <= {200, 409}
        assert ended[0].status_code == 200
        history = (await target.send("look", "GET", f"{path}/history")).json()["items"]
        assert len([entry for entry in history if entry["type"] == "ticket.completed"]) == 1


async def test_a_message_of_a_pipeline_that_is_altered_or_sent_again_does_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        path = await target.ticket("t-1", claimed_by="w1")
        body = json.dumps({"pipeline_id": "p1", "ticket_id": "t-1", "status": "REQUIRES_APPROVAL"}).encode()
        signature = f"sha256={hmac.new(PIPELINE.encode(), body, sha256).hexdigest()}"

        async def sent(content: bytes, headers: dict[str, str]) -> int:
            return (
                await target.send("pipeline", "POST", PIPELINES, key=None, headers=headers, content=content)
            ).status_code

        good = {"x-webhook-signature": signature}
        altered = body.replace(b"REQUIRES_APPROVAL", b"COMPLETED")
        assert await sent(altered, good) == 401
        assert await sent(body + b" ", good) == 401
        assert await sent(body, {"x-webhook-signature": signature[:-1]}) == 401
        assert await sent(body, {"x-webhook-signature": "sha256="}) == 401
        assert await sent(body, {**good, "x-webhook-timestamp": str(int(time.time()))}) == 401
        assert await sent(body, {**good, "webhook-signature": "v1,x"}) == 401
        answers = await asyncio.gather(*(sent(body, good) for _ in range(20)))
        assert Counter(answers) == {202: 1, 409: 19}
        assert (await target.send("look", "GET", path)).json()["status"] == "RUNNING"


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


async def test_secrets_are_in_no_answer_no_file_and_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with WebhookReceiver() as receiver, attacked(tmp_path, FLOWC_LOG_LEVEL="debug") as target:
        path = await target.ticket("t-1", claimed_by="w1")
        token = (await target.send("token", "GET", f"{path}/token")).json()["access_token"]
        key = (await target.send("key", "POST", KEYS, json={"name": "k", "roles": ["viewer"]})).json()["key"]
        subscription = (await target.send("s", "POST", SUBSCRIPTIONS, json={"sink": receiver.sink("x")})).json()
        bearer = {"authorization": f"Bearer {token}"}
        done = {"status": "COMPLETED", "attempt": 1, "output": {"leaked": token}}
        await target.send("own", "PATCH", f"{path}/status", key=None, headers=bearer, json=done)
        await target.send("foreign", "PATCH", f"{TICKETS}/x/status", key=None, headers=bearer, json=done)
        await target.send("wrong", "GET", TICKETS, key=key + "0")
        await target.send("tampered", "GET", path, key=None, headers={"authorization": f"Bearer {token}x"})
        await target.send("test", "POST", f"{SUBSCRIPTIONS}/{subscription['id']}/test")
        areas = (
            "audits?limit=500",
            "events",
            "keys",
            "tickets",
            "subscriptions",
            "dead-letters",
            "incidents",
            "why/t-1",
        )
        doors = ["/metrics", "/openapi.json", "/ready", *(f"/api/v1/{name}" for name in areas)]
        doors += [path, f"{path}/history", f"{SUBSCRIPTIONS}/{subscription['id']}/deliveries"]
        told = "".join([(await target.send("read", "GET", door)).text for door in doors])
    told += "".join(capsys.readouterr())
    stored = b"".join(file.read_bytes() for file in files_in(tmp_path))
    secrets = {
        "first key": KEY,
        "pipeline": PIPELINE,
        "worker key": WORKER_KEY,
        "private key": PEM.splitlines()[1],
        "token": token,
        "signature of the token": token.rpartition(".")[2],
        "key": key.rpartition("_")[2],
        "subscription": subscription["secret"].removeprefix("whsec_"),
    }
    assert {name for name, secret in secrets.items() if secret in told} == set()
    assert {name for name, secret in secrets.items() if secret.encode() in stored} == set()
