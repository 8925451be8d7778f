"""The gRPC server of a platform."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc.aio import server as new_server

from functions._core.errors import Unavailable
from functions._engine.settings import Settings
from functions._hosts.grpc import analysts, health, registry, tickets
from functions._hosts.grpc.methods import Door, service
from functions._observability.http_metrics import AsgiApp

SERVICES = {
    "ticket_service.TicketService": tickets.METHODS,
    "neural_hive.service_registry.ServiceRegistry": registry.METHODS,
    "analyst_agent.AnalystAgentService": analysts.METHODS,
    "grpc.health.v1.Health": health.METHODS,
}
"""Methods by the full name of their service in `events/proto`."""

MAX_MESSAGE = 64 * 1024
"""Bytes of a request: one of small values takes 30 ms to read; a larger output goes over HTTP."""

MAX_METADATA = 16 * 1024
STREAMS = 100
"""Calls at once of one connection."""

IDLE_SECONDS = 60
"""For which a connection may be open without a call; the next call opens another one."""

LONGEST_SECONDS = 300
"""For which a connection may be open: a client that does not read holds it no longer. Others connect again."""

DRAIN_SECONDS = 5.0


@asynccontextmanager
async def serving_grpc(app: AsgiApp, settings: Settings) -> AsyncIterator[int]:
    """Serve `app` over gRPC while the context is open; yield the port. Raises `Unavailable` when the port is taken."""
    request_ms, door = round(settings.request_seconds * 1000), Door(app, settings.request_seconds)
    server = new_server(
        options=(
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_metadata_size", MAX_METADATA),
            ("grpc.max_concurrent_streams", STREAMS),
            ("grpc.max_allowed_incoming_connections", settings.connections),
            ("grpc.server_handshake_timeout_ms", request_ms),
            ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
            ("grpc.max_connection_age_ms", LONGEST_SECONDS * 1000),
            ("grpc.max_connection_age_grace_ms", request_ms),
            ("grpc.so_reuseport", 0),
        ),
        maximum_concurrent_rpcs=settings.connections,
    )
    server.add_generic_rpc_handlers(tuple(service(name, methods, door) for name, methods in SERVICES.items()))
    credentials = _credentials(settings)
    host = f"[{settings.host}]" if ":" in str(settings.host) else str(settings.host)
    try:
        address = f"{host}:{settings.grpc_port}"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as taken:
        raise Unavailable(f"gRPC cannot listen on port {settings.grpc_port}: {taken}") from taken
    await server.start()
    try:
        yield port
    finally:
        await server.stop(DRAIN_SECONDS)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the certificate of the platform, read again at each handshake; None where TLS is off."""
    certificate, key = settings.tls_cert, settings.tls_key
    if certificate is None or key is None:
        return None

    def read() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), certificate.read_bytes())])

    return grpc.dynamic_ssl_server_credentials(read(), read)
