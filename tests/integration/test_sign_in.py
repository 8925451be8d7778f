"""People sign in to the console at a real provider: the exchange of the code, and those who attack it."""

import asyncio
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from functions._engine.settings import Settings, SettingsError
from functions._engine.sign_in import AT_ONCE
from tests.support.http_api import bearer, problem_of
from tests.support.identity_provider import AUDIENCE, CLIENT, SignInIssuer
from tests.support.loopback import Answer, Loopback, Request
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import PATIENCE_S

ROUTE = "/api/v1/session"
VERIFIER, NONCE, STATE = "v" * 43, "n" * 32, "s" * 32


@pytest.fixture
async def issuer() -> AsyncIterator[SignInIssuer]:
    async with Loopback() as loopback:
        yield SignInIssuer(loopback)


@asynccontextmanager
async def signing_in(issuer: SignInIssuer, folder: Path, **more: str) -> AsyncIterator[OneMachine]:
    settings = {"OIDC_ISSUER": issuer.url, "OIDC_AUDIENCE": AUDIENCE, "OIDC_CLIENT_ID": CLIENT, **more}
    async with one_machine(folder, {f"FLOWC_{name}": value for name, value in settings.items()}) as at:
        yield at


async def code_of(at: OneMachine, **changed: str) -> str:
    """Go to the provider as the browser does, and return the code with which it sends back."""
    offer = (await at.client.get(ROUTE)).json()["sign_in"]
    challenge = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": offer["client_id"],
        "scope": offer["scope"],
        "redirect_uri": f"{at.url}/console/",
        "state": STATE,
        "nonce": NONCE,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    async with httpx.AsyncClient(trust_env=False) as browser:
        back = await browser.get(offer["authorization_endpoint"], params=asked | changed)
    assert back.status_code == 302
    said = dict(parse_qsl(urlsplit(back.headers["location"]).query))
    assert said["state"] == STATE
    return said["code"]


async def redeem(at: OneMachine, code: str, *, origin: str | None = "", **changed: Any) -> httpx.Response:
    headers = {} if origin is None else {"origin": origin or at.url}
    form = {"code": code, "code_verifier": VERIFIER, "nonce": NONCE, **changed}
    return await at.client.post(ROUTE, json=form, headers=headers)


async def test_a_person_signs_in_and_reads_with_the_token(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(
        issuer, tmp_path, OIDC_CLIENT_SECRET="a secret: of the client", OIDC_SCOPE="openid roles"
    ) as at:
        issuer.secret = b64encode(b"console:a+secret%3A+of+the+client").decode()
        said = (await at.client.get(ROUTE)).json()
        offer = said["sign_in"]
        assert (said["access"], offer["issuer"], offer["client_id"]) == ("on", issuer.url, CLIENT)
        assert (offer["authorization_endpoint"], offer["scope"]) == (f"{issuer.url}/authorize", "openid roles")

        answer = await redeem(at, await code_of(at))
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        person = answer.json()
        assert (person["name"], person["roles"], person["token_type"]) == ("ada", ["operator"], "Bearer")
        assert (await at.client.get("/api/v1/flows", headers=bearer(person["access_token"]))).status_code == 200
    assert issuer.asked.count("/.well-known/openid-configuration") <= 2


async def test_an_id_token_for_the_platform_serves_where_the_access_token_is_not_readable(
    issuer: SignInIssuer, tmp_path: Path
) -> None:
    issuer.access = None
    async with signing_in(issuer, tmp_path, OIDC_AUDIENCE=CLIENT) as at:
        person = (await redeem(at, await code_of(at))).json()
        assert (await at.client.get("/api/v1/flows", headers=bearer(person["access_token"]))).status_code == 200


async def test_a_token_for_somebody_else_signs_nobody_in(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        issuer.access = {"aud": "another"}
        problem_of(await redeem(at, await code_of(at)), 401, "bad_token")
        issuer.access = {"exp": 1}
        problem_of(await redeem(at, await code_of(at)), 401, "bad_token")


async def test_a_code_holds_once_and_for_its_browser_alone(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        code = await code_of(at)
        assert (await redeem(at, code)).status_code == 200
        problem_of(await redeem(at, code), 401, "sign_in_refused")
        problem_of(await redeem(at, await code_of(at), code_verifier="w" * 43), 401, "sign_in_refused")
        problem_of(await redeem(at, "guessed"), 401, "sign_in_refused")


async def test_a_nonce_of_another_attempt_is_refused(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        problem_of(await redeem(at, await code_of(at), nonce="m" * 32), 401, "sign_in_refused")
        issuer.nonce = "of an older token"
        problem_of(await redeem(at, await code_of(at)), 401, "sign_in_refused")


async def test_only_the_console_of_this_platform_redeems(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        problem_of(await redeem(at, "c", origin="http://evil.example"), 403, "cross_site")
        problem_of(await redeem(at, "c", origin="null"), 403, "cross_site")
        problem_of(await redeem(at, "c", origin=None), 400, "no_origin")
        form = {"code": "c", "code_verifier": VERIFIER, "nonce": NONCE}
        problem_of(await at.client.post(ROUTE, data=form, headers={"origin": at.url}), 415, "not_json")
        assert "/token" not in issuer.asked
        # A code that was sent to another address is not redeemed for this one.
        foreign = await code_of(at, redirect_uri="http://evil.example/console/")
        problem_of(await redeem(at, foreign), 401, "sign_in_refused")
        problem_of(await redeem(at, "c", redirect_uri="http://evil.example"), 422, "invalid_data")


MALFORMED: list[dict[str, Any]] = [
    {"code": ""},
    {"code": "x" * 4097},
    {"code": "a\r\nb"},
    {"code": ["a"]},
    {"code_verifier": "short"},
    {"code_verifier": "v" * 129},
    {"code_verifier": "&" * 43},
    {"nonce": ""},
    {"nonce": "n" * 256},
]


async def test_a_malformed_form_never_reaches_the_provider(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        for changed in MALFORMED:
            problem_of(await redeem(at, **({"code": "c"} | changed)), 422, "invalid_data")
    assert "/token" not in issuer.asked


NONSENSE = [
    Answer(200, b"x" * 1_000_000),
    Answer(200, b"[" * 60_000),
    Answer(200, b"[]"),
    Answer(302, b"{}", {"location": "http://169.254.169.254/"}),
    Answer(500, b'{"error": "server_error"}'),
]


async def test_a_provider_that_answers_nonsense_is_not_believed(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        code = await code_of(at)
        for issuer.answered in NONSENSE:
            problem_of(await redeem(at, code), 503, "unavailable")


async def test_what_the_provider_says_is_not_repeated(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        code = await code_of(at)
        issuer.answered = Answer(400, b'{"error": "<img src=x>", "error_description": "<script>"}')
        answer = await redeem(at, code)
        problem_of(answer, 401, "sign_in_refused")
        assert "<" not in answer.text
        issuer.answered = Answer(200, b'{"access_token": 7, "id_token": {}}')
        problem_of(await redeem(at, code), 401, "sign_in_refused")


async def test_a_provider_that_hangs_holds_few_requests(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path) as at:
        await code_of(at)
        released, full, held = asyncio.Event(), asyncio.Event(), 0

        async def hang(_request: Request) -> Answer:
            nonlocal held
            held += 1
            if held == AT_ONCE:
                full.set()
            await released.wait()
            return Answer(503)

        issuer.answered = None
        issuer.loopback.answer = hang
        waiting = [asyncio.create_task(redeem(at, f"c{number}")) for number in range(AT_ONCE)]
        await asyncio.wait_for(full.wait(), PATIENCE_S)
        problem_of(await redeem(at, "one-more"), 503, "unavailable")
        assert held == AT_ONCE
        released.set()
        for answer in await asyncio.gather(*waiting):
            problem_of(answer, 503, "unavailable")


@pytest.mark.parametrize(
    "changed",
    [
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"authorization_endpoint": "http://x/\r\nset-cookie: a"},
        {"issuer": "http://evil.example"},
    ],
    ids=str,
)
async def test_a_discovery_document_that_leads_astray_is_not_followed(
    issuer: SignInIssuer, tmp_path: Path, changed: dict[str, Any]
) -> None:
    issuer.discovery |= changed
    async with signing_in(issuer, tmp_path) as at:
        for _ in range(3):
            assert (await at.client.get(ROUTE)).json()["sign_in"]["authorization_endpoint"] is None
        problem_of(await redeem(at, "c"), 503, "unavailable")
    assert issuer.asked == ["/.well-known/openid-configuration"]


async def test_a_token_endpoint_of_the_cloud_is_not_called(issuer: SignInIssuer, tmp_path: Path) -> None:
    issuer.discovery["token_endpoint"] = "http://169.254.169.254/token"
    async with signing_in(issuer, tmp_path) as at:
        answer = await redeem(at, await code_of(at))
        assert answer.status_code in {400, 403, 422, 503}
        assert "169.254" not in answer.text or answer.json()["code"] == "forbidden_address"


async def test_a_stranger_who_tries_codes_is_slowed_down(issuer: SignInIssuer, tmp_path: Path) -> None:
    async with signing_in(issuer, tmp_path, RATE_LIMITS="stranger=1/3") as at:
        codes = [(await redeem(at, f"c{number}")).status_code for number in range(6)]
    assert codes.count(429) >= 2
    assert issuer.asked.count("/token") <= 4


async def test_without_a_client_people_use_keys(issuer: SignInIssuer, tmp_path: Path) -> None:
    settings = {"FLOWC_OIDC_ISSUER": issuer.url, "FLOWC_OIDC_AUDIENCE": AUDIENCE}
    async with one_machine(tmp_path / "a", settings) as at:
        assert (await at.client.get(ROUTE)).json() == {"access": "on", "sign_in": None}
        problem_of(await redeem(at, "c"), 404, "unknown_identity_provider")
    async with one_machine(tmp_path / "b") as at:
        assert (await at.client.get(ROUTE)).json() == {"access": "off", "sign_in": None}


def test_scopes_begin_with_openid() -> None:
    with pytest.raises(SettingsError, match="FLOWC_OIDC_SCOPE"):
        Settings.from_mapping({"FLOWC_OIDC_SCOPE": "profile"})
