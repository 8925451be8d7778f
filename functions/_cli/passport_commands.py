"""`flowc passport` and `verify`: what was done in a flow as one signed file, and whether it can be believed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.build_checks import BuildCheck, read_file
from functions._cli.console import CommandFailed, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, FlowId, Url

if TYPE_CHECKING:
    from functions._core.passport.envelope import CheckedPassport, Verify

KEY_PATH = "/api/v1/passport-key"


def passport(
    flow_id: FlowId,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to put it.", show_default="FLOW.passport.json"),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Also put the public key there, PEM.", show_default=False),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Save the passport of a flow that has ended: who asked, who did what, and when, signed by the platform."""
    run(_passport(flow_id, output, key, url, api_key))


def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The passport, the provenance, or a file that was made.")
    ],
    *,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The public key, PEM; without it the platform is asked."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="FILE", help="Of a file that was made: its Sigstore bundle, or the provenance."
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            metavar="WHERE",
            help="A store that has the transparency log, as in WORKER_LOGS, or a file with the entry of it that the "
            "output of a ticket has; may be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Check that a passport is as the platform has signed it, or a file as the code forge has made it.

    With --key nobody is asked; what the code forge has made needs it. The exit status is 1 when something is not as it
    was signed; what was changed is named.
    """
    run(_verify(BuildCheck(file, key, bundle, tuple(log or ())), url, api_key, as_json=as_json))


async def _passport(flow_id: str, output: Path | None, key: Path | None, url: str, api_key: str) -> int:
    import json

    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.references import with_flow

    async with PlatformClient(url, api_key) as client:
        ids: list[str] = []

        async def fetched(one: str) -> dict[str, Any]:
            ids.append(one)
            return await client.get(flow_path(one, "passport"))

        made = await with_flow(client, flow_id, fetched)
        public = await client.get(KEY_PATH)
    file = output or Path(f"{ids[-1]}.passport.json")
    _write(file, json.dumps(made, separators=(",", ":")) + "\n")
    if key is not None:
        _write(key, public["pem"])
    typer.echo(f"{file}: signed by the key {public['keyid']}")
    return 0


async def _verify(build: BuildCheck, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._core.passport.envelope import MOST_BYTES, PassportFault, checked, key_of

    if build.is_meant:
        return build.run(as_json=as_json)
    file, key = build.file, build.key
    data = read_file(file, MOST_BYTES)
    named = f"the key in {key}"
    if key is None:
        named, pem = await _key_of_platform(url, api_key, key_of(data))
    else:
        pem = read_file(key, MOST_BYTES).decode("ascii", "replace")
    try:
        passport = checked(data, _verifier(pem, named))
    except PassportFault as fault:
        if as_json:
            print_json({"intact": False, "faults": list(fault.faults)})
        else:
            for one in fault.faults:
                say(f"flowc: {file}: {one}")
        return 1
    if as_json:
        print_json({"intact": True, "keyid": passport.keyid, **_summary(passport)})
    else:
        _print(passport, named)
    return 0


async def _key_of_platform(url: str, api_key: str, keyid: str) -> tuple[str, str]:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        public = await client.get(KEY_PATH)
    if keyid and public["keyid"] != keyid:
        text = f"it says to be signed by the key {keyid[:100]!r}, and the platform at {url} has {public['keyid']}"
        raise CommandFailed(text, hint="name the key that you believe by --key")
    return f"the key of the platform at {url}", str(public["pem"])


def _verifier(pem: str, named: str) -> "Verify":
    """Return what checks signatures by a public key; raise `CommandFailed` for a key that cannot be used."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise CommandFailed("the package `cryptography` is not installed", hint="install flowc[identity]") from error

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CommandFailed(f"{named} is no public key, PEM") from error

    def verifies(data: bytes, signature: bytes) -> bool:
        try:
            if isinstance(key, Ed25519PublicKey):
                key.verify(signature, data)
            elif isinstance(key, EllipticCurvePublicKey):
                key.verify(signature, data, ECDSA(SHA256()))
            else:
                raise CommandFailed(f"{named} is neither Ed25519 nor P-256")
        except InvalidSignature:
            return False
        return True

    return verifies


def _summary(passport: "CheckedPassport") -> dict[str, Any]:
    said = passport.predicate
    return {
        "flow": said["flow"],
        "sla": said["sla"],
        "price": said["price"],
        "approvals": said["approvals"],
        "tickets": len(said["tickets"]),
        "lines": len(said["history"]),
        "issued": said["issued"],
    }


def _print(passport: "CheckedPassport", named: str) -> None:
    from functions._cli.words import clean
    from functions._core.explain.spans import counted

    said = passport.predicate
    flow, sla = said["flow"], said["sla"]
    typer.echo(f"intact; signed by {named}")
    kept = "in time" if sla["kept"] else "late"
    typer.echo(clean(f"flow {flow['flow_id']} (plan {flow['plan_id']}) {flow['outcome']}, {kept}, {flow['ended_at']}"))
    for ticket in said["tickets"]:
        worker = f" by {ticket['worker_id']}" if ticket["worker_id"] else ""
        typer.echo("  " + clean(f"{ticket['task_id']} {ticket['status']}{worker}, attempt {ticket['attempt']}"))
    for currency, amount in said["price"]["amounts"].items():
        typer.echo("  " + clean(f"cost {amount:.6f} {currency}, as its workers state their prices"))
    for action in said["approvals"]:
        typer.echo("  " + clean(f"{action['action']} by {action['who']}: {action['why']}"))
    typer.echo(f"{counted(len(said['history']), 'line')} of history, in a chain")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}") from error
