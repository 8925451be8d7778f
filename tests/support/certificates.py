"""Certificates made for one test: an authority that nobody trusts by itself, and servers that it vouches for."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LIFE = timedelta(hours=1)


def named(name: str) -> x509.Name:
    """Return a subject."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    """Makes certificates; `file` is its own, for those who are to trust it."""

    def __init__(self, folder: Path, name: str = "tests") -> None:
        self._name, self._key = named(name), ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}-ca.pem"
        basic = x509.BasicConstraints(ca=True, path_length=0)
        made = self._builder(self._name).public_key(self._key.public_key()).add_extension(basic, critical=True)
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(self, certificate: Path, key: Path, address: str = "127.0.0.1", *, name: str = "server") -> None:
        """Write a new certificate and its key for a server at `address`."""
        private = ec.generate_private_key(ec.SECP256R1())
        at = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        made = self._builder(named(name)).public_key(private.public_key()).add_extension(at, critical=False)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, subject: x509.Name) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        return made.serial_number(x509.random_serial_number()).not_valid_before(now - LIFE).not_valid_after(now + LIFE)
