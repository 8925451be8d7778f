"""Secrets that are kept elsewhere: the environment, files, and a Vault-like server over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from functions._adapters.http.outbound import OutboundClient
from functions._adapters.memory.store import MemoryStore
from functions._adapters.secrets import EnvironmentSecrets, FileSecrets
from functions._adapters.vault import VaultSecrets
from functions._core.errors import Rejected, Unavailable
from functions._core.secrets import Secrets
from functions._engine.secret_leases import SecretLeases, leases_of
from functions._engine.secret_places import place_of
from functions._engine.secrets import environment_with_secrets, with_secrets
from functions._engine.settings import Settings, SettingsError
from tests.support.loopback import Loopback, until
from tests.support.one_machine import one_machine
from tests.support.vault import TOKEN, Vault
from tests.support.world import until as eventually

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "k" * 40


class Watch:
    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        return self.moment

    def wait(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


async def refused(secrets: Secrets, name: str) -> str:
    with pytest.raises(Rejected) as refusal:
        await secrets.get(name)
    assert refusal.value.code == "unknown_secret"
    return str(refusal.value)


async def test_a_variable_is_a_secret() -> None:
    secrets = EnvironmentSecrets({"MINE": KEY})
    found = await secrets.get("MINE")
    assert (found.value, found.expires_at) == (KEY, None)
    assert KEY not in repr(found)
    assert "OTHER" in await refused(secrets, "OTHER")


async def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    secrets, path = FileSecrets(), written(tmp_path / "key", f"{KEY}\n")
    first = await secrets.get(str(path))
    assert first.value == KEY
    assert await secrets.get(str(path)) is first
    other = written(tmp_path / "new", "another")
    other.replace(path)
    second = await secrets.get(str(path))
    assert second.value == "another"
    assert second.version != first.version


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
async def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "key", KEY, mode)
    assert f"chmod 600 {path}" in await refused(FileSecrets(), str(path))


async def test_what_is_no_whole_file_is_refused(tmp_path: Path) -> None:
    assert "there is no file" in await refused(FileSecrets(), str(tmp_path / "nowhere"))
    assert "empty" in await refused(FileSecrets(), str(written(tmp_path / "empty", "")))
    assert "larger" in await refused(FileSecrets(), str(written(tmp_path / "large", "x" * 70_000)))


# --- Vault ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def vault() -> AsyncIterator[Vault]:
    async with Loopback() as loopback:
        yield Vault(loopback)


@pytest.fixture
async def clock() -> Watch:
    return Watch()


@pytest.fixture
async def secrets(vault: Vault, clock: Watch, tmp_path: Path) -> AsyncIterator[VaultSecrets]:
    client = OutboundClient(frozenset({"loopback"}))
    yield VaultSecrets(client.request, f"{vault.url}/", written(tmp_path / "token", TOKEN), clock)
    await client.aclose()


async def test_a_secret_of_the_key_value_engine_has_its_version(
    vault: Vault, clock: Watch, secrets: VaultSecrets
) -> None:
    vault.kept["secret/data/flowc"] = 3, {"worker_key": KEY, "other": "x"}
    found = await secrets.get("secret/data/flowc#worker_key")
    assert (found.value, found.version, found.expires_at) == (KEY, "3", None)
    assert '"other": "x"' in (await secrets.get("secret/data/flowc")).value
    vault.kept["secret/data/flowc"] = 4, {"worker_key": "another"}
    assert (await secrets.get("secret/data/flowc#worker_key")).value == KEY
    clock.wait(60)
    assert (await secrets.get("secret/data/flowc#worker_key")).version == "4"


async def test_a_lease_is_renewed_before_it_ends(vault: Vault, clock: Watch, secrets: VaultSecrets) -> None:
    first = await secrets.get("database/creds/flowc#password")
    assert (first.value, first.expires_at) == ("password-1", NOON + timedelta(seconds=90))
    clock.wait(59)
    assert await secrets.get("database/creds/flowc#password") == first
    clock.wait(2)
    renewed = await secrets.get("database/creds/flowc#password")
    assert (renewed.value, renewed.version) == (first.value, first.version)
    assert renewed.expires_at == NOON + timedelta(seconds=61 + 90)
    assert vault.asked == ["GET /v1/database/creds/flowc", "PUT /v1/sys/leases/renew"]


async def test_a_lease_that_cannot_be_renewed_is_a_new_secret(
    vault: Vault, clock: Watch, secrets: VaultSecrets
) -> None:
    assert (await secrets.get("database/creds/flowc#password")).value == "password-1"
    vault.leases.clear()
    vault.renewable = False
    clock.wait(61)
    assert (await secrets.get("database/creds/flowc#password")).value == "password-2"
    clock.wait(61)
    assert (await secrets.get("database/creds/flowc#password")).value == "password-3"


async def test_while_vault_is_away_a_lease_that_holds_is_used(
    vault: Vault, clock: Watch, secrets: VaultSecrets
) -> None:
    known = await secrets.get("database/creds/flowc#password")
    vault.sealed = True
    clock.wait(61)
    assert await secrets.get("database/creds/flowc#password") == known
    clock.wait(30)
    with pytest.raises(Unavailable, match="503"):
        await secrets.get("database/creds/flowc#password")


async def test_the_token_is_read_from_its_file_each_time(
    vault: Vault, clock: Watch, secrets: VaultSecrets, tmp_path: Path
) -> None:
    vault.kept["secret/data/flowc"] = 1, {"key": KEY}
    vault.token = "hvs.another"
    assert "403" in await refused(secrets, "secret/data/flowc#key")
    written(tmp_path / "token", "hvs.another")
    assert (await secrets.get("secret/data/flowc#key")).value == KEY
    clock.wait(60)
    (tmp_path / "token").chmod(0o644)
    assert "chmod 600" in await refused(secrets, "secret/data/flowc#key")


async def test_what_is_not_there_is_named(vault: Vault, secrets: VaultSecrets) -> None:
    vault.kept["secret/data/flowc"] = 1, {"key": {"deep": 1}}
    assert "404" in await refused(secrets, "secret/data/nowhere#key")
    await refused(secrets, "secret/data/flowc#other")
    await refused(secrets, "secret/data/flowc#key")
    assert "404" in await refused(secrets, "secret/data/a b\r\nx: y#key")


# --- Settings -------------------------------------------------------------------------------------------------


def test_a_setting_names_the_kind_and_the_place() -> None:
    assert place_of("file:/run/key") == ("file", "/run/key")
    assert place_of("vault:secret/data/a#b") == ("vault", "secret/data/a#b")
    assert place_of("arn:aws:secretsmanager:eu:1:secret:x") == ("aws", "arn:aws:secretsmanager:eu:1:secret:x")
    assert place_of("worker-key") == ("aws", "worker-key")


def test_settings_are_read_from_where_they_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "key", KEY)
    environment = {"FLOWC_API_KEY_SECRET": f"file:{path}", "FLOWC_WORKER_KEY_SECRET": "env:MINE", "MINE": "m" * 32}
    settings = Settings.from_mapping(
        {name: value for name, value in environment_with_secrets(environment).items() if name.startswith("FLOWC_")}
    )
    assert settings.api_key is not None
    assert settings.worker_key is not None
    assert (settings.api_key.get_secret_value(), settings.worker_key.get_secret_value()) == (KEY, "m" * 32)
    assert environment_with_secrets({"A": "b"}) == {"A": "b"}


async def test_a_key_comes_from_vault(vault: Vault, tmp_path: Path) -> None:
    vault.kept["secret/data/flowc"] = 1, {"api_key": KEY}
    environment = {
        "FLOWC_API_KEY_SECRET": "vault:secret/data/flowc#api_key",
        "FLOWC_VAULT_URL": vault.url,
        "FLOWC_VAULT_TOKEN_FILE": str(written(tmp_path / "token", TOKEN)),
    }
    assert (await with_secrets(environment, Watch()))["FLOWC_API_KEY"] == KEY


def test_all_secrets_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        environment_with_secrets(
            {"FLOWC_API_KEY_SECRET": f"file:{tmp_path}/no", "FLOWC_TOKEN_KEYS_SECRET": "env:NOTHING"}
        )
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "FLOWC_API_KEY_SECRET",
        "FLOWC_TOKEN_KEYS_SECRET",
    ]
    with pytest.raises(SettingsError, match="FLOWC_VAULT_URL"):
        environment_with_secrets({"FLOWC_API_KEY_SECRET": "vault:x#y"})


# --- Leases of the secrets that settings were read from ---------------------------------------------------------


def leased(vault: Vault, folder: Path) -> dict[str, str]:
    """Return the environment of a platform whose worker key has a lease."""
    return {
        "FLOWC_VAULT_URL": vault.url,
        "FLOWC_VAULT_TOKEN_FILE": str(written(folder / "token", TOKEN)),
        "FLOWC_WORKER_KEY_SECRET": "vault:database/creds/flowc",
    }


async def test_a_running_platform_renews_the_leases_of_its_secrets(vault: Vault, tmp_path: Path) -> None:
    vault.lease_seconds = 3
    environment = await asyncio.to_thread(environment_with_secrets, leased(vault, tmp_path))
    async with one_machine(tmp_path, environment) as platform:
        await until(lambda: vault.asked.count("PUT /v1/sys/leases/renew") >= 2, "the lease is renewed")
        assert "lost_secrets" not in await platform.get("/ready")
        vault.leases.clear()  # it is not renewed, and what is read then is another secret

        async def lost() -> dict[str, str] | None:
            found: dict[str, str] | None = (await platform.get("/ready")).get("lost_secrets")
            return found

        assert "another value" in (await eventually(lost, "it is said to be lost"))["FLOWC_WORKER_KEY"]
        audits = (await platform.get("/api/v1/audits"))["items"]
        assert [(one["action"], one["target"], one["who"]) for one in audits if one["kind"] == "action"] == [
            ("lose_secret", "FLOWC_WORKER_KEY", "platform")
        ]
        assert (await platform.get("/ready"))["ready"] is True


async def test_a_lease_that_ends_while_vault_is_away_is_lost_until_it_is_there_again(
    vault: Vault, clock: Watch, tmp_path: Path
) -> None:
    environment = await with_secrets(leased(vault, tmp_path), clock)
    store = MemoryStore().stores.store
    leases = SecretLeases(leases_of(environment), store, clock)
    vault.sealed = True
    clock.wait(80)
    await leases.round()
    assert leases.lost == {}
    clock.wait(20)
    await leases.round()
    await leases.round()
    assert "503" in leases.lost["FLOWC_WORKER_KEY"]
    vault.sealed = False
    await leases.round()
    assert leases.lost == {}


async def test_what_has_no_lease_is_not_asked_for_again(vault: Vault, clock: Watch, tmp_path: Path) -> None:
    vault.kept["secret/data/flowc"] = 1, {"worker_key": KEY}
    environment = {**leased(vault, tmp_path), "FLOWC_WORKER_KEY_SECRET": "vault:secret/data/flowc#worker_key"}
    assert leases_of(await with_secrets(environment, clock)) == []
