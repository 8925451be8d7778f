"""Signed tokens with public keys: JWS in its compact form, by EdDSA, ES256 and RS256 (RFC 7515, 7517, 7518, 8037).

A key has one algorithm, which follows from what kind of key it is: a token cannot choose another. `cryptography`
does the mathematics; it is imported where there is such a key, and nowhere else.
"""

import json
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

MAX_TOKEN = 16 * 1024
"""Characters of a token; a longer one is refused before anything of it is decoded."""

MAX_KID = 200
MIN_RSA_BITS = 2048
ES256_BYTES = 32
"""Bytes of each of the two numbers of a signature by ES256."""


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
        return signed + b"." + encoded(self._sign(signed))


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
    try:
        kind = jwk["kty"], jwk.get("crv")
        if kind == ("OKP", "Ed25519"):
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

            return _public(Ed25519PublicKey.from_public_bytes(_bytes(jwk["x"])), jwk)
        if kind == ("EC", "P-256"):
            from cryptography.hazmat.primitives.asymmetric import ec

            return _public(
                ec.EllipticCurvePublicNumbers(_int(jwk["x"]), _int(jwk["y"]), ec.SECP256R1()).public_key(), jwk
            )
        if kind == ("RSA", None):
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

            return _public(RSAPublicNumbers(_int(jwk["e"]), _int(jwk["n"])).public_key(), jwk)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("no usable key") from error
    raise Malformed("a key of a kind that is not used")


def signing_keys(pem: str) -> Sequence[SigningKey | PublicKey]:
    """Return the keys of PEM blocks, one after the other; raise `Malformed`. Public ones only verify."""
    from cryptography.hazmat.primitives import serialization

    keys: list[SigningKey | PublicKey] = []
    for block in pem.replace("\\n", "\n").split("-----BEGIN ")[1:]:
        text = f"-----BEGIN {block}".encode()
        try:
            if block.startswith("PUBLIC KEY"):
                keys.append(_public(serialization.load_pem_public_key(text), {}))
            else:
                keys.append(_signing(serialization.load_pem_private_key(text, password=None)))
        except (ValueError, TypeError) as error:
            raise Malformed("a block of PEM that holds no Ed25519 or P-256 key") from error
    if not keys or not isinstance(keys[0], SigningKey):
        raise Malformed("the first block of PEM has to be a private key, Ed25519 or P-256")
    return keys


def _signing(private: Any) -> SigningKey:  # noqa: ANN401 of any kind
    public = _public(private.public_key(), {})
    if public.algorithm == "EdDSA":
        return SigningKey(public, private.sign)
    if public.algorithm != "ES256":
        raise Malformed("tokens are signed by Ed25519 or P-256")
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    def sign(data: bytes) -> bytes:
        numbers = utils.decode_dss_signature(private.sign(data, ec.ECDSA(SHA256())))
        return b"".join(number.to_bytes(ES256_BYTES, "big") for number in numbers)

    return SigningKey(public, sign)


def _public(key: Any, given: Mapping[str, Any]) -> PublicKey:  # noqa: ANN401 of any kind
    """Return a key of `cryptography` as ours; `given` is the JWK that it comes from, which may name it."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PublicKey):
        algorithm, verify = "EdDSA", _by_ed25519(key)
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": encoded(key.public_bytes_raw()).decode()}
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        algorithm, verify = "ES256", _by_p256(key)
        numbers = key.public_numbers()
        x, y = (encoded(number.to_bytes(ES256_BYTES, "big")).decode() for number in (numbers.x, numbers.y))
        jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        algorithm, verify, jwk = "RS256", _by_rsa(key), {}
    else:
        raise Malformed("a key of a kind that is not used, or a weak one")
    if given.get("alg", algorithm) != algorithm or given.get("use", "sig") != "sig":
        raise Malformed("a key for something else")
    # RFC 7638: the name of a key is the hash of what it is.
    kid = given.get("kid") or encoded(sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())
    name = kid if isinstance(kid, str) else kid.decode()
    return PublicKey(name, algorithm, verify, {**jwk, "alg": algorithm, "kid": name, "use": "sig"})


def _by_ed25519(key: Any) -> Callable[[bytes, bytes], bool]:  # noqa: ANN401 of `cryptography`
    return lambda signed, signature: _holds(lambda: key.verify(signature, signed))


def _by_p256(key: Any) -> Callable[[bytes, bytes], bool]:  # noqa: ANN401 of `cryptography`
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    def verifies(signed: bytes, signature: bytes) -> bool:
        if len(signature) != 2 * ES256_BYTES:
            return False
        numbers = (int.from_bytes(half, "big") for half in (signature[:ES256_BYTES], signature[ES256_BYTES:]))
        der = utils.encode_dss_signature(*numbers)
        return _holds(lambda: key.verify(der, signed, ec.ECDSA(SHA256())))

    return verifies


def _by_rsa(key: Any) -> Callable[[bytes, bytes], bool]:  # noqa: ANN401 of `cryptography`
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    return lambda signed, signature: _holds(lambda: key.verify(signature, signed, PKCS1v15(), SHA256()))


def _holds(verify: Callable[[], object]) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        verify()
    except InvalidSignature:
        return False
    return True


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _int(text: str) -> int:
    if len(text) > 1024:  # noqa: PLR2004 characters of a key of RSA with 6,000 bits
        raise Malformed("a number that is too large for a key")
    return int.from_bytes(_bytes(text), "big")
