"""What `flowc verify` finds of what the code forge has made: provenance, links, bundles, and the transparency log."""

import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from functions._cli.console import WRONG_USE, CommandFailed, print_json, say

if TYPE_CHECKING:
    from functions._core.forge.checks import CheckedBuild
    from functions._core.forge.stages import TransparencyEntry
    from functions._executors.forge.signing import VerificationKey

MOST_BYTES = 1024 * 1024 * 1024
"""Bytes of a file that is read: those of all artifacts of a job."""

RECORD_BYTES = 16 * 1024 * 1024
"""Bytes of a record with an entry of a log, such as the output of a ticket."""

KEY_BYTES = 16 * 1024


class BuildCheck(NamedTuple):
    """What is to be checked, and by what."""

    file: Path
    key: Path | None
    bundle: Path | None
    """A Sigstore bundle, or provenance."""
    logs: tuple[str, ...]

    @property
    def is_meant(self) -> bool:
        """Whether it is about a build, and no passport."""
        from functions._core.forge.checks import is_build

        return bool(self.bundle or self.logs) or is_build(read_file(self.file, MOST_BYTES))

    def run(self, *, as_json: bool) -> int:
        """Say what was found; return the exit status. Raises `CommandFailed` for what cannot be looked at."""
        from functions._core.passport.envelope import PassportFault

        if self.key is None:
            text = "what the code forge has made is checked by a key that you believe"
            raise CommandFailed(text, hint="name it by --key", exit_status=WRONG_USE)
        try:
            build = self._checked(_public(self.key))
        except PassportFault as fault:
            if as_json:
                print_json({"intact": False, "faults": list(fault.faults)})
            else:
                for one in fault.faults:
                    say(f"flowc: {self.file}: {one}")
            return 1
        if as_json:
            print_json({"intact": True, **({} if build is None else {"statement": build.statement})})
        else:
            self._print(build)
        return 0

    def _checked(self, key: "VerificationKey") -> "CheckedBuild | None":
        """Return the statement that was looked at, if one was; raise `PassportFault`."""
        from functions._core.forge.bundles import bundle_fault
        from functions._core.forge.checks import checked_build, file_fault, is_build
        from functions._core.passport.envelope import PassportFault

        data = read_file(self.file, MOST_BYTES)
        said = data if self.bundle is None else read_file(self.bundle, MOST_BYTES)
        if self.bundle is not None and not is_build(said):
            if self.logs:
                raise CommandFailed("a log has provenance, and no signatures of files", exit_status=WRONG_USE)
            if fault := bundle_fault(said, key.material, sha256(data).digest(), data, key.verify):
                raise PassportFault(fault)
            return None
        build = checked_build(said, key.key_id, key.material, key.verify)
        faults = [] if self.bundle is None else [file_fault(build, self.file.name, sha256(data).hexdigest())]
        faults += _log_faults(self.logs, build, key)
        if any(faults):
            raise PassportFault(*filter(None, faults))
        return build

    def _print(self, build: "CheckedBuild | None") -> None:
        from functions._cli.words import clean

        typer.echo(f"intact; signed by the key in {self.key}")
        if build is None:
            return
        if build.is_link:
            typer.echo(clean(f"step {build.statement['name']}"))
        else:
            asked = build.statement["predicate"]["buildDefinition"]["externalParameters"]
            template = asked.get("template", {})
            typer.echo(clean(f"made by {build.builder}"))
            typer.echo(clean(f"{asked.get('artifact_id')} {asked.get('version')} of {template.get('id')}"))
        for name, digest in sorted(build.files.items()):
            typer.echo(clean(f"  sha256:{digest} {name}"))
        if self.logs:
            typer.echo("in the log")


def _log_faults(logs: tuple[str, ...], build: "CheckedBuild", key: "VerificationKey") -> list[str]:
    """Return what is wrong with entries and logs that are to have a statement."""
    import os

    from functions._executors.forge.transparency import LOG_NAME, TransparencyLog, entry_fault, log_faults
    from functions._executors.stored_files import StoreFailed

    digest = sha256(build.envelope).hexdigest()
    known: TransparencyEntry | None = None
    faults = []
    for where in sorted(logs, key=lambda one: not Path(one).is_file()):  # what is known of a log comes before it
        if Path(where).is_file():
            known = _entry(Path(where))
            faults.append(entry_fault(known, digest, key))
            continue
        name = known.checkpoint.partition("\n")[0] if known else os.environ.get(LOG_NAME, "") or "code-forge"
        try:
            faults += log_faults(TransparencyLog(_store(where), key, name), known, digest)
        except (StoreFailed, ValueError) as error:
            raise CommandFailed(f"the log in {where} cannot be read: {error}") from error
    return faults


def _store(where: str) -> Any:  # noqa: ANN401 - a port that the caller knows
    from functions._executors.file_store import store_at

    if not where.startswith("s3://") and not Path(where).is_dir():
        raise CommandFailed(f"{where} is neither a file, nor a folder, nor s3://bucket/prefix", exit_status=WRONG_USE)
    return store_at(where)


def _entry(path: Path) -> "TransparencyEntry":
    """Return the entry of a record: it may be the record itself, or its member `log`."""
    from functions._core.forge.stages import TransparencyEntry
    from functions._core.passport.envelope import PassportFault

    try:
        said = json.loads(read_file(path, RECORD_BYTES))
        return TransparencyEntry.model_validate(said.get("log", said))
    except (ValueError, AttributeError, RecursionError) as error:
        raise PassportFault(f"log: {path} has no entry of a log") from error


def _public(path: Path) -> "VerificationKey":
    try:
        from functions._executors.forge.signing import SigningFailed, public_key

        return public_key(read_file(path, KEY_BYTES).decode("ascii", "replace"))
    except ImportError as error:
        raise CommandFailed("the package `cryptography` is not installed", hint="install flowc[identity]") from error
    except SigningFailed as error:
        raise CommandFailed(f"the key in {path}: {error}") from error


def read_file(path: Path, most: int) -> bytes:
    """Return the beginning of a file, a byte more than it may have at most; raise `CommandFailed`."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
