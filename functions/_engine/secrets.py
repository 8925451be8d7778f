"""Secrets that settings only name: in the environment, a file, AWS Secrets Manager or a Vault-compatible server.

`FLOWC_WORKER_KEY_SECRET=vault:secret/data/flowc#worker_key` is `FLOWC_WORKER_KEY`, kept elsewhere.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Clock
from functions._core.secrets import Secrets
from functions._engine.clock import SystemClock
from functions._engine.secret_leases import LeasedEnvironment, SecretLease
from functions._engine.secret_places import ENV, FILE, VAULT, SecretPlace, place_of
from functions._engine.settings import PREFIX, SettingsError

NAMED = ("worker_key", "api_key", "token_keys", "alert_webhook_secret")
"""Settings that another one, with `_secret` behind its name, may say the place of."""


def places_in(environment: Mapping[str, str]) -> Mapping[str, SecretPlace]:
    """Return the places of the settings that are kept elsewhere, by the names of their variables."""
    texts = {f"{PREFIX}{name.upper()}": environment.get(f"{PREFIX}{name.upper()}_SECRET", "").strip() for name in NAMED}
    return {variable: place_of(text) for variable, text in texts.items() if text}


async def with_secrets(
    environment: Mapping[str, str], clock: Clock, of_aws: Callable[[], Secrets] | None = None
) -> Mapping[str, str]:
    """Return the environment with the values of all secrets that it names, and the leases of those that have one.

    Raises `SettingsError`, `Unavailable`.

    What reads a kind of secret is imported only where one is named. `of_aws` reads those of AWS.
    """
    leases: list[SecretLease] = []
    problems: list[str] = []
    for variable, place in places_in(environment).items():
        source = secrets_of_kind(place.kind, environment, clock, of_aws)
        try:
            secret = await source.get(place.name)
        except Rejected as error:
            problems.append(f"{variable}_SECRET: {error}")
        else:
            leases.append(SecretLease(variable, source, place.name, secret, clock.now()))
    if problems:
        raise SettingsError(problems)
    if not leases:
        return environment
    whole = LeasedEnvironment({**environment, **{lease.variable: lease.secret.value for lease in leases}})
    whole.leases = [lease for lease in leases if lease.secret.expires_at is not None]
    return whole


def environment_with_secrets(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with all secrets that it names, before an event loop runs; raise `SettingsError`."""
    if not places_in(environment):
        return environment
    try:
        return asyncio.run(with_secrets(environment, SystemClock()))
    except Unavailable as error:
        raise SettingsError([f"a secret cannot be read: {error}"]) from error


def secrets_of_kind(
    kind: str, environment: Mapping[str, str], clock: Clock, of_aws: Callable[[], Secrets] | None = None
) -> Secrets:
    """Return what reads secrets of one kind of place; raise `SettingsError`."""
    if kind == ENV:
        from functions._adapters.secrets import EnvironmentSecrets

        return EnvironmentSecrets(environment)
    if kind == FILE:
        from functions._adapters.secrets import FileSecrets

        return FileSecrets()
    if kind == VAULT:
        return vault_of(environment, clock)
    return _from_aws() if of_aws is None else of_aws()


def vault_of(environment: Mapping[str, str], clock: Clock) -> Secrets:
    """Return the secrets of the server that FLOWC_VAULT_URL names; raise `SettingsError`."""
    from functions._adapters.http.addresses import EVERY_NETWORK
    from functions._adapters.http.outbound import OutboundAnswer, OutboundClient
    from functions._adapters.vault import VaultSecrets

    url, token = (environment.get(f"{PREFIX}{name}", "").strip() for name in ("VAULT_URL", "VAULT_TOKEN_FILE"))
    missing = [f"{PREFIX}{name}" for name, given in (("VAULT_URL", url), ("VAULT_TOKEN_FILE", token)) if not given]
    if missing:
        raise SettingsError([f"{name}: not set; a secret is kept in Vault" for name in missing])

    async def call(
        method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> OutboundAnswer:
        # A client belongs to one event loop, and leases are renewed on another than that of the start.
        client = OutboundClient(EVERY_NETWORK)
        try:
            return await client.request(method, url, headers=headers, body=body)
        finally:
            await client.aclose()

    return VaultSecrets(call, url, Path(token), clock)


def _from_aws() -> Secrets:
    from functions._adapters.aws.client import Clients
    from functions._adapters.aws.secrets import AwsSecrets

    return AwsSecrets(Clients().of("secretsmanager"))
