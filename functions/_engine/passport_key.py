"""The key that signs passports: the first private one of FLOWC_TOKEN_KEYS, or on one machine one of its own."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from functions._engine.jose import SigningKey, signing_keys
from functions._engine.key_file import load_or_create
from functions._engine.settings import Settings

FILE = "passport.pem"

ES256_NUMBER = 32
"""Bytes of each of the two numbers of a signature with P-256."""


class PassportKey(NamedTuple):
    """A private key, and the public one by which others check its signatures."""

    keyid: str
    """The thumbprint of the public key (RFC 7638)."""
    algorithm: str
    """EdDSA (Ed25519), or ES256 (P-256 with SHA-256)."""
    public_pem: str
    """The public key, PEM."""
    sign: Callable[[bytes], bytes]
    """Return the signature of bytes, as DSSE has it: of P-256 as DER."""


def passport_key(settings: Settings) -> PassportKey | None:
    """Return the key; None where the settings name none and the process is one of several, with no file in common.

    Raises `ValueError` for a key that cannot be used, `OSError` for a file that cannot be read or made.
    """
    if settings.token_keys is not None:
        pem = settings.token_keys.get_secret_value()
    elif settings.database_url is None and settings.table is None:
        pem = load_or_create(settings.data / FILE, _new_key).decode("ascii")
    else:
        return None
    key = signing_keys(pem)[0]
    if not isinstance(key, SigningKey):
        raise TypeError("the first key signs")  # `signing_keys` says so
    return PassportKey(key.public.kid, key.public.algorithm, _public_pem(key.public.jwk), _signing(key))


def _signing(key: SigningKey) -> Callable[[bytes], bytes]:
    def sign(data: bytes) -> bytes:
        signature = key.signature(data)
        if key.public.algorithm != "ES256":
            return signature
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        r, s = (int.from_bytes(part) for part in (signature[:ES256_NUMBER], signature[ES256_NUMBER:]))
        return encode_dss_signature(r, s)

    return sign


def _public_pem(jwk: Mapping[str, str]) -> str:
    from cryptography.hazmat.primitives import serialization
    from jwt import PyJWK

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public: bytes = PyJWK(dict(jwk)).key.public_bytes(serialization.Encoding.PEM, form)
    return public.decode()


def _new_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Ed25519PrivateKey.generate().private_bytes(*form)
