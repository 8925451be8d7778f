"""`flowc verify` and what the code forge has made: a change of files, bundles, provenance or log is found."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import Result

from functions._core.passport.envelope import envelope
from functions._executors.forge.attestations import Attestations
from functions._executors.forge.signing import signer_of
from tests.support.attested_build import MADE, AttestedBuild, new_key, openssl
from tests.support.command_line import flowc

WHEEL = "shop-1.0-py3-none-any.whl"


class Delivered:
    """What somebody gets who checks a build: files in one folder, the public key, and the store with the log."""

    def __init__(self, folder: Path, key: Path | None) -> None:
        self.build = AttestedBuild(folder, key)
        self.build.vouch(attempt=1)
        self.vouched: Attestations = self.build.vouch(attempt=2)
        self.folder = self.build.dist
        self.build.deliver(self.vouched, self.folder)

    def verify(self, name: str, *more: str, key: bool = True) -> Result:
        """Check a file of the folder."""
        by = ("--key", str(self.build.public)) if key else ()
        paths = [str(self.folder / one) if (self.folder / one).is_file() else one for one in more]
        return flowc("verify", str(self.folder / name), *paths, *by)


@pytest.fixture(scope="module", params=["P-256", "ED25519"])
def delivered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    folder = tmp_path_factory.mktemp("delivered")
    return Delivered(folder, new_key(folder / "forge.key", request.param))


def test_provenance_is_intact_and_says_what_was_made(delivered: Delivered) -> None:
    for name in ("provenance.json", "provenance.sigstore.json"):
        found = delivered.verify(name)
        assert found.exit_code == 0, found.output
        assert found.stdout.startswith("intact; signed by the key in ")
        assert "acme/shop 1.0 of python-service" in found.stdout
        assert WHEEL in found.stdout
    as_json = json.loads(delivered.verify("provenance.json", "--json").stdout)
    assert as_json["intact"] is True
    assert as_json["statement"]["predicateType"] == "https://slsa.dev/provenance/v1"


def test_a_link_of_a_step_is_intact(delivered: Delivered) -> None:
    for link in delivered.vouched.links:
        found = delivered.verify(link.name.partition("/")[2])
        assert found.exit_code == 0, found.output
        assert "step " in found.stdout


def test_a_file_is_the_one_that_was_made_by_its_bundle_or_by_the_provenance(delivered: Delivered) -> None:
    for bundle in (f"{WHEEL}.sigstore.json", "provenance.json", "provenance.sigstore.json"):
        found = delivered.verify(WHEEL, "--bundle", bundle)
        assert found.exit_code == 0, found.output


def test_a_file_that_was_altered_is_named(delivered: Delivered) -> None:
    assert delivered.verify(WHEEL, "--bundle", "provenance.json").exit_code == 0
    path = delivered.folder / WHEEL
    path.write_bytes(MADE[WHEEL] + b"!")
    try:
        for bundle in (f"{WHEEL}.sigstore.json", "provenance.json"):
            found = delivered.verify(WHEEL, "--bundle", bundle)
            assert found.exit_code == 1
            assert f"{path}: artifact: its SHA-256 is " in found.stderr
        as_json = json.loads(delivered.verify(WHEEL, "--bundle", "provenance.json", "--json").stdout)
        assert as_json["intact"] is False
    finally:
        path.write_bytes(MADE[WHEEL])
    (delivered.folder / "other.whl").write_bytes(b"other")
    found = delivered.verify("other.whl", "--bundle", "provenance.json")
    assert "artifact: no file that was made has its SHA-256" in found.stderr


def test_the_log_has_the_provenance_by_the_record_and_by_the_whole(delivered: Delivered) -> None:
    root = str(delivered.build.root)
    for where in (("output.json",), (root,), ("output.json", "--log", root)):
        found = delivered.verify("provenance.json", "--log", *where)
        assert found.exit_code == 0, found.output
        assert "in the log" in found.stdout
    assert delivered.verify(WHEEL, "--bundle", "provenance.json", "--log", "output.json").exit_code == 0
    wrong = delivered.verify("compose_code." + delivered.vouched.key_id[:8] + ".link", "--log", root)
    assert "log: it has no entry for this envelope" in wrong.stderr


def test_another_key_is_not_believed(delivered: Delivered, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other.key")
    openssl("pkey", "-in", other, "-pubout", "-out", tmp_path / "other.pub")
    asked: Mapping[str, tuple[str, ...]] = {
        "provenance.json": (),
        "provenance.sigstore.json": (),
        WHEEL: ("--bundle", str(delivered.folder / f"{WHEEL}.sigstore.json")),
    }
    for name, more in asked.items():
        found = flowc("verify", str(delivered.folder / name), *more, "--key", str(tmp_path / "other.pub"))
        assert found.exit_code == 1
        assert "key" in found.stderr


def test_fifty_bytes_that_are_changed_are_found(delivered: Delivered) -> None:
    chance = random.Random(12)
    asked: Mapping[str, tuple[str, ...]] = {
        WHEEL: (WHEEL, "--bundle", f"{WHEEL}.sigstore.json"),
        f"{WHEEL}.sigstore.json": (WHEEL, "--bundle", f"{WHEEL}.sigstore.json"),
        "provenance.json": ("provenance.json", "--log", "output.json"),
        "provenance.sigstore.json": (WHEEL, "--bundle", "provenance.sigstore.json"),
    }
    for _ in range(50):
        name, arguments = chance.choice([*asked.items()])
        path = delivered.folder / name
        before = path.read_bytes()
        changed = bytearray(before)
        at = chance.randrange(len(changed))
        changed[at] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        found = delivered.verify(*arguments)
        path.write_bytes(before)
        assert found.exit_code == 1, (name, at, found.output)
        assert "flowc: " in found.stderr
    assert all(delivered.verify(*arguments).exit_code == 0 for arguments in asked.values())


def test_an_altered_log_is_found_by_the_command(tmp_path: Path) -> None:
    delivered = Delivered(tmp_path, new_key(tmp_path / "forge.key"))
    entry = min(delivered.build.root.glob("transparency/*/*/*"))
    entry.write_bytes(entry.read_bytes().replace(b"2026", b"2025"))
    found = delivered.verify("provenance.json", "--log", str(delivered.build.root))
    assert found.exit_code == 1
    assert "log: entry 0" in found.stderr
    entry.unlink()
    found = delivered.verify("provenance.json", "--log", "output.json", "--log", str(delivered.build.root))
    assert "log: entry 0 is lost" in found.stderr


def test_provenance_that_nobody_signed_is_not_believed(delivered: Delivered, tmp_path: Path) -> None:
    unsigned = AttestedBuild(tmp_path, None)
    file = unsigned.path(unsigned.vouch().provenance)
    found = flowc("verify", str(file), "--key", str(delivered.build.public))
    assert found.exit_code == 1
    assert "envelope: nobody has signed it" in found.stderr


@pytest.mark.parametrize(
    "payload",
    [
        {"_type": "link"},
        {"_type": "link", "name": "x", "products": []},
        {"_type": "link", "name": "x", "products": {"a": "b"}},
        {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"},
        {"predicateType": "https://slsa.dev/provenance/v1", "subject": [], "predicate": {}},
    ],
)
def test_nonsense_that_was_signed_is_no_provenance(delivered: Delivered, tmp_path: Path, payload: object) -> None:
    signer = signer_of(delivered.build.settings)
    assert signer is not None
    assert isinstance(payload, dict)
    (tmp_path / "nonsense.json").write_bytes(envelope(payload, signer.public.key_id, signer.sign))
    found = flowc("verify", str(tmp_path / "nonsense.json"), "--key", str(delivered.build.public))
    assert found.exit_code == 1
    assert "statement: it is no provenance of SLSA about files, and no link of in-toto" in found.stderr


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"dsseEnvelope": 3}', "[" * 100_000, '{"dsseEnvelope": {"payload": "e30="}}']
)
def test_a_file_that_is_no_bundle_is_said_to_be_none(delivered: Delivered, tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    found = delivered.verify(WHEEL, "--bundle", str(tmp_path / "bundle.json"))
    assert found.exit_code == 1
    assert "bundle: it is no Sigstore bundle" in found.stderr


def test_what_cannot_be_looked_at_is_said(delivered: Delivered, tmp_path: Path) -> None:
    assert delivered.verify("provenance.json", key=False).exit_code == 2
    assert "name it by --key" in delivered.verify("provenance.json", key=False).stderr
    assert "cannot be read" in delivered.verify("none.json", "--bundle", "provenance.json").stderr
    assert "neither a file, nor a folder" in delivered.verify("provenance.json", "--log", "/none").stderr
    (tmp_path / "no.json").write_text('{"log": {"index": 3}}')
    assert "has no entry of a log" in delivered.verify("provenance.json", "--log", str(tmp_path / "no.json")).stderr
    both = delivered.verify(WHEEL, "--bundle", f"{WHEEL}.sigstore.json", "--log", "output.json")
    assert (both.exit_code, "a log has provenance" in both.stderr) == (2, True)
    (tmp_path / "key.pem").write_text("no key")
    wrong = flowc("verify", str(delivered.folder / "provenance.json"), "--key", str(tmp_path / "key.pem"))
    assert "that is no public key, PEM, of P-256 or Ed25519" in wrong.stderr
