"""Puts one process of the platform together: the same parts on every host, which says only where it differs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple, Protocol, cast

from functions._adapters.http.client import HttpClient
from functions._adapters.http.telemetry import BrokerTelemetrySink, FileTelemetrySink, HttpTelemetrySink
from functions._adapters.http.workers import HttpBroker, HttpProbe, HttpWorkerGateway
from functions._adapters.stores import Stores
from functions._core.learning.predictions import NoPredictions
from functions._core.ports import Broker, Clock, Ports, TelemetrySink, WorkerGateway
from functions._core.records.change_set import ChangeSet
from functions._engine.clock import SystemClock
from functions._engine.jose import signing_keys
from functions._engine.outbox_relay import OutboxRelay
from functions._engine.platform import Platform
from functions._engine.retention_job import RetentionJob
from functions._engine.settings import Settings
from functions._engine.tokens import JwtTokens, load_or_create_key
from functions._observability.instruments import Recorder


class Host(NamedTuple):
    """Where a process runs: its store, the URL that workers report to, and what stands in for the defaults.

    `broker` makes the way to a broker over the HTTP client of the process; without one the process is its own broker.
    `alarm` is told each commit, to wake the process for what is due next; without one the sweeper's timer is.
    `commits_singly` commits by itself what needs no other record.
    """

    stores: Stores
    base_url: str
    broker: Callable[[HttpClient], Broker] | None = None
    recorder: Recorder | None = None
    alarm: Callable[[ChangeSet], None] | None = None
    clock: Clock | None = None
    gateway: WorkerGateway | None = None
    commits_singly: bool = False


class Closable(Protocol):
    """What is closed after use."""

    async def aclose(self) -> None:
        """Close it."""


class Composition(NamedTuple):
    """The parts that a host runs. `aclose` it after use."""

    platform: Platform
    retention: RetentionJob
    clients: tuple[Closable, ...]
    to_broker: OutboxRelay | None = None

    @property
    def relay(self) -> OutboxRelay:
        """The way to the broker of the host."""
        if self.to_broker is None:
            raise LookupError("this process is its own broker")
        return self.to_broker

    async def aclose(self) -> None:
        """Close HTTP clients, and stop reading models; who opened the platform and the store closes them."""
        for client in self.clients:
            await client.aclose()


def compose(settings: Settings, host: Host) -> Composition:
    """Return the process that `settings` ask for on `host`; nothing is called yet."""
    clock = host.clock or SystemClock()
    client, to_workers = HttpClient(), HttpClient(networks=settings.networks)
    broker = host.broker(client) if host.broker else None
    relay = OutboxRelay(host.stores.queue, host.stores.store, broker, clock) if broker else None
    sink = BrokerTelemetrySink(broker) if broker else FileTelemetrySink(settings.data / "telemetry.jsonl")
    ports = ports_of(settings, host.stores, client, to_workers, sink, clock)
    if host.gateway is not None:
        ports = replace(ports, gateway=host.gateway)
    ports, to_cluster = with_cluster(settings, ports)
    platform = Platform(
        settings,
        ports,
        host.stores.queue,
        host.base_url,
        host.recorder,
        outbox=relay,
        alarm=host.alarm,
        commits_singly=host.commits_singly,
        threads=True,
    )
    if settings.healing_url is not None:
        platform.companions.healing.helper = HttpBroker(client, str(settings.healing_url))
    if settings.probe_agents:
        platform.probe_by(HttpProbe(to_workers))
    if relay is None and settings.subscriber_url is not None:
        platform.outbox.subscriber = HttpBroker(client, str(settings.subscriber_url))
    retention = RetentionJob(
        platform.ports.retention,
        clock,
        platform.metrics,
        keep=timedelta(days=settings.retention_days),
        letters=settings.dead_letters_max,
    )
    models = () if isinstance(ports.predictions, NoPredictions) else (cast("Closable", ports.predictions),)
    return Composition(platform, retention, (*models, client, to_workers, *to_cluster), relay)


def ports_of(
    settings: Settings, stores: Stores, client: HttpClient, to_workers: HttpClient, sink: TelemetrySink, clock: Clock
) -> Ports:
    """Return the ports of a process.

    `client` calls what the settings name, `to_workers` what workers have named themselves. `sink` gets telemetry if the
    settings name no sink.
    """
    key = settings.worker_key.get_secret_value().encode() if settings.worker_key else None
    pem = settings.token_keys.get_secret_value() if settings.token_keys else None
    tokens = JwtTokens(key or load_or_create_key(settings.data / "worker.key"), clock, signing_keys(pem) if pem else ())
    named = settings.telemetry_url
    ports = stores.ports(
        telemetry_sink=sink if named is None else HttpTelemetrySink(client, str(named)),
        gateway=HttpWorkerGateway(to_workers, tokens, clock),
        clock=clock,
        tokens=tokens,
    )
    if settings.task_secrets:
        from functions._engine.task_secrets import task_secrets_of  # cold start: few need it

        ports = replace(ports, task_secrets=task_secrets_of(settings, clock))
    if settings.learning != "off":
        from functions._engine.predictions import RememberedPredictions  # cold start: nothing where nothing is learnt

        predictions = RememberedPredictions(ports.key_values, acts=settings.learning == "on")
        ports = replace(ports, predictions=predictions)
    if settings.opa_url is not None:
        from functions._engine.guards import guards_by_server  # cold start: few need it

        ports = replace(ports, guards=guards_by_server(settings, client))
    if settings.prometheus_url is not None:
        from functions._adapters.http.prometheus import PrometheusServer  # cold start: few need it

        url, seconds = str(settings.prometheus_url), settings.prometheus_timeout_seconds
        ports = replace(ports, metrics_server=PrometheusServer(client, url, timeout_seconds=seconds))
    if settings.embeddings_url is not None:
        from functions._adapters.http.embeddings import EmbeddingServer  # cold start: the api alone needs it

        secret = settings.embeddings_key
        server = EmbeddingServer(
            client,
            str(settings.embeddings_url),
            settings.embeddings_model,
            key=secret.get_secret_value() if secret is not None else None,
            timeout_seconds=settings.embeddings_timeout_seconds,
        )
        ports = replace(ports, embeddings=server)
    return ports


def with_cluster(settings: Settings, ports: Ports) -> tuple[Ports, Sequence[HttpClient]]:
    """Return the ports with the cluster that the settings name, if any, and the client by which it is called."""
    if settings.freeze_cluster_url is None:
        return ports, ()
    from functions._engine.cluster_freezes import cluster_freezes  # cold start: few need it

    target, client = cluster_freezes(settings, ports.key_values)
    return replace(ports, freeze_target=target), (client,)
