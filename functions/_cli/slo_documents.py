"""`flowc slo apply` and `flowc slo delete -f`: SLOs and policies as documents, many of them in one file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from functions._cli.console import WRONG_USE, CommandFailed, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, DryRun, Url

if TYPE_CHECKING:  # imported by the command that reads a file
    from functions._cli.wire import JsonObject
    from functions._core.slo.documents import SloResource

PATH = "/api/v1/resources"

File = Annotated[
    str, typer.Option("--file", "-f", metavar="FILE", help="Documents in YAML, several with --- between; - is stdin.")
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", show_default=False, help="The namespace of documents that name none."),
]


def apply_documents(
    file: File,
    *,
    namespace: Namespace = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make SLOs and policies as documents say, or change them; nothing is sent while one has a fault."""
    run(apply_file(file, namespace, url, api_key, dry_run=dry_run, as_json=as_json))


def resource_path(resource: "SloResource") -> str:
    """Return the path of a document."""
    return f"{PATH}/{quote(resource.kind, safe='')}/{quote(resource.name, safe='')}"


def read_file(file: str, namespace: str | None) -> Sequence["SloResource"]:
    """Return the documents of a file; raise `CommandFailed`, exit status 2, for a fault in any of them."""
    from functions._cli.decision_file import text_of
    from functions._core.errors import Rejected
    from functions._core.slo.documents import InvalidDocument
    from functions._core.slo.reading import read_documents

    try:
        found = read_documents(text_of(file), namespace)
    except Rejected as error:
        for fault in error.faults[1:] if isinstance(error, InvalidDocument) else ():
            say(f"flowc: {file}: {fault.where}: {fault.message}")
        raise CommandFailed(f"{file}: {error}", exit_status=WRONG_USE) from error
    if not found:
        raise CommandFailed(f"{file}: there is no document in it", exit_status=WRONG_USE)
    return found


async def apply_file(file: str, namespace: str | None, url: str, api_key: str, *, dry_run: bool, as_json: bool) -> int:
    """Apply the documents of a file, each by itself; return 1 when one of them was refused, or is not synced."""
    from functions._cli.client import CommandRefused, PlatformClient

    resources, applied, failed = read_file(file, namespace), list["JsonObject"](), False
    async with PlatformClient(url, api_key) as client:
        for resource in resources:
            path = f"{resource_path(resource)}{'?dry_run=true' if dry_run else ''}"
            try:
                answer = await client.put(path, resource.document)
            except CommandRefused as refusal:
                say(f"flowc: {resource.key}: {refusal}")
                failed = True
                continue
            applied.append(answer)
            failed = failed or not (dry_run or answer["status"]["synced"])
            if not as_json:
                _print_line(resource.key, answer)
    if as_json:
        print_json({"items": applied})
    return int(failed)


async def delete_file(file: str, namespace: str | None, url: str, api_key: str) -> int:
    """Delete the documents of a file; one that is not there is gone already."""
    from functions._cli.client import CommandRefused, PlatformClient

    async with PlatformClient(url, api_key) as client:
        for resource in read_file(file, namespace):
            try:
                await client.delete(resource_path(resource))
            except CommandRefused as refusal:
                if refusal.code != "unknown_resource":
                    raise
                typer.echo(f"{resource.key} was not there")
            else:
                typer.echo(f"{resource.key} deleted")
    return 0


def _print_line(key: str, answer: "JsonObject") -> None:
    from functions._cli.words import clean

    message = "" if answer["dry_run"] or answer["status"]["synced"] else f": {answer['status']['message']}"
    would = "would be " if answer["dry_run"] and answer["result"] != "unchanged" else ""
    typer.echo(clean(f"{key} {would}{answer['result']}{message}"))


def delete_documents(file: File, *, namespace: Namespace = None, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Delete documents; what they made is kept, and not enabled any more."""
    run(delete_file(file, namespace, url, api_key))


slo = typer.Typer(help="SLOs and freeze policies.", no_args_is_help=True, rich_markup_mode=None)
slo.command("apply")(apply_documents)
slo.command("delete")(delete_documents)
