"""Tokens by public keys, with a library for such tokens as the other side; and what nobody may get believed."""

import json
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from functions._core.errors import Rejected
from functions._engine.jose import MAX_TOKEN, Malformed, SigningKey, public_key, signing_keys, taken_apart
from functions._engine.settings import Settings, SettingsError
from functions._engine.tokens import AUDIENCE, JwtTokens

SECRET = b"k" * 32
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLAIMS = {"aud": AUDIENCE, "ticket_id": "t-1", "attempt": 2, "sub": "w-1", "iat": 0, "exp": 4_000_000_000}
MAKE: dict[str, Callable[[], Any]] = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
}
ALGORITHMS = pytest.mark.parametrize("algorithm", MAKE)


class StoppedClock:
    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def pem_of(key: Any) -> str:
    return str(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
    )


def public_pem_of(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


def tokens_of(*pems: str) -> JwtTokens:
    return JwtTokens(SECRET, StoppedClock(), signing_keys("".join(pems)))


def mint(tokens: JwtTokens) -> str:
    return tokens.mint(ticket_id="t-1", attempt=2, worker_id="w-1", expires_at=NOON + timedelta(minutes=1))


def refusal(tokens: JwtTokens, token: str) -> Rejected:
    with pytest.raises(Rejected) as refused:
        tokens.claims(token)
    assert refused.value.status == 401
    return refused.value


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@ALGORITHMS
def test_a_library_verifies_by_the_published_key_what_is_minted(algorithm: str) -> None:
    tokens = tokens_of(pem_of(MAKE[algorithm]()))
    token = mint(tokens)
    published = jwt.PyJWKSet([dict(key) for key in tokens.public_keys()])
    kid = jwt.get_unverified_header(token)["kid"]
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(token, published[kid].key, algorithms=[algorithm], audience=AUDIENCE, options=options)
    assert claims == tokens.claims(token)
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": kid, "typ": "JWT"}
    assert "d" not in tokens.public_keys()[0]


@ALGORITHMS
def test_what_a_library_signs_with_the_key_is_believed(algorithm: str) -> None:
    key = MAKE[algorithm]()
    tokens = tokens_of(pem_of(key))
    kid = tokens.public_keys()[0]["kid"]
    assert tokens.claims(jwt.encode(CLAIMS, key, algorithm=algorithm, headers={"kid": kid})) == CLAIMS


@ALGORITHMS
def test_the_name_of_a_key_is_its_thumbprint_and_keys_read_from_it_verify(algorithm: str) -> None:
    tokens = tokens_of(pem_of(MAKE[algorithm]()))
    published = tokens.public_keys()[0]
    without_name = {name: value for name, value in published.items() if name != "kid"}
    assert public_key(without_name).kid == published["kid"]
    raw = taken_apart(mint(tokens))
    assert public_key(published).verifies(raw.signed, raw.signature)
    assert not public_key(published).verifies(raw.signed + b"x", raw.signature)


def test_keys_without_a_name_are_told_apart_whatever_their_kind() -> None:
    rsa_keys = [rsa.generate_private_key(65537, 2048).public_key() for _ in range(2)]
    jwks = [dict(jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)) for key in rsa_keys]
    assert len({public_key(jwk).kid for jwk in jwks}) == len(jwks)


def test_keys_are_changed_without_a_token_being_lost() -> None:
    old, new = pem_of(MAKE["EdDSA"]()), pem_of(MAKE["ES256"]())
    by_secret, before, between, after = (
        JwtTokens(SECRET, StoppedClock()),
        tokens_of(old),
        tokens_of(new, old),
        tokens_of(new),
    )
    assert before.claims(mint(by_secret))
    assert between.claims(mint(before))
    assert after.claims(mint(between))
    assert refusal(after, mint(before)).code == "bad_token"
    assert refusal(by_secret, mint(before)).code == "bad_token"
    assert [key["alg"] for key in between.public_keys()] == ["ES256", "EdDSA"]


def test_a_public_key_is_believed_and_does_not_sign() -> None:
    other = MAKE["EdDSA"]()
    tokens = tokens_of(pem_of(MAKE["ES256"]()), public_pem_of(other))
    assert tokens.claims(mint(tokens_of(pem_of(other))))
    assert jwt.get_unverified_header(mint(tokens))["alg"] == "ES256"


@ALGORITHMS
def test_no_header_gets_a_token_believed(algorithm: str) -> None:
    key = MAKE[algorithm]()
    tokens = tokens_of(pem_of(key))
    published = tokens.public_keys()[0]
    kid = published["kid"]
    genuine = mint(tokens)
    head, payload, signature = genuine.split(".")

    def with_header(header: object, signature: str = signature) -> str:
        return f"{part(header)}.{payload}.{signature}"

    forged = {
        "none": with_header({"alg": "none", "typ": "JWT"}, ""),
        "none of the key": with_header({"alg": "none", "kid": kid, "typ": "JWT"}),
        "None": with_header({"alg": "None", "kid": kid, "typ": "JWT"}),
        "HS256 by the public key": jwt.api_jws.PyJWS().encode(
            json.dumps(CLAIMS).encode(), published["x"].encode(), algorithm="HS256", headers={"kid": kid}
        ),
        "another algorithm": with_header({"alg": "RS256", "kid": kid, "typ": "JWT"}),
        "no kid": with_header({"alg": algorithm, "typ": "JWT"}),
        "a kid that is a path": with_header({"alg": algorithm, "kid": "../../dev/null", "typ": "JWT"}),
        "a kid that is no text": with_header({"alg": algorithm, "kid": [kid], "typ": "JWT"}),
        "a long kid": with_header({"alg": algorithm, "kid": "x" * 10_000, "typ": "JWT"}),
        "a key of its own": with_header({"alg": algorithm, "jwk": published, "typ": "JWT"}),
        "an address of keys": with_header({"alg": algorithm, "kid": kid, "jku": "http://x", "typ": "JWT"}),
        "a type that is no text": with_header({"alg": algorithm, "kid": kid, "typ": []}),
        "an algorithm that is no text": with_header({"alg": {}, "kid": kid, "typ": "JWT"}),
        "an extension": with_header({"alg": algorithm, "kid": kid, "crit": ["b64"], "b64": False}),
        "another type": jwt.encode(CLAIMS, key, algorithm=algorithm, headers={"kid": kid, "typ": "at+jwt"}),
        "another key": jwt.encode(CLAIMS, MAKE[algorithm](), algorithm=algorithm, headers={"kid": kid}),
        "no header": f".{payload}.{signature}",
        "a list": f"{part([])}.{payload}.{signature}",
        "deep": f"{urlsafe_b64encode(b'[' * 9_000).decode()}.{payload}.{signature}",
        "a payload that is none": jwt.api_jws.PyJWS().encode(b"[]", key, algorithm=algorithm, headers={"kid": kid}),
        "huge": "e30." * MAX_TOKEN,
        "padded": genuine + "=",
        "four parts": genuine + ".x",
        "a longer signature": genuine + "AAAA",
        "no signature": f"{head}.{payload}.",
        "zeros": f"{head}.{payload}.{'A' * 86}",
        "umlauts": f"{head}.ü.{signature}",
    }
    begun = time.thread_time()
    assert {name: refusal(tokens, token).code for name, token in forged.items()} == dict.fromkeys(forged, "bad_token")
    assert time.thread_time() - begun < 0.05 * len(forged)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aud": "somebody-else"}, "bad_token"),
        ({"aud": ["somebody-else"]}, "bad_token"),
        ({"aud": [AUDIENCE, "other"]}, "bad_token"),
        ({"exp": NOON.timestamp()}, "expired_token"),
        ({"nbf": NOON.timestamp() + 31}, "bad_token"),
        ({"ticket_id": None}, "bad_token"),
    ],
    ids=str,
)
def test_no_claim_is_passed_over(changed: dict[str, Any], code: str) -> None:
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    for tokens, key, algorithm in (
        (JwtTokens(SECRET, StoppedClock()), SECRET, "HS256"),
        *((tokens_of(pem_of(made)), made, name) for name, made in ((name, make()) for name, make in MAKE.items())),
    ):
        published = tokens.public_keys()
        headers = {"kid": published[0]["kid"]} if published else None
        token = jwt.encode(claims, key, algorithm=algorithm, headers=headers)
        assert refusal(tokens, token).code == code


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "x",
        pem_of(rsa.generate_private_key(65537, 2048)),
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        public_pem_of(MAKE["EdDSA"]()),
        pem_of(MAKE["EdDSA"]())[:-60],
    ],
    ids=["nothing", "no PEM", "RSA", "P-384", "only public", "cut"],
)
def test_keys_that_cannot_sign_are_refused_and_not_shown(pem: str) -> None:
    with pytest.raises(Malformed):
        signing_keys(pem)
    with pytest.raises(SettingsError, match="FLOWC_TOKEN_KEYS") as error:
        Settings.from_mapping({"FLOWC_TOKEN_KEYS": pem or "-"})
    assert len(pem) < 100 or pem.splitlines()[1] not in str(error.value)


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "a2V5"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "x": 1},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "x" * 100_000, "e": "AQAB"},
    ],
    ids=str,
)
def test_a_jwk_that_is_no_good_key_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        public_key(jwk)


def test_a_key_is_not_shown() -> None:
    pem = pem_of(MAKE["EdDSA"]())
    key = signing_keys(pem)[0]
    assert isinstance(key, SigningKey)
    assert pem.splitlines()[1] not in f"{key} {Settings.from_mapping({'FLOWC_TOKEN_KEYS': pem})!r}"


def test_nothing_for_public_keys_is_imported_where_there_is_none() -> None:
    """A cold start pays for what it uses alone."""
    code = "import functions._hosts.api_app, functions._hosts.one_machine.process, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {
        "cryptography",
        "jwt",
        "functions._engine.oidc",
        "functions._adapters.vault",
        "functions._adapters.secrets",
    }
    assert rooms & set(run.stdout.split()) == set()
