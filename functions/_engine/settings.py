"""Every setting of the platform, read once from a mapping such as the environment."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    ConfigDict,
    Field,
    IPvAnyAddress,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from functions._adapters.http.addresses import EVERY_NETWORK, Networks
from functions._core.placement.weights import read_weights
from functions._core.rate_limits import DEFAULT, Limit, read_limits
from functions._core.records.values import time_span
from functions._core.rules import InFlightLimits, Rules
from functions._engine.guard_settings import GuardSettings
from functions._engine.jose import signing_keys
from functions._engine.secret_leases import SecretLease, leases_of
from functions._engine.secret_places import checked_places

PREFIX = "FLOWC_"

HERE = Path(".flowc")
"""The data folder where there is no other: beside the work, as all of Flow C's first users have it."""


def data_folder(mapping: Mapping[str, str]) -> Path:
    """Return the data folder of a user who names none: `.flowc` here if it is there, else the user's own for data."""
    home = mapping.get("HOME", "")
    shared = Path(mapping.get("XDG_DATA_HOME") or (f"{home}/.local/share" if home else ""))
    return shared / "flowc" if shared.is_absolute() and not HERE.is_dir() else HERE


class SettingsError(Exception):
    """Some settings are wrong; the message names each of the `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("wrong settings:\n  " + "\n  ".join(problems))
        self.problems = tuple(problems)


class Settings(GuardSettings):
    """The settings; a field `x` is read from `FLOWC_X`. docs/reference/settings.md is made of these descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: IPvAnyAddress = Field(
        IPv4Address("127.0.0.1"), description="Address to listen on; beyond this machine a key is required"
    )
    port: int = Field(8080, ge=0, le=65535, description="Port for ingress, API and metrics; 0 picks one")
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="Port for gRPC beside it; 0 picks one; needs the extra `grpc`"
    )
    tls_cert: Path | None = Field(None, description="Certificate with its chain, PEM: TLS alone then, 1.2 or later")
    tls_key: Path | None = Field(None, validate_default=True, description="Its private key, PEM, not encrypted")
    api_key: SecretStr | None = Field(
        None,
        min_length=16,
        validate_default=True,
        description="Key of the first administrator, which switches access control on; the command line sends it, too",
    )
    data: Path = Field(HERE, description="Folder that holds the database, the worker key and telemetry")
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL, postgresql://…, which platforms may share; without it SQLite in the folder"
    )
    database_connections: int = Field(8, ge=1, le=100, description="Connections to PostgreSQL that a platform may open")
    table: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.-]{3,255}$", description="DynamoDB table, which platforms may share"
    )
    bus: str | None = Field(None, pattern=r"^[A-Za-z0-9_./:-]{1,1600}$", description="On AWS: bus that events go to")
    timer_queue: AnyHttpUrl | None = Field(None, description="On AWS: enforce_sla's queue of what is due before a tick")
    queues: str | None = Field(
        None,
        pattern=r"^[a-z_]+=https?://[^\s=]+( [a-z_]+=https?://[^\s=]+)*$",
        description="On AWS: queues of functions, as `function=URL` with spaces between; other events go to the bus",
    )
    claims_bucket: str | None = Field(
        None, pattern=r"^[a-z0-9.-]{3,63}$", description="On AWS: bucket for the data of events that no bus would take"
    )
    outside_queue: str | None = Field(
        None, description="On AWS: ARN of the api's queue, by which dead_letter knows what came from outside"
    )
    worker_key_secret: str | None = Field(
        None,
        description="Where FLOWC_WORKER_KEY is kept: env:NAME, file:PATH, vault:PATH#FIELD, aws:NAME or NAME",
    )
    api_key_secret: str | None = Field(None, description="Where FLOWC_API_KEY is kept, likewise")
    token_keys_secret: str | None = Field(None, description="Where FLOWC_TOKEN_KEYS is kept, likewise")
    task_secrets: Annotated[str, AfterValidator(checked_places)] = Field(
        "", description="Secrets that tasks may refer to, `name=place,…` or `tenant/name=place,…`, places likewise"
    )
    vault_url: AnyHttpUrl | None = Field(None, description="Vault-compatible server, for secrets of the kind vault")
    vault_token_file: Path | None = Field(None, description="File with the token for it, of mode 0600")
    public_url: AnyHttpUrl | None = Field(None, description="Base URL that workers reach the platform at")
    telemetry_url: AnyHttpUrl | None = Field(None, description="Telemetry sink; without it a file in the data folder")
    subscriber_url: AnyHttpUrl | None = Field(None, description="Gets every transition as a CloudEvent")
    subscriber_events: str = Field(
        "all",
        description="Transitions that subscribers get: all, none, or types with commas between; pheromone.deposited "
        "is told only by name, as in `all,pheromone.deposited`",
    )
    sla_timer: bool = Field(True, description="In a cluster: enforce_sla keeps time itself; off: a schedule does")
    worker_key: SecretStr | None = Field(None, min_length=32, description="Key of workers' tokens; else in a file")
    token_keys: SecretStr | None = Field(
        None,
        description="Private keys, PEM, Ed25519 or P-256, that sign the workers' tokens in place of FLOWC_WORKER_KEY: "
        "the first signs, the others are still believed; needs the extra `identity`",
    )
    oidc_issuer: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="OpenID Connect provider whose bearer tokens are taken; needs the extra `identity`",
    )
    oidc_audience: str | None = Field(
        None, validate_default=True, description="Name of the platform in the provider's tokens (`aud`)"
    )
    oidc_jwks_url: AnyHttpUrl | None = Field(None, description="Where the provider's keys are; else discovery says it")
    oidc_roles_claim: str = Field("roles", description="Claim that holds the roles; points lead into objects")
    oidc_roles: str = Field(
        "",
        pattern=r"^(\s*[^\s=]+=(viewer|operator|worker|admin))*\s*$",
        description="What that claim holds, as `group=role` with spaces between; empty: the names of the roles",
    )
    oidc_name_claim: str = Field("sub", description="Claim with the name that is kept with what the caller does")
    oidc_client_id: str | None = Field(
        None, min_length=1, description="Client with which people sign in to the console"
    )
    oidc_client_secret: SecretStr | None = Field(None, min_length=1, description="Secret of that client, if it has one")
    oidc_scope: str = Field("openid", pattern="^openid( |$)", description="Scopes that the console asks for")
    webhooks: bool = Field(True, description="Whether webhooks can subscribe to events; off spares what looks for them")
    webhook_secret: SecretStr | None = Field(
        None, description="Secret of pipelines that send webhooks here; while it is replaced two, with a space between"
    )
    worker_networks: str | None = Field(
        None,
        pattern=r"^\s*(loopback|private|public)\s*(,\s*(loopback|private|public)\s*)*$",
        description="Where workers may be: some of loopback, private, public, with commas between them",
    )
    otlp_endpoint: AnyHttpUrl | None = Field(
        None, description="Collector of OpenTelemetry traces, base URL of OTLP over HTTP; needs the extra `otel`"
    )
    trace_file: Path | None = Field(None, description="File that gets each span as a line of JSON; needs `otel`, too")
    sla_seconds: float = Field(14_400, gt=0, description="Deadline of a decision that brings none")
    default_timeout_ms: int = Field(
        60_000,
        ge=1000,
        le=10**12,
        description="How long an attempt may take at least, in new tickets without timeout_ms",
    )
    heartbeat_seconds: float = Field(30, gt=0, le=3600, description="How often workers report that they are alive")
    probe_agents: bool = Field(False, description="Ask silent agents for their `/health`; a 2xx counts as a heartbeat")
    no_worker_seconds: float = Field(600, gt=0, description="How long a ticket waits for a capable worker to register")
    approval_seconds: float = Field(86_400, gt=0, description="How long a flow waits for somebody to approve it")
    pause_seconds: float = Field(86_400, gt=0, description="How long a pause lasts before the flow continues")
    compensation_seconds: float = Field(3600, gt=0, description="How long undoing a flow that failed may take in all")
    refuse_impossible: bool = Field(
        False, description="Refuse plans whose critical path does not fit into their SLA; else they are at risk at once"
    )
    max_body_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="Largest request body")
    max_report_bytes: int = Field(1024 * 1024, ge=1024, description="Largest body of a worker's report")
    references_bytes: int = Field(1024 * 1024, ge=1024, description="Bytes that a task or result may refer to")
    request_seconds: float = Field(30, gt=0, le=3600, description="How long a request may take to arrive as a whole")
    connections: int = Field(1000, ge=1, le=100_000, description="Open connections; beyond it requests get a 503")
    rate_limits: str = Field(
        DEFAULT,
        description="Limits of each client, name=rate/burst in requests a second, and day=number for a quota; or off",
    )
    max_flows: int | None = Field(None, ge=1, le=500, description="Flows in flight at once; without it any number")
    max_tickets: int | None = Field(None, ge=1, le=500, description="Tickets with workers at once; else any number")
    tenant_max_flows: int | None = Field(
        None, ge=1, le=500, validate_default=True, description="Of FLOWC_MAX_FLOWS, as many for one `tenant_id` at most"
    )
    tenant_max_tickets: int | None = Field(
        None, ge=1, le=500, validate_default=True, description="Of FLOWC_MAX_TICKETS, as many for one tenant at most"
    )
    tenant_weights: str = Field("", description="Shares of slots that are short, as tenant=weight,…; 1 unless named")
    retention_days: float = Field(30, gt=0, le=36_500, description="How long ended flows are kept, with all of theirs")
    dead_letters_max: int = Field(100_000, ge=1, description="Dead letters kept; beyond it the oldest are dropped")
    event_retention_seconds: float = Field(3600, gt=0, le=2_592_000, description="Time for which events are kept")
    in_flight: int = Field(64, ge=1, le=1024, description="Events handled at the same time")
    deliveries: int = Field(256, ge=1, le=10_000, description="Assignments being POSTed at the same time")
    queue_memory: int = Field(20_000, ge=100, description="Queued events held in memory; the rest waits on disk")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line shown")

    _environment: Mapping[str, str] = PrivateAttr({})

    @field_validator("host", mode="before")
    @classmethod
    def _known_name(cls, value: object) -> object:
        return "127.0.0.1" if value == "localhost" else value

    @field_validator("tls_key")
    @classmethod
    def _with_certificate(cls, value: Path | None, others: ValidationInfo) -> Path | None:
        if (value is None) != (others.data.get("tls_cert") is None):
            raise ValueError("FLOWC_TLS_CERT and FLOWC_TLS_KEY go together")
        return value

    @field_validator("api_key")
    @classmethod
    def _guarded(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        host = others.data.get("host")
        if value is None and host is not None and not host.is_loopback:
            raise ValueError(f"a key is required to listen on {host}, where others can reach the platform")
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("a key is sent in a header: letters, digits and signs of ASCII, without spaces")
        return value

    @field_validator("oidc_audience")
    @classmethod
    def _for_us(cls, value: str | None, others: ValidationInfo) -> str | None:
        if value is None and others.data.get("oidc_issuer") is not None:
            raise ValueError("FLOWC_OIDC_ISSUER needs it: the provider makes tokens for others, too")
        return value

    @field_validator("token_keys")
    @classmethod
    def _usable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                signing_keys(value.get_secret_value())
            except ImportError:
                raise ValueError("needs the extra `identity`: pip install 'flowc[identity]'") from None
        return value

    @field_validator("tenant_max_flows", "tenant_max_tickets")
    @classmethod
    def _within_all(cls, value: int | None, others: ValidationInfo) -> int | None:
        name = str(others.field_name).removeprefix("tenant_")
        if value is not None and others.data.get(name) is None:
            raise ValueError(f"{PREFIX}{name.upper()} has to be set, too")
        return value

    @field_validator("rate_limits", "tenant_weights")
    @classmethod
    def _of_limits(cls, value: str, others: ValidationInfo) -> str:
        (read_limits if others.field_name == "rate_limits" else read_weights)(value)
        return value

    @field_validator("subscriber_events")
    @classmethod
    def _known_events(cls, value: str) -> str:
        from functions._core.events.catalogue import BY_TYPE

        unknown = sorted({event_type.strip() for event_type in value.split(",")} - {"all", "none", *BY_TYPE})
        if unknown:
            raise ValueError(f"no such type of event: {', '.join(unknown)}; they are named such as flow.completed")
        return value

    def tells(self, event_type: str) -> bool:
        """Whether subscribers get this transition."""
        from functions._core.placement.signals import DEPOSITED

        words = {word.strip() for word in self.subscriber_events.split(",")}
        return event_type in words or ("all" in words and event_type != DEPOSITED)

    @field_validator("webhook_secret", "alert_webhook_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        said = value.get_secret_value().split() if value is not None else []
        if value is not None and (not 1 <= len(said) <= 2 or min(map(len, said)) < 16):  # noqa: PLR2004
            raise ValueError("one secret, or two with a space between, of at least 16 characters each")
        return value

    @property
    def webhook_secrets(self) -> Sequence[str]:
        """The secrets by which pipelines prove themselves; any of them will do."""
        return self.webhook_secret.get_secret_value().split() if self.webhook_secret is not None else ()

    @field_validator("database_url")
    @classmethod
    def _of_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            url = urlsplit(value.get_secret_value()) if value is not None else None
            known = url is None or (url.scheme in {"postgresql", "postgres"} and url.port != 0)
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be postgresql://user:password@host:port/database, special characters written as %xx")
        return value

    @field_validator("table")
    @classmethod
    def _one_store(cls, value: str | None, others: ValidationInfo) -> str | None:
        if value is not None and others.data.get("database_url") is not None:
            raise ValueError("FLOWC_DATABASE_URL names another store; set one of the two")
        return value

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str], **given: Any) -> "Settings":
        """Read `FLOWC_*` of `mapping`, `given` values first; raise `SettingsError` naming everything that is wrong."""
        environment = mapping
        mapping = {SYNONYMS.get(name, name): value for name, value in mapping.items() if name in SYNONYMS} | {**mapping}
        found: dict[str, Any] = {
            name: mapping[PREFIX + name.upper()]
            for name in cls.model_fields
            if mapping.get(PREFIX + name.upper(), "").strip()
        }
        found = {"data": data_folder(mapping)} | found | {name: v for name, v in given.items() if v is not None}
        problems = [f"{name}: not a setting of Flow C" for name in sorted(_unknown(mapping, cls))]
        try:
            settings = cls.model_validate(found)
        except ValidationError as error:
            problems += [f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)]
        if problems:
            raise SettingsError(problems)
        settings._environment = environment  # noqa: SLF001 its own class
        return settings

    @property
    def leases(self) -> Sequence[SecretLease]:
        """The leases of the secrets that the settings were read from; they have to be renewed."""
        return leases_of(self._environment)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the settings were read from."""
        return self._environment

    @property
    def access_is_off(self) -> bool:
        """Whether everybody who reaches the platform may do everything; only this machine reaches it then."""
        return self.api_key is None and self.oidc_issuer is None

    @property
    def networks(self) -> Networks:
        """Where workers may be.

        Not set: anywhere while only this machine reaches the platform, since whoever registers a worker could call
        it himself; else anywhere but on this machine, whose services may trust what comes from it.
        """
        said = {word.strip() for word in (self.worker_networks or "").split(",")}
        named: Networks = frozenset(network for network in EVERY_NETWORK if network in said)
        return named or (EVERY_NETWORK if self.host.is_loopback else EVERY_NETWORK - {"loopback"})

    @property
    def hosts(self) -> frozenset[str]:
        """The name, if any, that the platform has beside those of this machine; lower case, no brackets."""
        return frozenset({self.public_url.host.strip("[]")} if self.public_url and self.public_url.host else ())

    @property
    def origins(self) -> frozenset[str]:
        """The origin, if any, that pages of the platform have beside those of this machine, as browsers write it."""
        url = self.public_url
        if url is None or url.host is None:
            return frozenset()
        port = "" if url.port == {"http": 80, "https": 443}[url.scheme] else f":{url.port}"
        return frozenset({f"{url.scheme}://{url.host}{port}"})

    @property
    def client_limits(self) -> Mapping[str, Limit]:
        """The limits of each client's requests, by name."""
        return read_limits(self.rate_limits)

    @property
    def rules(self) -> Rules:
        """The limits that follow from the settings."""
        most = (self.max_flows, self.max_tickets, self.tenant_max_flows, self.tenant_max_tickets)
        named = dict(zip(("flows", "tickets", "tenant_flows", "tenant_tickets"), most, strict=True))
        return Rules(
            default_sla=time_span(1000 * self.sla_seconds),
            least_timeout_ms=self.default_timeout_ms,
            in_flight=InFlightLimits(**named) if any(most) else None,
            tenant_weights=read_weights(self.tenant_weights),
            heartbeat=timedelta(seconds=self.heartbeat_seconds),
            job_look=self.job_look,
            no_worker=time_span(1000 * self.no_worker_seconds),
            approval=time_span(1000 * self.approval_seconds),
            pause=time_span(1000 * self.pause_seconds),
            event_retention=time_span(1000 * self.event_retention_seconds),
            compensation=time_span(1000 * self.compensation_seconds),
            refuse_impossible=self.refuse_impossible,
            references_bytes=self.references_bytes,
        )


SYNONYMS = {"SLA_DEFAULT_TIMEOUT_MS": "FLOWC_DEFAULT_TIMEOUT_MS"}
"""Other names of settings, which the original has; ours counts where both are given."""

CLIENT_SETTINGS = frozenset({"FLOWC_URL"})
"""Read by the command line and by workers, not by the platform."""


def _unknown(mapping: Mapping[str, str], cls: type[Settings]) -> set[str]:
    known = {PREFIX + name.upper() for name in cls.model_fields} | CLIENT_SETTINGS
    reserved = (PREFIX + "TEST_", PREFIX + "TICKET_", PREFIX + "TASK_")
    return {name for name in mapping if name.startswith(PREFIX) and name not in known and not name.startswith(reserved)}
