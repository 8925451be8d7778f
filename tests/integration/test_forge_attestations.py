"""What vouches for a build, as tools that were not written here read it.

They are openssl, in-toto, securesystemslib, and the validators of CycloneDX and SPDX.
"""

import json
import subprocess
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from in_toto.models.layout import Inspection, Layout, Step  # type: ignore[import-untyped]
from in_toto.models.metadata import Envelope  # type: ignore[import-untyped]
from securesystemslib.dsse import Envelope as ReadEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from functions._executors.artifacts import ArtifactsRefused
from functions._executors.forge import signing
from functions._executors.forge.attestations import Attestations, signing_check
from functions._executors.forge.signing import SigningFailed, signer_of
from functions._executors.settings import ExecutorSettings
from tests.support.attested_build import BASE, MADE, PROJECT, AttestedBuild, new_key, openssl

WHEEL = "shop-1.0-py3-none-any.whl"
KINDS = ("P-256", "ED25519")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> AttestedBuild:
    folder = tmp_path_factory.mktemp("build")
    return AttestedBuild(folder, new_key(folder / "forge.key"))


@pytest.fixture(scope="module")
def vouched(build: AttestedBuild) -> Attestations:
    return build.vouch()


def statement_of(build: AttestedBuild, made: Attestations) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(b64decode(json.loads(build.read(made.provenance))["payload"]))
    return statement


class TestLists:
    def test_cyclonedx_is_valid_and_lists_what_the_project_asks_for(
        self, build: AttestedBuild, vouched: Attestations
    ) -> None:
        text = build.read(vouched.sbom.cyclonedx).decode()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        said = json.loads(text)
        listed = {one["name"]: one for one in said["components"]}
        assert listed.keys() == {"httpx", "rich", "absent", BASE.name}
        assert vouched.sbom.components == len(listed)
        assert listed["httpx"]["version"] == "0.28.1"
        assert listed["httpx"]["purl"] == "pkg:pypi/httpx@0.28.1"
        assert listed["httpx"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
        assert listed["rich"]["licenses"] == [{"license": {"id": "MIT"}}]
        assert "version" not in listed["absent"]  # nothing says which one
        assert listed[BASE.name]["type"] == "container"
        assert said["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": sha256(b"code").hexdigest()}]
        assert {one["name"] for one in said["metadata"]["component"]["components"]} == {*MADE, "manifest.json"}

    def test_spdx_is_valid_and_lists_the_same(self, build: AttestedBuild, vouched: Attestations) -> None:
        document = parse_file(str(build.path(vouched.sbom.spdx)))
        assert validate_full_spdx_document(document) == []
        assert {"httpx", "rich", "absent", BASE.name, *MADE} <= {one.name for one in document.packages}

    def test_they_are_the_same_for_the_same_source(self, build: AttestedBuild, vouched: Attestations) -> None:
        again = build.vouch(attempt=2).sbom
        for one, other in ((vouched.sbom.cyclonedx, again.cyclonedx), (vouched.sbom.spdx, again.spdx)):
            assert one.sha256 == other.sha256
            assert one.uri != other.uri

    @pytest.mark.parametrize(
        ("name", "text", "why"),
        [
            ("pyproject.toml", "[project", "cannot be read"),
            ("pyproject.toml", "[project]\ndependencies = 3\n", "no list"),
            ("pyproject.toml", f"[project]\ndependencies = [{'[' * 20_000}", "cannot be read"),
            ("requirements.txt", "\n".join(f"p{n}" for n in range(2_100)), "more than 2000"),
            ("requirements.txt", "a" * 9_000, "more than 8192 characters"),
            ("requirements.txt", "#" * 1_100_000, "more than 1048576 bytes"),
        ],
    )
    def test_a_project_that_says_too_much_or_nonsense_is_refused(
        self, tmp_path: Path, name: str, text: str, why: str
    ) -> None:
        build = AttestedBuild(tmp_path, None)
        (build.project / name).write_text(text)
        with pytest.raises(ArtifactsRefused, match=why):
            build.vouch()

    def test_lists_are_valid_whatever_a_project_asks_for(self, tmp_path: Path) -> None:
        build = AttestedBuild(tmp_path, None)
        lines = [
            "a @ file:///etc/passwd",
            "torch==2.0+cu118",
            "x[y,z]>=1,<2; python_version > '3'",
            "old; python_version < '3'",
            "b==1.*",
            "c===any_thing",
            "../local",
            "-e git+https://example.com/x",
            "--find-links https://example.com",
            "ünï\x1b[31m\u2028",
            "rich==99.0  # pinned elsewhere",
            f"deep; {'(' * 3_000}os_name == 'x'{')' * 3_000}",
            f"pytest>={'1' * 5_000}",
            "odd; python_full_version ~= '1'",
            f"d==1 --hash=sha256:{'1' * 64} --hash=sha256:{'2' * 64}",
            "httpx",
        ]
        (build.project / "requirements.txt").write_text("\n".join(lines))
        made = build.vouch()
        text = build.read(made.sbom.cyclonedx).decode()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        assert validate_full_spdx_document(parse_file(str(build.path(made.sbom.spdx)))) == []
        listed = {one["name"]: one for one in json.loads(text)["components"]}
        assert {"a", "torch", "x", "b", "c", "../local", "rich", "d", "httpx"} <= listed.keys()
        assert {name.partition(";")[0].partition(">")[0] for name in listed} >= {"deep", "pytest", "odd"}
        assert "old" not in listed
        assert listed["torch"]["purl"] == "pkg:pypi/torch@2.0%2Bcu118"
        assert "licenses" not in listed["rich"], "the one that is installed is another version"
        assert "hashes" not in listed["d"], "nothing says which of its files is meant"

    def test_a_link_in_a_project_is_not_followed(self, tmp_path: Path) -> None:
        build = AttestedBuild(tmp_path, None)
        (build.project / "requirements.txt").unlink()
        (build.project / "requirements.txt").symlink_to("/etc/passwd")
        with pytest.raises(ArtifactsRefused, match="link"):
            build.vouch()


class TestProvenance:
    def test_it_says_what_was_made_of_what_and_by_whom(self, build: AttestedBuild, vouched: Attestations) -> None:
        said = statement_of(build, vouched)
        assert said["_type"] == "https://in-toto.io/Statement/v1"
        assert said["predicateType"] == "https://slsa.dev/provenance/v1"
        subjects = {one["name"]: one["digest"]["sha256"] for one in said["subject"]}
        assert subjects[WHEEL] == sha256(MADE[WHEEL]).hexdigest()
        definition, details = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
        assert definition["externalParameters"]["template"] == {"id": "python-service", "version": "2.1.0"}
        digests = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
        assert digests == {
            "template": {"sha256": sha256(b"template").hexdigest(), "gitCommit": "d" * 40},
            "project": {"sha256": sha256(b"code").hexdigest()},
            f"base image {BASE.name}": {"sha256": "b" * 64},
        }
        assert details["metadata"]["invocationId"] == "flow:f-1/ticket:t-5/attempt:1"
        products = {one["name"]: one for one in details["byproducts"]}
        assert json.loads(b64decode(products["tests"]["content"]))["passed"] == 3
        assert products["report of the tests"]["digest"]
        assert json.loads(b64decode(products["validation"]["content"]))["validation_results"][0]["tool_name"] == "ruff"

    def test_its_owner_names_the_builder(self, tmp_path: Path) -> None:
        build = AttestedBuild(tmp_path, None)
        build.environment["WORKER_FORGE_BUILDER"] = "https://acme.example/forge"
        run = statement_of(build, build.vouch())["predicate"]["runDetails"]
        assert run["builder"]["id"] == "https://acme.example/forge"

    def test_securesystemslib_verifies_it_by_the_key_and_no_other_one(
        self, build: AttestedBuild, vouched: Attestations, tmp_path: Path
    ) -> None:
        def key(path: Path) -> SSlibKey:
            return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))

        assert key(build.public).keyid == vouched.key_id
        for file in (vouched.provenance, *vouched.links):
            read = ReadEnvelope.from_dict(json.loads(build.read(file)))
            assert read.verify([key(build.public)], 1)
            other = AttestedBuild(tmp_path, new_key(tmp_path / "other.key"))
            with pytest.raises(VerificationError):
                read.verify([key(other.public)], 1)

    def test_its_bundle_has_the_same_envelope(self, build: AttestedBuild, vouched: Attestations) -> None:
        assert vouched.provenance_bundle is not None
        bundle = json.loads(build.read(vouched.provenance_bundle))
        assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        assert bundle["dsseEnvelope"] == json.loads(build.read(vouched.provenance))


class TestSignatures:
    @pytest.mark.parametrize("kind", KINDS)
    def test_openssl_verifies_each_file_and_refuses_one_that_was_altered(self, tmp_path: Path, kind: str) -> None:
        build = AttestedBuild(tmp_path, new_key(tmp_path / "forge.key", kind))
        vouched = build.vouch()
        for one in build.made():
            signature = tmp_path / "signature"
            signature.write_bytes(b64decode(vouched.files[one.name].signature))
            asked: tuple[str | Path, ...] = ("dgst", "-sha256", "-verify", build.public, "-signature", signature)
            if kind == "ED25519":
                asked = ("pkeyutl", "-verify", "-pubin", "-inkey", build.public, "-sigfile", signature, "-rawin", "-in")
            openssl(*asked, one.path)
            altered = tmp_path / "altered"
            altered.write_bytes(one.path.read_bytes()[:-1] + b"!")
            with pytest.raises(AssertionError):
                openssl(*asked, altered)

    def test_a_bundle_has_hash_signature_and_key(self, build: AttestedBuild, vouched: Attestations) -> None:
        bundle = json.loads(build.read(vouched.files[WHEEL].bundle))
        assert b64decode(bundle["messageSignature"]["messageDigest"]["digest"]) == sha256(MADE[WHEEL]).digest()
        assert bundle["messageSignature"]["signature"] == vouched.files[WHEEL].signature
        der = openssl("pkey", "-pubin", "-in", build.public, "-outform", "DER")
        assert b64decode(bundle["verificationMaterial"]["publicKey"]["hint"]) == sha256(der).digest()

    def test_an_image_is_signed_as_cosign_looks_for_it(
        self, build: AttestedBuild, vouched: Attestations, tmp_path: Path
    ) -> None:
        image = build.made()[-1]
        cosign = vouched.files[image.name].cosign
        assert cosign is not None
        assert cosign.tag == f"sha256-{image.sha256}.sig"
        manifest = json.loads(cosign.manifest)
        for part in (manifest["config"], *manifest["layers"]):
            blob = cosign.blobs[part["digest"]]
            assert part["digest"] == f"sha256:{sha256(blob).hexdigest()}"
            assert part["size"] == len(blob)
        layer = manifest["layers"][0]
        payload = cosign.blobs[layer["digest"]]
        said = json.loads(payload)["critical"]
        assert said["image"] == {"docker-manifest-digest": f"sha256:{image.sha256}"}
        assert said["identity"] == {"docker-reference": "ghcr.io/acme/shop"}
        (tmp_path / "sig").write_bytes(b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"]))
        openssl("dgst", "-sha256", "-verify", build.public, "-signature", tmp_path / "sig", input=payload)
        assert vouched.files[WHEEL].cosign is None

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_same_is_signed_the_same_again(self, tmp_path: Path, kind: str) -> None:
        build = AttestedBuild(tmp_path, new_key(tmp_path / "forge.key", kind))
        one, other = build.vouch(), build.vouch()
        assert one.signature == other.signature
        assert {name: it.signature for name, it in one.files.items()} == {
            name: it.signature for name, it in other.files.items()
        }

    def test_without_a_key_nothing_is_signed(self, tmp_path: Path) -> None:
        build = AttestedBuild(tmp_path, None)
        made = build.vouch()
        assert (made.files, made.links, made.signature, made.key_id, made.log) == ({}, (), None, "", None)
        assert json.loads(build.read(made.provenance))["signatures"] == []
        assert made.sbom.components == 4

    def test_a_file_that_is_not_the_one_that_was_made_is_not_signed(self, build: AttestedBuild) -> None:
        made = [one._replace(sha256="0" * 64) for one in build.made()]
        with pytest.raises(SigningFailed, match="it has another hash"):
            build.vouch(made)

    def test_a_file_that_is_too_large_for_ed25519_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signing, "MOST_IN_MEMORY", 500)
        large = AttestedBuild(tmp_path, new_key(tmp_path / "a.key", "ED25519"))
        with pytest.raises(SigningFailed, match="more than 500 bytes, which Ed25519 cannot sign"):
            large.vouch()
        assert AttestedBuild(tmp_path, new_key(tmp_path / "b.key")).vouch().files[WHEEL].signature

    def test_two_files_of_one_name_are_refused(self, build: AttestedBuild) -> None:
        with pytest.raises(ArtifactsRefused, match="one name"):
            build.vouch([*build.made(), *build.made()])


class TestKeys:
    def signed(self, path: Path, **environment: str) -> bytes:
        given = {"WORKER_FORGE_KEY_FILE": str(path), **environment}
        signer = signer_of(ExecutorSettings(environment=given))
        assert signer is not None
        return signer.sign(b"x")

    def test_a_key_may_be_encrypted(self, tmp_path: Path) -> None:
        key = new_key(tmp_path / "forge.key", passphrase="correct-horse")
        assert self.signed(key, WORKER_FORGE_KEY_PASSPHRASE="correct-horse")
        for wrong in ({}, {"WORKER_FORGE_KEY_PASSPHRASE": "another"}):
            with pytest.raises(SigningFailed, match="WORKER_FORGE_KEY_PASSPHRASE") as failed:
                self.signed(key, **wrong)
            assert "another" not in str(failed.value)

    def test_a_key_that_cannot_be_used_is_named_and_not_shown(self, tmp_path: Path) -> None:
        key = tmp_path / "forge.key"
        for text in ("secret-nonsense", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nsecret-nonsense", ""):
            key.write_text(text)
            with pytest.raises(SigningFailed, match="WORKER_FORGE_KEY_FILE") as failed:
                self.signed(key)
            assert "secret-nonsense" not in str(failed.value)
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", key)
        with pytest.raises(SigningFailed, match="neither P-256 nor Ed25519"):
            self.signed(key)
        with pytest.raises(SigningFailed, match="cannot be read: No such file"):
            self.signed(tmp_path / "none.key")

    def test_the_doctor_says_whether_and_by_which_key_builds_are_signed(self, tmp_path: Path) -> None:
        key = new_key(tmp_path / "forge.key")
        build = AttestedBuild(tmp_path, key)
        found = signing_check(build.settings)
        assert (found.ok, found.detail) == (True, f"by the key {build.vouch().key_id}")
        nobody = signing_check(ExecutorSettings(logs=str(tmp_path)))
        assert (nobody.ok, nobody.required) == (False, False)
        assert nobody.detail == "WORKER_FORGE_KEY_FILE names no key: nothing is signed"
        build.environment["WORKER_FORGE_LOG"] = "../x"
        assert "WORKER_FORGE_LOG" in signing_check(build.settings).detail
        key.write_text("nonsense")
        assert (signing_check(build.settings).ok, signing_check(build.settings).required) == (False, True)


class TestInToto:
    """A layout of the owner, checked by `in-toto-verify` over links and what was delivered."""

    def layout(self, made: Attestations, folder: Path) -> None:
        """Write a layout that lets the forge alone make things, and of what was composed alone."""
        forge = SSlibKey.from_crypto(load_pem_public_key(made.public_key.encode()))
        key = {"keyid": forge.keyid, **forge.to_dict()}
        compose = Step(name="compose_code", pubkeys=[forge.keyid], expected_products=[["ALLOW", "*"]])
        package = Step(
            name="package",
            pubkeys=[forge.keyid],
            expected_materials=[["MATCH", "*", "WITH", "PRODUCTS", "FROM", "compose_code"], ["DISALLOW", "*"]],
            expected_products=[["ALLOW", "shop-*"], ["ALLOW", "manifest.json"], ["DISALLOW", "*"]],
        )
        delivered = Inspection(
            name="delivered",
            run=["true"],
            expected_materials=[
                ["MATCH", "shop-*", "WITH", "PRODUCTS", "FROM", "package"],
                ["DISALLOW", "shop-*"],
            ],
        )
        layout = Layout(keys={forge.keyid: key}, steps=[compose, package], inspect=[delivered])
        layout.set_relative_expiration(days=1)
        owner = folder.parent / "owner.key"
        signer = CryptoSigner(load_pem_private_key(new_key(owner, "ED25519").read_bytes(), None))
        signed = Envelope.from_signable(layout)
        signed.create_signature(signer)
        signed.dump(str(folder.parent / "root.layout"))
        openssl("pkey", "-in", owner, "-pubout", "-out", folder.parent / "owner.pub")

    def verify(self, folder: Path) -> tuple[int, str]:
        program = str(Path(sys.executable).with_name("in-toto-verify"))
        command = [program, "-l", "../root.layout", "--verification-keys", "../owner.pub", "--link-dir", "../links"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return run.returncode, run.stderr

    def test_it_verifies_what_was_delivered_and_fails_for_what_was_altered(self, tmp_path: Path) -> None:
        build = AttestedBuild(tmp_path, new_key(tmp_path / "forge.key"))
        made = build.vouch()
        links, delivered = tmp_path / "links", build.dist
        links.mkdir()
        for link in made.links:
            (links / link.name.rpartition("/")[2]).write_bytes(build.read(link))
        self.layout(made, delivered)
        status, text = self.verify(delivered)
        assert status == 0, text
        (delivered / WHEEL).write_bytes(MADE[WHEEL] + b"!")
        status, text = self.verify(delivered)
        assert status == 1
        assert WHEEL in text
        (delivered / WHEEL).write_bytes(MADE[WHEEL])
        package = next(links.glob("package.*"))
        outer = json.loads(package.read_bytes())
        outer["payload"] = outer["payload"][:-8] + "AAAA" + outer["payload"][-4:]
        package.write_text(json.dumps(outer))
        assert self.verify(delivered)[0] == 1

    def test_what_was_packaged_is_what_was_composed(self, build: AttestedBuild, vouched: Attestations) -> None:
        compose, package = (json.loads(b64decode(json.loads(build.read(one))["payload"])) for one in vouched.links)
        assert compose["products"] == package["materials"]
        assert {name: one["sha256"] for name, one in compose["products"].items()} == {
            name: sha256(text.encode()).hexdigest() for name, text in PROJECT.items()
        }
