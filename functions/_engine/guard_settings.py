"""Settings of guards: the policy server (OPA), its absence, and the policies that come with Flow C."""

from typing import Literal

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator

from functions._engine.executor_settings import OwnWorkerSettings

PATH = r"^$|^[A-Za-z0-9_]{1,100}(/[A-Za-z0-9_]{1,100}){0,15}$"


class GuardSettings(OwnWorkerSettings):
    """Part of `Settings`, which has the rules of names and values; another part are those of SLOs."""

    opa_url: AnyHttpUrl | None = Field(
        None, description="Open Policy Agent (OPA), base URL, that is asked about plans and tickets"
    )
    opa_plan: str = Field(
        "flowc/plan", pattern=PATH, description="Path of the package that decides about plans; empty: it is not asked"
    )
    opa_ticket: str = Field(
        "flowc/ticket",
        pattern=PATH,
        description="Path of the package that decides about tickets before a worker gets them; empty: it is not asked",
    )
    opa_token: SecretStr | None = Field(None, min_length=1, description="Bearer token for OPA, if it asks for one")
    opa_timeout_seconds: float = Field(
        2, gt=0, le=30, description="How long a question to OPA may take, with all of its repetitions"
    )
    policy_outage: Literal["closed", "open"] = Field(
        "closed",
        description="While OPA gives no verdict: closed: flows wait two minutes and are REJECTED then, tickets wait; "
        "open: both go on, which their history says",
    )
    guard_defaults: bool = Field(
        False, description="Whether the guard policies that come with Flow C hold, beside those that are stored"
    )

    @field_validator("opa_url")
    @classmethod
    def _base_of_opa(cls, value: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if value is not None and (value.query is not None or value.fragment is not None):
            raise ValueError("a base URL has no query and no fragment: paths are put behind it")
        return value
