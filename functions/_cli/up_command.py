"""`flowc up`: the platform on one machine."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import say

if TYPE_CHECKING:
    from functions._engine.settings import Settings

WRONG_SETTINGS = 2

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks one. [env FLOWC_PORT, else 8080]")
]
GrpcPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port for gRPC; 0 picks one. [env FLOWC_GRPC_PORT, else none]")
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds everything. [env FLOWC_DATA, else .flowc if it is here, else ~/.local/share/flowc]"
    ),
]
TlsCert = Annotated[
    Path | None, typer.Option(help="Certificate with its chain, PEM: HTTPS alone then. [env FLOWC_TLS_CERT]")
]
TlsKey = Annotated[Path | None, typer.Option(help="Private key of the certificate, PEM. [env FLOWC_TLS_KEY]")]


def up(
    port: Port = None,
    data: Data = None,
    grpc_port: GrpcPort = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Run the platform: one port, one folder.

    All other settings come from the environment (FLOWC_…) or from a file .env here; docs/reference/settings.md
    lists them.
    Stops on Ctrl-C or SIGTERM.
    """
    from functions._core.errors import FlowcError
    from functions._engine.settings import Settings, SettingsError
    from functions._hosts.one_machine import process

    try:
        given = {"port": port, "data": data, "grpc_port": grpc_port, "tls_cert": tls_cert, "tls_key": tls_key}
        settings = Settings.from_mapping(process.environment(), **given)
    except SettingsError as error:
        say(f"flowc: {error}")
        raise typer.Exit(WRONG_SETTINGS) from error
    try:
        process.run(settings)
    except SettingsError as error:
        say(f"flowc: {error}")
        raise typer.Exit(WRONG_SETTINGS) from error
    except (FlowcError, OSError) as error:
        say(f"flowc: {_cannot_start(error, settings)}")
        raise typer.Exit(1) from error


def _cannot_start(error: Exception, settings: "Settings") -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {settings.port} is taken; choose another with --port, or 0 for any that is free"
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return f"{settings.host} is no address of this machine; set FLOWC_HOST to one that is, or to 0.0.0.0 for all"
    if isinstance(error, OSError):
        return f"cannot start with data folder {settings.data}: {error.strerror or error}"
    return str(error)
