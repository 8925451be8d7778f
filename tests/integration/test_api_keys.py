"""API keys: made once, kept as hashes, found in one read, remembered for seconds, revoked."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._core.ports import Entry, KeyValues
from functions._core.records.principal import Role
from functions._engine.api_keys import MOST_REMEMBERED, REMEMBERED, SPACE, ApiKeys
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine

KEY = "a-key-that-nobody-guesses"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORKER = {"worker_id": "w-9", "endpoint": "http://127.0.0.1:9/", "capabilities": ["python"]}


class Watch:
    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        return self.moment


class Counted:
    """Key values that count reads."""

    def __init__(self, store: KeyValues) -> None:
        self.store = store
        self.reads = 0

    async def get(self, space: str, key: str) -> Entry | None:
        self.reads += 1
        return await self.store.get(space, key)

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        return await self.store.put(space, key, value, version=version, expires_at=expires_at)

    async def remove(self, space: str, key: str, version: int) -> bool:
        return await self.store.remove(space, key, version)

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        return await self.store.page(space, after, limit)


def kept(clock: Watch) -> tuple[Counted, ApiKeys]:
    store = Counted(MemoryStore().stores.key_values(clock))
    return store, ApiKeys(store, clock)


async def made(keys: ApiKeys, **given: Any) -> tuple[str, str]:
    key, text = await keys.create("ci", [Role.OPERATOR], created_by="ada", **given)
    return key.key_id, text


async def test_a_key_is_its_holder_and_only_its_hash_is_stored() -> None:
    store, keys = kept(Watch())
    key_id, text = await made(keys, scopes=["flows"])
    holder = await keys.identify(text)
    assert holder is not None
    assert (holder.name, holder.roles, holder.key_id) == ("ci", frozenset({Role.OPERATOR}), key_id)
    assert holder.scopes == {"flows"}
    stored = await store.get(SPACE, key_id)
    assert stored is not None
    assert text.rpartition("_")[2] not in stored.value.decode()
    assert json.loads(stored.value)["name"] == "ci"


async def test_whatever_is_not_the_key_is_nobody() -> None:
    store, keys = kept(Watch())
    _, text = await made(keys)
    _, other = await made(keys)
    head, _, secret = text.rpartition("_")
    wrong = [f"{head}_{secret[:-1]}0x", f"{head}_{other.rpartition('_')[2]}", text + "0", text.upper(), head, ""]
    wrong += ["flowc_", f" {text}", f"{text}\n", f"flowc_{'٣' * 16}_{secret}", f"flowc_{'0' * 16}_{secret}"]
    assert [await keys.identify(credential) for credential in wrong] == [None] * len(wrong)
    assert store.reads <= 2  # of a key that is there and of one that is not: what has another form is not looked for


async def test_a_key_is_read_once_in_some_seconds_and_a_revoked_one_holds_no_longer() -> None:
    clock = Watch()
    store, keys = kept(clock)
    elsewhere = ApiKeys(store, clock)
    key_id, text = await made(keys)
    for _ in range(100):
        assert await keys.identify(text)
        assert await elsewhere.identify(text)
    assert store.reads == 2
    assert await keys.revoke(key_id)
    assert await keys.identify(text) is None
    assert await elsewhere.identify(text) is not None
    clock.moment += REMEMBERED
    assert await elsewhere.identify(text) is None
    assert not await keys.revoke(key_id)


async def test_a_key_expires_by_the_clock_though_it_is_remembered() -> None:
    clock = Watch()
    _, keys = kept(clock)
    _, text = await made(keys, expires_at=NOON + timedelta(seconds=2))
    assert await keys.identify(text)
    clock.moment += timedelta(seconds=2)
    assert await keys.identify(text) is None
    assert await keys.page(None, 10) == []


async def test_a_revoked_key_holds_no_longer_where_the_clock_goes_back() -> None:
    clock = Watch()
    store, keys = kept(clock)
    key_id, text = await made(keys)
    assert await keys.identify(text)
    assert await ApiKeys(store, clock).revoke(key_id)
    clock.moment -= timedelta(hours=1)
    assert await keys.identify(text) is None


async def test_trying_out_ids_drives_out_no_key_that_is_there() -> None:
    store, keys = kept(Watch())
    _, text = await made(keys)
    assert await keys.identify(text)
    for number in range(2 * MOST_REMEMBERED):
        assert await keys.identify(f"flowc_{number:016x}_{'0' * 64}") is None
    before = store.reads
    assert await keys.identify(text)
    assert store.reads == before
    assert len(keys._known) == 1  # noqa: SLF001


async def test_a_record_that_cannot_be_read_is_no_key_and_stops_no_list() -> None:
    store, keys = kept(Watch())
    _, text = await made(keys)
    await store.put(SPACE, "0" * 16, b'{"roles": 1}', version=0)
    assert len(await keys.page(None, 10)) == 1
    assert await keys.identify(f"flowc_{'0' * 16}_{'0' * 64}") is None
    assert await keys.identify(text)


# --- Over HTTP ------------------------------------------------------------------------------------------------


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key=KEY) as running_one:
        running_one.client.headers["x-api-key"] = KEY
        yield running_one


async def create(api: Api, **form: Any) -> dict[str, Any]:
    answer = await api.client.post("/api/v1/keys", json={"name": "ci", "roles": ["operator"], **form})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_(key: str) -> dict[str, str]:
    return {"x-api-key": key, "content-type": "application/json"}


async def test_an_administrator_makes_lists_and_revokes_keys_and_each_is_an_audit(api: Api) -> None:
    made = await create(api, expires_in_seconds=3600)
    listed = (await api.client.get("/api/v1/keys")).json()["items"]
    assert [key["key_id"] for key in listed] == [made["key_id"]]
    assert made["key"] not in json.dumps(listed)
    assert "digest" not in listed[0]
    assert (await api.client.get("/api/v1/flows", headers=as_(made["key"]))).status_code == 200
    problem_of(await api.client.get("/api/v1/keys", headers=as_(made["key"])), 403, "insufficient_role")
    path = f"/api/v1/keys/{made['key_id']}"
    problem_of(await api.client.delete(path, headers=as_(made["key"])), 403, "insufficient_role")
    assert (await api.client.delete(path, headers=as_(KEY))).status_code == 204
    problem_of(await api.client.get("/api/v1/flows", headers=as_(made["key"])), 401, "missing_key")
    problem_of(await api.client.delete(path, headers=as_(KEY)), 404, "unknown_key")
    actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [(action["action"], action["target"], action["who"]) for action in actions] == [
        ("revoke_key", made["key_id"], "admin"),
        ("create_key", made["key_id"], "admin"),
    ]
    assert made["key"] not in json.dumps(actions)


async def test_the_key_of_a_worker_registers_and_gives_no_orders(api: Api) -> None:
    key = as_((await create(api, name="w", roles=["worker"]))["key"])
    assert (await api.client.post("/api/v1/workers", json=WORKER, headers=key)).status_code == 201
    assert (await api.client.post("/api/v1/workers/w-9/heartbeat", headers=key)).status_code == 200
    problem_of(await api.client.get("/api/v1/flows", headers=key), 403, "insufficient_role")
    problem_of(await api.client.post("/api/v1/flows/x/cancel", headers=key), 403, "insufficient_role")


async def test_a_key_of_one_area_opens_no_other(api: Api) -> None:
    key = as_((await create(api, roles=["viewer"], scopes=["metrics"]))["key"])
    assert (await api.client.get("/metrics", headers=key)).status_code == 200
    problem_of(await api.client.get("/api/v1/flows", headers=key), 403, "insufficient_scope")


@pytest.mark.parametrize(
    "form",
    [
        {"name": "x\r\nset-cookie: a=b"},
        {"name": ""},
        {"name": "x" * 101},
        {"roles": []},
        {"roles": ["root"]},
        {"scopes": ["everything"]},
        {"expires_in_seconds": 0},
        {"expires_in_seconds": 1e12},
        {"key": "mine"},
    ],
    ids=str,
)
async def test_a_key_that_makes_no_sense_is_not_made(api: Api, form: dict[str, Any]) -> None:
    answer = await api.client.post("/api/v1/keys", json={"name": "ci", "roles": ["viewer"], **form})
    problem_of(answer, 422, "invalid_data")
    assert (await api.client.get("/api/v1/keys")).json()["items"] == []


async def test_a_request_brings_few_credentials_and_short_ones(api: Api) -> None:
    made = await create(api)
    reads = api.world.ports.key_values
    counted = Counted(reads)
    keys = api.app.state.services.keys
    keys._store = counted  # noqa: SLF001
    many = [("x-api-key", f"flowc_{number:016x}_{'0' * 64}") for number in range(200)]
    del api.client.headers["x-api-key"]
    problem_of(await api.client.get("/api/v1/flows", headers=many), 401, "missing_key")
    assert counted.reads <= 4
    long = [("x-api-key", made["key"] + "0" * 20_000)]
    problem_of(await api.client.get("/api/v1/flows", headers=long), 401, "missing_key")


async def test_nothing_of_the_body_is_read_for_a_role_that_is_not_enough(api: Api) -> None:
    key = (await create(api, roles=["viewer"]))["key"]
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"{}")
        yield b"{}"

    for path in ("/api/v1/flows/x/cancel", "/api/v1/keys", "/api/v1/workers", "/api/v1/workers/x/heartbeat"):
        problem_of(await api.client.post(path, content=body(), headers=as_(key)), 403, "insufficient_role")
    assert read == []


async def test_keys_outlive_the_platform(tmp_path: Path) -> None:
    """A real database and real connections; the key itself is in no file."""
    async with one_machine(tmp_path, {"FLOWC_API_KEY": KEY}) as at:
        form = {"name": "ci", "roles": ["viewer"]}
        made = (await at.client.post("/api/v1/keys", json=form, headers={"x-api-key": KEY})).json()
    async with one_machine(tmp_path, {"FLOWC_API_KEY": KEY}) as at:
        answer = await at.client.get("/api/v1/flows", headers={"authorization": f"Bearer {made['key']}"})
        assert answer.status_code == 200
        files = b"".join(files_in(tmp_path).values())
    assert made["key_id"].encode() in files
    assert made["key"].rpartition("_")[2].encode() not in files
