"""A build for tests of what vouches for it: a project, what was made of it, a key, and a store."""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from functions._core.events.pipelines import ForgeValidation
from functions._core.executors.execute import KeptFile
from functions._core.forge.facts import BaseImage, BuildFacts
from functions._core.forge.stages import (
    CodeArtifact,
    ComposedCode,
    ForgeArtifactType,
    SelectedTemplate,
    TestedCode,
    ValidatedCode,
)
from functions._executors.file_store import FolderStore
from functions._executors.forge.attestations import Attestations, MadeFile, attest
from functions._executors.settings import ExecutorSettings

T0 = datetime(2026, 11, 30, 12, tzinfo=UTC)

PROJECT = {
    "pyproject.toml": '[project]\nname = "shop"\ndependencies = ["httpx>=0.20", "rich", "absent>=3"]\n',
    "requirements.txt": f"httpx==0.28.1 \\\n    --hash=sha256:{'a' * 64}\n",
    "shop/__init__.py": "PRICE = 1\n",
    "tests/test_shop.py": "def test_price() -> None:\n    pass\n",
}
MADE = {"shop-1.0-py3-none-any.whl": b"PK wheel" * 100, "shop-1.0.tar.gz": b"sdist" * 100}
BASE = BaseImage("docker.io/library/python", f"sha256:{'b' * 64}", "3.12-slim")


def openssl(*arguments: str | Path, input: bytes = b"") -> bytes:  # noqa: A002 - as subprocess calls it
    """Run openssl; fail with what it says."""
    run = subprocess.run(["openssl", *map(str, arguments)], input=input, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


def new_key(path: Path, kind: str = "P-256", passphrase: str = "") -> Path:
    """Make a private key as the guide says."""
    how = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "P-256" else [kind]
    lock = ["-aes256", "-pass", f"pass:{passphrase}"] if passphrase else []
    openssl("genpkey", "-algorithm", *how, *lock, "-out", path)
    return path


def kept(name: str, data: bytes = b"x") -> KeptFile:
    return KeptFile(name=name, size=len(data), sha256=sha256(data).hexdigest(), uri=f"file:///kept/{name}")


def facts(**changes: object) -> BuildFacts:
    """Return the facts about a build of `acme/shop`."""
    code = ComposedCode(
        content=kept("code.tar.gz", b"code"),
        artifacts=(
            CodeArtifact(
                artifact_id="acme/shop:code",
                artifact_type=ForgeArtifactType.CODE,
                content_uri="file:///kept/code.tar.gz",
                content_hash="c" * 64,
            ),
        ),
        confidence_score=0.9,
        template_id="python-service",
        template_version="2.1.0",
        language="python",
        files=len(PROJECT),
    )
    template = SelectedTemplate(
        template_id="python-service",
        score=1,
        version="2.1.0",
        commit="d" * 40,
        content=kept("template.tar.gz", b"template"),
    )
    checks = ForgeValidation(validation_type="LINT", tool_name="ruff", status="PASSED", score=1, issues={"low": 0})
    return BuildFacts(
        artifact_id="acme/shop",
        version="1.0",
        code=code,
        flow_id="f-1",
        ticket_id="t-5",
        attempt=1,
        began_at=T0,
        ended_at=T0,
        worker_id="w-1",
        template=template,
        validation=ValidatedCode(validation_results=(checks,), quality=1, report=kept("findings.sarif")),
        tests=TestedCode(passed=3, coverage=0.9, score=1, junit=kept("junit.xml")),
        bases=(BASE,),
    )._replace(**changes)  # type: ignore[arg-type]


class AttestedBuild:
    """A build below a folder; `vouch` makes what vouches for it."""

    def __init__(self, folder: Path, key: Path | None) -> None:
        self.folder = folder
        self.project, self.dist, self.root = folder / "project", folder / "dist", folder / "store"
        for name, text in PROJECT.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_text(text)
        self.dist.mkdir(exist_ok=True)
        for name, data in MADE.items():
            (self.dist / name).write_bytes(data)
        environment = {} if key is None else {"WORKER_FORGE_KEY_FILE": str(key)}
        self.environment = environment
        self.store = FolderStore(self.root)
        self.public = folder / "forge.pub"
        if key is not None:
            openssl("pkey", "-in", key, "-pubout", "-out", self.public)

    @property
    def settings(self) -> ExecutorSettings:
        return ExecutorSettings(logs=str(self.root), environment=self.environment)

    def made(self) -> Sequence[MadeFile]:
        """Return what was made: two files, and an image by its manifest."""
        manifest = self.folder / "manifest.json"
        manifest.write_bytes(b'{"schemaVersion":2}')
        return (
            *(self._made(self.dist / name, "application/octet-stream") for name in MADE),
            self._made(manifest, "application/vnd.oci.image.manifest.v1+json", "ghcr.io/acme/shop"),
        )

    def vouch(self, made: Sequence[MadeFile] | None = None, attempt: int = 1, **changes: object) -> Attestations:
        """Make what vouches for the build, as one attempt does."""
        return attest(
            self.made() if made is None else made,
            facts(attempt=attempt, **changes),
            self.project,
            lambda name: self.store.create(f"t-5/{attempt}/{name}"),
            self.settings,
        )

    def deliver(self, vouched: Attestations, folder: Path) -> None:
        """Put what vouches for a build beside what was made, by plain names, with what the output says of the log."""
        kept = [vouched.provenance, vouched.provenance_bundle, *(one.bundle for one in vouched.files.values())]
        kept += [*vouched.links, vouched.sbom.cyclonedx, vouched.sbom.spdx]
        for file in filter(None, kept):
            (folder / file.name.partition("/")[2]).write_bytes(self.read(file))
        for name, one in vouched.files.items():
            (folder / f"{name}.sig").write_text(one.signature)
        if vouched.log is not None:
            (folder / "output.json").write_text(json.dumps({"log": vouched.log.model_dump(mode="json")}))

    def read(self, file: KeptFile) -> bytes:
        """Return the content of a file that was kept."""
        return b"".join(self.store.read(file.uri))

    def path(self, file: KeptFile) -> Path:
        return Path(file.uri.removeprefix("file://"))

    @staticmethod
    def _made(path: Path, media_type: str, image: str = "") -> MadeFile:
        data = path.read_bytes()
        return MadeFile(path.name, path, sha256(data).hexdigest(), len(data), media_type, image)


if __name__ == "__main__":  # for the session of docs/guides/forge-signatures.md
    here, key_file = (Path(name).absolute() for name in sys.argv[1:])
    example = AttestedBuild(here, key_file)
    example.deliver(example.vouch(), example.dist)
