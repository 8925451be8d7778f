"""Signed tokens with public keys: JWS in its compact form, by EdDSA, ES256 and RS256 (RFC 7515, 7517, 7518, 8037).

A key has one algorithm, which follows from what kind of key it is: a token cannot choose another. PyJWT reads keys,
signs and verifies; it is imported where there is such a key, and nowhere else.
"""

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

MAX_TOKEN = 16 * 1024
"""Characters of a token; a longer one is refused before anything of it is decoded."""

MAX_KID = 200
MIN_RSA_BITS = 2048

MAX_PART = 1024
"""Characters of a number of a key; that of RSA with 6,000 bits has so many."""

ALGORITHMS: Mapping[tuple[object, object], str] = {
    ("OKP", "Ed25519"): "EdDSA",
    ("EC", "P-256"): "ES256",
    ("RSA", None): "RS256",
}
"""The algorithm of each kind of key that is used."""

PARTS = ("crv", "e", "kty", "n", "x", "y")
"""The fields of a JWK that make the public key, in the order of its thumbprint (RFC 7638)."""


class Malformed(ValueError):
    """A token or a key that nothing can be done with; the message says why."""


class RawToken(NamedTuple):
    """A token taken apart; nothing of it is known to be true."""

    header: Mapping[str, Any]
    payload: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies; `jwk` is how it is published, `kid` included."""

    kid: str
    algorithm: str
    verifies: Callable[[bytes, bytes], bool]
    jwk: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, with the public one of it."""

    public: PublicKey
    _sign: Callable[[bytes], bytes] = field(repr=False)

    def token(self, payload: bytes) -> bytes:
        """Return the token of a payload."""
        header = {"alg": self.public.algorithm, "kid": self.public.kid, "typ": "JWT"}
        signed = encoded(json.dumps(header, separators=(",", ":")).encode()) + b"." + encoded(payload)
        return signed + b"." + encoded(self.signature(signed))

    def signature(self, data: bytes) -> bytes:
        """Return the signature of bytes; that of P-256 is two numbers of 32 bytes, as JWS has them."""
        return self._sign(data)


def encoded(data: bytes) -> bytes:
    """Return base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=")


def decoded(text: bytes) -> bytes:
    """Return what base64url stands for; raise `Malformed`. No two texts stand for the same."""
    try:
        data = b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise Malformed("not base64url") from error
    if encoded(data) != text:
        raise Malformed("not base64url")
    return data


def taken_apart(token: str) -> RawToken:
    """Return the parts of a token; raise `Malformed` for one that is too large, or has no header of a signed token."""
    if len(token) > MAX_TOKEN or not token.isascii():
        raise Malformed("too large")
    parts = token.encode().split(b".")
    if len(parts) != 3:  # noqa: PLR2004 header, payload, signature
        raise Malformed("not three parts")
    header = json_object(decoded(parts[0]))
    kid = header.get("kid")
    if not isinstance(header.get("alg"), str) or not (kid is None or (isinstance(kid, str) and len(kid) <= MAX_KID)):
        raise Malformed("no header of a signed token")
    if "crit" in header:
        raise Malformed("extensions that are not understood")
    return RawToken(header, decoded(parts[1]), parts[0] + b"." + parts[1], decoded(parts[2]))


def verified(raw: RawToken, key: PublicKey | None, *, types: Sequence[str | None]) -> dict[str, Any]:
    """Return the claims of a token of one of the `types` that `key` has signed by its own algorithm; raise `Malformed`.

    Whoever wrote the header had the choice of the key at most, never of how it is used.
    """
    if key is None or raw.header["alg"] != key.algorithm:
        raise Malformed("of no key that is known here")
    if raw.header.get("typ") not in types:
        raise Malformed("a token for something else")
    if not key.verifies(raw.signed, raw.signature):
        raise Malformed("of another key")
    return json_object(raw.payload)


def json_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object; raise `Malformed`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error
    if not isinstance(value, dict):
        raise Malformed("no JSON object")
    return value


def public_key(jwk: Mapping[str, Any]) -> PublicKey:
    """Return the key that a JWK describes; raise `Malformed` for a kind that is not used, or a weak one."""
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    if not isinstance(jwk, Mapping):
        raise Malformed("no JSON object")
    parts = {name: jwk[name] for name in PARTS if name in jwk}
    if not all(isinstance(part, str) and len(part) <= MAX_PART for part in parts.values()):
        raise Malformed("no usable key")
    algorithm = _algorithm_of(parts)
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        raise Malformed("a key for something else")
    try:
        key = PyJWK(parts, algorithm).key
    except (PyJWTError, ValueError) as error:
        raise Malformed("no usable key") from error
    kid = jwk.get("kid")
    return _public(key, kid if isinstance(kid, str) else None)


def signing_keys(pem: str) -> Sequence[SigningKey | PublicKey]:
    """Return the keys of PEM blocks, one after the other; raise `Malformed`. Public ones only verify."""
    from cryptography.hazmat.primitives import serialization

    keys: list[SigningKey | PublicKey] = []
    for block in pem.replace("\\n", "\n").split("-----BEGIN ")[1:]:
        text = f"-----BEGIN {block}".encode()
        try:
            if block.startswith("PUBLIC KEY"):
                keys.append(_public(serialization.load_pem_public_key(text)))
            else:
                keys.append(_signing(serialization.load_pem_private_key(text, password=None)))
        except (ValueError, TypeError) as error:
            raise Malformed("a block of PEM that holds no Ed25519 or P-256 key") from error
    if not keys or not isinstance(keys[0], SigningKey):
        raise Malformed("the first block of PEM has to be a private key, Ed25519 or P-256")
    return keys


def _signing(private: Any) -> SigningKey:  # noqa: ANN401 of any kind
    from jwt.algorithms import get_default_algorithms

    public = _public(private.public_key())
    if public.algorithm not in {"EdDSA", "ES256"}:
        raise Malformed("tokens are signed by Ed25519 or P-256")
    return SigningKey(public, partial(get_default_algorithms()[public.algorithm].sign, key=private))


def _public(key: Any, kid: str | None = None) -> PublicKey:  # noqa: ANN401 of any kind
    """Return a public key of the library as ours; without a name its thumbprint is its name."""
    from jwt.algorithms import get_default_algorithms

    jwk = _jwk_of(key)
    parts = {name: jwk[name] for name in PARTS if name in jwk}
    algorithm = _algorithm_of(parts)
    if algorithm == "RS256" and key.key_size < MIN_RSA_BITS:
        raise Malformed("a weak key")
    thumbprint = encoded(sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()).decode()
    name = kid or thumbprint
    verify = get_default_algorithms()[algorithm].verify
    published = {**parts, "alg": algorithm, "kid": name, "use": "sig"}
    return PublicKey(name, algorithm, lambda signed, signature: verify(signed, key, signature), published)


def _jwk_of(key: Any) -> Mapping[str, Any]:  # noqa: ANN401 of any kind
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    from jwt.exceptions import InvalidKeyError

    for kind in (OKPAlgorithm, ECAlgorithm, RSAAlgorithm):
        with suppress(InvalidKeyError):
            return kind.to_jwk(key, as_dict=True)
    raise Malformed("a key of a kind that is not used")


def _algorithm_of(parts: Mapping[str, Any]) -> str:
    algorithm = ALGORITHMS.get((parts.get("kty"), parts.get("crv")))
    if algorithm is None:
        raise Malformed("a key of a kind that is not used")
    return algorithm
