"""A real OpenID Connect provider on loopback: discovery, keys that a library signs with, and sign-in by code."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.loopback import Answer, Loopback, Request

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AUDIENCE = "flowc"
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
CLIENT = "console"
CODE_HOLDS_S = 600


class Issuer:
    """A provider: discovery, keys, and how often each was asked for."""

    def __init__(self, loopback: Loopback) -> None:
        self.loopback = loopback
        self.url = loopback.url
        self.keys = dict(KEYS)
        self.asked: list[str] = []
        self.away = False
        self.discovery: dict[str, Any] = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        loopback.answer = self.answer

    async def answer(self, request: Request) -> Answer:
        self.asked.append(request.path)
        if self.away:
            return Answer(503)
        document = self.discovery if request.path.endswith("openid-configuration") else {"keys": self.published()}
        return Answer(200, json.dumps(document).encode())

    def published(self) -> list[dict[str, Any]]:
        other = {"kty": "oct", "k": "a2V5", "kid": "symmetric"}
        encryption = {**self._jwk("RS256"), "use": "enc", "kid": "encryption"}
        return [other, encryption, *({**self._jwk(name), "kid": name} for name in self.keys)]

    def _jwk(self, name: str) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name(name)
        public = self.keys.get(name, KEYS[name]).public_key()
        found: dict[str, Any] = json.loads(algorithm.to_jwk(public))
        return found

    def token(
        self, algorithm: str = "EdDSA", *, key: Any = None, head: dict[str, Any] | None = None, **changed: Any
    ) -> str:
        now = NOON.timestamp()
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "exp": now + 60, "iat": now, "roles": ["operator"]}
        claims = {name: value for name, value in (claims | changed).items() if value is not None}
        return jwt.encode(
            claims, key or KEYS[algorithm], algorithm=algorithm, headers={"kid": algorithm} | (head or {})
        )


class SignInIssuer(Issuer):
    """A provider at which ada signs in by going there; its tokens hold from now on.

    `access` are claims of her access token, None gives her one that only the provider can read; `nonce` overrules the
    one that was asked for. `secret` is the client's, if it has one.
    """

    def __init__(self, loopback: Loopback) -> None:
        super().__init__(loopback)
        self.discovery |= {
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }
        self.codes: dict[str, dict[str, str]] = {}
        self.access: dict[str, Any] | None = {}
        self.nonce: str | None = None
        self.secret: str | None = None
        self.redirects: set[str] | None = None
        self.answered: Answer | None = None

    async def answer(self, request: Request) -> Answer:
        if request.path == "/authorize":
            self.asked.append(request.path)
            return self.authorized(request.query)
        if request.path == "/token":
            self.asked.append(request.path)
            return self.answered or self.redeemed(request)
        return await super().answer(request)

    def authorized(self, asked: dict[str, str]) -> Answer:
        """Sign ada in, and send her browser back with a code."""
        if asked["client_id"] != CLIENT or asked["code_challenge_method"] != "S256" or len(asked["nonce"]) < 16:
            return Answer(400)
        if self.redirects is not None and asked["redirect_uri"] not in self.redirects:
            return Answer(400, b"this address is not registered")
        code = token_hex(16)
        self.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        return Answer(302, b"", {"location": f"{asked['redirect_uri']}?{back}"})

    def redeemed(self, request: Request) -> Answer:
        """Give the tokens for a code, once, to whoever has its verifier."""
        form = dict(parse_qsl(request.body.decode()))
        asked = self.codes.pop(form["code"], None)
        challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        fits = asked is not None and (asked["code_challenge"], asked["redirect_uri"], asked["client_id"]) == (
            challenge,
            form["redirect_uri"],
            form["client_id"],
        )
        if asked is None or not fits:
            return Answer(400, b'{"error": "invalid_grant"}')
        if self.secret is not None and self.secret not in request.headers.get("authorization", ""):
            return Answer(401, b'{"error": "invalid_client"}')
        later = datetime.now(UTC).timestamp() + CODE_HOLDS_S
        access = "opaque" if self.access is None else self.token(**{"exp": later} | self.access)
        identity = self.token(aud=CLIENT, exp=later, nonce=self.nonce or asked["nonce"])
        return Answer(200, json.dumps({"access_token": access, "id_token": identity, "expires_in": 600}).encode())
