"""The key that signs what the forge makes, and the public one by which others check it.

    WORKER_FORGE_KEY_FILE        a private key, PEM: P-256, which is what cosign uses, or Ed25519
    WORKER_FORGE_KEY_PASSPHRASE  what it is encrypted with, if it is

Stages see a `Signer` alone. One that asks Sigstore for a certificate would be another `Signer`, whose `material` has
the certificate and the entry of Rekor in place of the key.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from functions._core.forge.log_entries import LogIdentity
from functions._executors.settings import ExecutorSettings

KEY_FILE = "WORKER_FORGE_KEY_FILE"
PASSPHRASE = "WORKER_FORGE_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable

KEY_BYTES = 16 * 1024

MOST_IN_MEMORY = 256 * 1024 * 1024
"""Bytes of a file that Ed25519 signs, which needs the whole of it; P-256 signs the hash."""

CHUNK = 1024 * 1024


class SigningFailed(ValueError):
    """Something cannot be signed; it says why, and never what the key is."""


class VerificationKey(NamedTuple):
    """A public key, and the names that formats have for it."""

    key_id: str
    """As in-toto and securesystemslib compute it."""
    hint: str
    """As Sigstore bundles name it: base64 of the SHA-256 of the key as DER."""
    log_id: str
    """The same hash in hexadecimal digits."""
    pem: str
    verify: Callable[[bytes, bytes], bool]
    """Whether the second is a signature of the first."""
    note_hash: Callable[[str], bytes]
    """Return what a signed note calls the key, by the name of the log."""

    @property
    def material(self) -> Mapping[str, Any]:
        """The `verificationMaterial` of Sigstore bundles by the key."""
        return {"publicKey": {"hint": self.hint}, "tlogEntries": []}

    def log(self, name: str) -> LogIdentity:
        """Return what a log with this key is known by."""
        return LogIdentity(name, self.log_id, self.note_hash(name))


class Signer(Protocol):
    """Signs bytes and files."""

    @property
    def public(self) -> VerificationKey:
        """Whom others have to believe."""

    @property
    def material(self) -> Mapping[str, Any]:
        """The `verificationMaterial` of Sigstore bundles."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature: of P-256 as DER. It is the same for the same bytes."""

    def sign_file(self, path: Path, digest: str) -> bytes:
        """Return that of a file with this hash. Raises `SigningFailed` for a file with another one."""


def signer_of(settings: ExecutorSettings) -> "Signer | None":
    """Return the signer of a worker; None where its owner names no key. Raises `SigningFailed`."""
    where = settings.environment.get(KEY_FILE, "").strip()
    if not where:
        return None
    try:
        with Path(where).open("rb") as file:
            pem = file.read(KEY_BYTES)
    except OSError as error:
        raise SigningFailed(f"{KEY_FILE} cannot be read: {error.strerror}") from error
    if b"SIGSTORE PRIVATE KEY" in pem or b"COSIGN PRIVATE KEY" in pem:
        raise SigningFailed(f"{KEY_FILE} is a key in cosign's own form; make one by openssl and import it into cosign")
    return KeySigner(pem, settings.environment.get(PASSPHRASE, ""))


class KeySigner:
    """Signs with a key of the worker's owner."""

    def __init__(self, pem: bytes, passphrase: str = "") -> None:
        """Read the key; raise `SigningFailed`."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, passphrase.encode() or None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            text = f"{KEY_FILE} is no private key, PEM, or {PASSPHRASE} is not what it is encrypted with"
            raise SigningFailed(text) from None  # what failed may have a part of it
        if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
            self._hashed = True
        elif isinstance(key, Ed25519PrivateKey):
            self._hashed = False
        else:
            raise SigningFailed(f"{KEY_FILE} is neither P-256 nor Ed25519")
        self._key: Any = key
        self.public = _public(key.public_key())
        self.material = self.public.material

    def sign(self, data: bytes) -> bytes:
        """See `Signer.sign`."""
        return self._of_hash(sha256(data).digest()) if self._hashed else self._signed(data)

    def sign_file(self, path: Path, digest: str) -> bytes:
        """See `Signer.sign_file`."""
        found, data = sha256(), bytearray()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
                if self._hashed:
                    continue
                data += chunk
                if len(data) > MOST_IN_MEMORY:
                    raise SigningFailed(f"{path.name} has more than {MOST_IN_MEMORY} bytes, which Ed25519 cannot sign")
        if found.hexdigest() != digest:
            raise SigningFailed(f"{path.name} is not the file that was made: it has another hash")
        return self._of_hash(found.digest()) if self._hashed else self._signed(bytes(data))

    def _signed(self, data: bytes) -> bytes:
        made: bytes = self._key.sign(data)
        return made

    def _of_hash(self, digest: bytes) -> bytes:
        """Return the signature of a hash, by RFC 6979: a stage that is done again makes the same one."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
        from cryptography.hazmat.primitives.hashes import SHA256

        made: bytes = self._key.sign(digest, ECDSA(Prehashed(SHA256()), deterministic_signing=True))
        return made


def public_key(pem: str) -> VerificationKey:
    """Return a public key, PEM, of P-256 or Ed25519; raise `SigningFailed`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _public(load_pem_public_key(pem.encode()))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningFailed("that is no public key, PEM, of P-256 or Ed25519") from error


def _public(key: Any) -> VerificationKey:  # noqa: ANN401 - one of many classes
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(key, Ed25519PublicKey):
        kind, scheme, value = "ed25519", "ed25519", key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    elif isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        kind, scheme = "ecdsa", "ecdsa-sha2-nistp256"
        value = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    else:
        raise ValueError("it is neither P-256 nor Ed25519")  # noqa: TRY004 - as a key that cannot be read
    der = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def note_hash(name: str) -> bytes:
        if kind == "ecdsa":
            return der.digest()[:4]
        return sha256(name.encode() + b"\n\x01" + bytes.fromhex(value)).digest()[:4]

    return VerificationKey(
        _key_id(kind, scheme, value),
        b64encode(der.digest()).decode(),
        der.hexdigest(),
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        _verifying(key),
        note_hash,
    )


def _key_id(kind: str, scheme: str, value: str) -> str:
    """Return the hash of a key in the canonical JSON of OLPC, which escapes no line ends."""
    text = f'{{"keytype":"{kind}","keyval":{{"public":"{value}"}},"scheme":"{scheme}"}}'
    return sha256(text.encode()).hexdigest()


def _verifying(key: Any) -> Callable[[bytes, bytes], bool]:  # noqa: ANN401 - as above
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    def verify(data: bytes, signature: bytes) -> bool:
        try:
            if isinstance(key, EllipticCurvePublicKey):
                key.verify(signature, data, ECDSA(SHA256()))
            else:
                key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return verify
