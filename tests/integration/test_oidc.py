"""Bearer tokens of an OpenID Connect provider, which a library signs and a real server publishes the keys of."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from functions._adapters.http.outbound import OutboundClient
from functions._core.errors import Rejected, Unavailable
from functions._core.records.principal import Principal, Role
from functions._engine.oidc import Oidc, Provider
from functions._engine.settings import Settings, SettingsError
from tests.support.http_api import bearer, problem_of
from tests.support.identity_provider import AUDIENCE, KEYS, NOON, Issuer
from tests.support.loopback import Loopback
from tests.support.one_machine import one_machine

ALGORITHMS = pytest.mark.parametrize("algorithm", KEYS)


class Watch:
    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Loopback() as loopback:
        yield Issuer(loopback)


@asynccontextmanager
async def oidc_of(issuer: Issuer, clock: Watch, **provider: Any) -> AsyncIterator[Oidc]:
    client = OutboundClient(frozenset({"loopback"}))
    try:
        given = {"issuer": issuer.url, "audience": AUDIENCE} | provider
        yield Oidc(Provider(**given), lambda url: client.request("GET", url), clock)
    finally:
        await client.aclose()


async def refused(oidc: Oidc, token: str) -> str:
    with pytest.raises(Rejected) as refusal:
        await oidc.identify(token)
    assert refusal.value.status == 401
    return refusal.value.code


@ALGORITHMS
async def test_whoever_has_signed_in_is_a_caller(issuer: Issuer, algorithm: str) -> None:
    async with oidc_of(issuer, Watch()) as oidc:
        for _ in range(3):
            assert await oidc.identify(issuer.token(algorithm)) == Principal("ada", frozenset({Role.OPERATOR}))
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_roles_and_names_are_where_the_settings_say(issuer: Issuer) -> None:
    mapping = {"sre": Role.OPERATOR, "root": Role.ADMIN}
    given = {"roles_claim": "realm_access.roles", "name_claim": "email", "roles": mapping}
    async with oidc_of(issuer, Watch(), jwks_url=f"{issuer.url}/keys", **given) as oidc:
        token = issuer.token(realm_access={"roles": ["sre", "admin", 7]}, email="ada@example.org")
        assert await oidc.identify(token) == Principal("ada@example.org", frozenset({Role.OPERATOR}))
        spaced = issuer.token(realm_access={"roles": "sre root"}, email="ada@example.org")
        assert await oidc.identify(spaced) == Principal("ada@example.org", frozenset({Role.OPERATOR, Role.ADMIN}))
        nothing = await oidc.identify(issuer.token(email="eve@example.org", realm_access=[]))
        assert nothing == Principal("eve@example.org", frozenset())
    assert issuer.asked == ["/keys"]


async def test_nobody_who_signs_in_has_the_name_of_the_first_administrator(issuer: Issuer) -> None:
    async with oidc_of(issuer, Watch()) as oidc:
        caller = await oidc.identify(issuer.token(sub="admin"))
    assert caller == Principal(f"admin of {issuer.url}", frozenset({Role.OPERATOR}))


@ALGORITHMS
async def test_no_token_but_the_providers_is_believed(issuer: Issuer, algorithm: str) -> None:
    genuine = issuer.token(algorithm)
    head, payload, signature = genuine.split(".")
    pem = KEYS[algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    none = jwt.encode(jwt.decode(genuine, options={"verify_signature": False}), "", algorithm="none")
    other = {"RS256": rsa.generate_private_key(65537, 2048), "ES256": ec.generate_private_key(ec.SECP256R1())}.get(
        algorithm, ed25519.Ed25519PrivateKey.generate()
    )
    claims = json.dumps(jwt.decode(genuine, options={"verify_signature": False})).encode()
    confused = jwt.api_jws.PyJWS()
    confused._algorithms["HS256"].prepare_key = lambda key: key  # type: ignore[method-assign] # noqa: SLF001 an attacker would
    forged = {
        "alg none": none,
        "none with a signature": f"{none}{signature}",
        "HS256 by the public key": confused.encode(claims, pem, algorithm="HS256", headers={"kid": algorithm}),
        "another key": issuer.token(algorithm, key=other),
        "the kid of another key": issuer.token(algorithm, head={"kid": "RS256" if algorithm != "RS256" else "ES256"}),
        "a key for encryption": issuer.token(algorithm, head={"kid": "encryption"}),
        "a symmetric key": issuer.token(algorithm, head={"kid": "symmetric"}),
        "a path": issuer.token(algorithm, head={"kid": "../../../etc/passwd"}),
        "a type": issuer.token(algorithm, head={"typ": "logout+jwt"}),
        "another payload": f"{head}.{issuer.token(algorithm, sub='eve').split('.')[1]}.{signature}",
        "no signature": f"{head}.{payload}.",
        "a key of its own": issuer.token(algorithm, key=other, head={"jwk": {"kty": "oct"}, "x5u": "http://x"}),
    }
    async with oidc_of(issuer, Watch()) as oidc:
        codes = {name: await refused(oidc, token) for name, token in forged.items()}
        assert codes == dict.fromkeys(forged, "bad_token")
        assert await oidc.identify(genuine)


async def test_what_is_no_token_of_the_provider_is_left_to_others(issuer: Issuer) -> None:
    deep = "e30." + jwt.utils.base64url_encode(b"[" * 9000).decode() + ".e30"
    others = ["", "x", "a.b.c", "e30.e30.e30", "e30." * 20_000, deep, issuer.token(iss="http://evil.example"), "ü.ü.ü"]
    async with oidc_of(issuer, Watch()) as oidc:
        begun = time.thread_time()
        assert [await oidc.identify(token) for token in others] == [None] * len(others)
        assert time.thread_time() - begun < 0.05 * len(others)
    assert issuer.asked == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aud": "another"}, "bad_token"),
        ({"aud": ["another"]}, "bad_token"),
        ({"aud": None}, "bad_token"),
        ({"aud": {"flowc": 1}}, "bad_token"),
        ({"exp": None}, "bad_token"),
        ({"exp": True}, "bad_token"),
        ({"exp": NOON.timestamp() - 31}, "expired_token"),
        ({"nbf": NOON.timestamp() + 31}, "bad_token"),
        ({"sub": None}, "bad_token"),
        ({"sub": "ada\r\nset-cookie: x"}, "bad_token"),
        ({"sub": "x" * 256}, "bad_token"),
    ],
    ids=str,
)
async def test_no_claim_is_passed_over(issuer: Issuer, changed: dict[str, Any], code: str) -> None:
    # Signed as bytes: the library itself refuses some of them.
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ada", "exp": NOON.timestamp() + 60} | changed
    text = json.dumps({name: value for name, value in claims.items() if value is not None}).encode()
    token = jwt.api_jws.PyJWS().encode(text, KEYS["EdDSA"], algorithm="EdDSA", headers={"kid": "EdDSA"})
    async with oidc_of(issuer, Watch()) as oidc:
        assert await refused(oidc, token) == code


@pytest.mark.parametrize(
    "changed", [{"exp": NOON.timestamp() - 29}, {"nbf": NOON.timestamp() + 29}, {"aud": ["x", AUDIENCE]}]
)
async def test_clocks_may_differ_a_little(issuer: Issuer, changed: dict[str, Any]) -> None:
    async with oidc_of(issuer, Watch()) as oidc:
        assert await oidc.identify(issuer.token(**changed))


async def test_a_thousand_unknown_keys_cost_one_fetch_a_minute(issuer: Issuer) -> None:
    clock = Watch()
    async with oidc_of(issuer, clock, jwks_url=f"{issuer.url}/keys") as oidc:
        assert await oidc.identify(issuer.token())
        for number in range(1000):
            clock.moment = NOON + timedelta(milliseconds=59 * number)
            assert await refused(oidc, issuer.token(head={"kid": f"k-{number}"})) == "bad_token"
        assert len(issuer.asked) == 1
        clock.moment = NOON + timedelta(seconds=61)
        for number in range(100):
            assert await refused(oidc, issuer.token(head={"kid": f"k-{number}"})) == "bad_token"
        assert len(issuer.asked) == 2


async def test_a_new_key_of_the_provider_is_found_and_a_dropped_one_forgotten(issuer: Issuer) -> None:
    clock = Watch()
    del issuer.keys["ES256"]
    async with oidc_of(issuer, clock, jwks_url=f"{issuer.url}/keys") as oidc:
        assert await oidc.identify(issuer.token("EdDSA"))
        issuer.keys["ES256"] = KEYS["ES256"]
        assert await refused(oidc, issuer.token("ES256")) == "bad_token"
        clock.moment += timedelta(seconds=60)
        assert await oidc.identify(issuer.token("ES256", exp=4e9))
        del issuer.keys["EdDSA"]
        clock.moment += timedelta(hours=1)
        assert await refused(oidc, issuer.token("EdDSA", exp=4e9)) == "bad_token"


async def test_a_provider_that_is_away_refuses_nobody_whose_key_is_known(issuer: Issuer) -> None:
    clock = Watch()
    issuer.away = True
    async with oidc_of(issuer, clock) as oidc:
        for _ in range(5):
            with pytest.raises(Unavailable):
                await oidc.identify(issuer.token())
        assert len(issuer.asked) == 1
        issuer.away = False
        clock.moment += timedelta(seconds=60)
        assert await oidc.identify(issuer.token(exp=4e9))
        issuer.away = True
        clock.moment += timedelta(hours=2)
        assert await oidc.identify(issuer.token(exp=4e9))


async def test_a_discovery_document_of_somebody_else_is_not_followed(issuer: Issuer) -> None:
    issuer.discovery["issuer"] = "http://evil.example"
    async with oidc_of(issuer, Watch()) as oidc:
        with pytest.raises(Unavailable):
            await oidc.identify(issuer.token())
    assert issuer.asked == ["/.well-known/openid-configuration"]


async def test_an_address_of_the_cloud_is_not_called(issuer: Issuer) -> None:
    issuer.discovery["jwks_uri"] = "http://169.254.169.254/keys"
    async with oidc_of(issuer, Watch()) as oidc:
        with pytest.raises(Unavailable):
            await oidc.identify(issuer.token())


async def test_a_platform_takes_the_tokens_of_its_provider(issuer: Issuer, tmp_path: Path) -> None:
    settings = {"FLOWC_OIDC_ISSUER": issuer.url, "FLOWC_OIDC_AUDIENCE": AUDIENCE, "FLOWC_OIDC_ROLES": "sre=operator"}
    later = datetime.now(UTC).timestamp() + 600
    async with one_machine(tmp_path, settings) as at:
        problem_of(await at.client.get("/api/v1/flows"), 401, "missing_key")
        operator, nobody = issuer.token(roles=["sre"], exp=later), issuer.token(exp=later)
        assert (await at.client.get("/api/v1/flows", headers=bearer(operator))).status_code == 200
        problem_of(await at.client.get("/api/v1/flows", headers=bearer(nobody)), 403, "insufficient_role")
        problem_of(await at.client.get("/api/v1/keys", headers=bearer(operator)), 403, "insufficient_role")
        problem_of(await at.client.get("/api/v1/flows", headers=bearer(issuer.token())), 401, "expired_token")
        await at.client.delete("/api/v1/workers/x?requested_by=eve", headers=bearer(operator))


def test_a_provider_needs_an_audience() -> None:
    with pytest.raises(SettingsError, match="FLOWC_OIDC_AUDIENCE"):
        Settings.from_mapping({"FLOWC_OIDC_ISSUER": "https://id.example"})
    with pytest.raises(SettingsError, match="FLOWC_OIDC_ROLES"):
        Settings.from_mapping({"FLOWC_OIDC_ROLES": "sre=root"})
