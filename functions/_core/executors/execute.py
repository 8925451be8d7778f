"""Parameters of the executors that run something: command, python, http and function.

Times are seconds, sizes mebibytes. Places in answers are JSON Pointers (`/items/0/id`) or JSONPaths (`$.items[*].id`).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from functions._core.executors.answers import place_in
from functions._core.executors.parameters import ExecutorParameters, ParameterPart
from functions._core.records.values import Model

MOST_ARGUMENTS = 1_000
MOST_NAMES = 100
MOST_TEXT = 256 * 1024
"""Characters of a script or of what a program reads."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
CALLABLE = r"^[A-Za-z_][A-Za-z0-9_.]{0,254}:[A-Za-z_][A-Za-z0-9_.]{0,254}$"
LOADED = ("LD_", "DYLD_", "FLOWC_")
"""Beginnings of the variables that no plan sets: they would change what is run, or belong to the platform."""


def variables(given: Mapping[str, str]) -> Mapping[str, str]:
    for name in given:
        if not VARIABLE.fullmatch(name) or name.startswith(LOADED) or name == "PATH":
            raise ValueError("has the name of a variable that may not be set")
    return given


def _relative(path: str) -> str:
    """Refuse what leads out of the folder of a job; what is a link there is looked at when it is read."""
    parts = path.split("/")
    if path.startswith(("/", "~")) or ".." in parts or "\0" in path or "\\" in path:
        raise ValueError("must be a path below the folder of the job")
    return path


def _without_zero(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a zero byte, which no program can be given")
    return text


def _place(path: str) -> str:
    place_in(path)
    return path


Argument = Annotated[str, AfterValidator(_without_zero)]
RelativePath = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_relative)]
Place = Annotated[str, Field(max_length=500), AfterValidator(_place)]
Url = Annotated[str, Field(min_length=1, max_length=2_048)]
Statuses = Annotated[tuple[Annotated[int, Field(ge=100, le=599)], ...], Field(min_length=1, max_length=100)]


class Limits(ParameterPart):
    """What a program may use; the worker's owner may allow less."""

    cpu_seconds: int = Field(default=600, ge=1, le=86_400)
    """Time of the processor, in seconds, of each of its processes."""
    memory_mb: int = Field(default=512, ge=16, le=262_144)
    """Memory of each of its processes."""
    file_mb: int = Field(default=256, ge=0, le=262_144)
    """Size of each file that it writes."""
    processes: int = Field(default=64, ge=1, le=4_096)
    """Processes and threads at once; only a sandbox keeps to it."""
    open_files: int = Field(default=256, ge=16, le=65_536)
    """Files and sockets that each process has open at once."""


class KeptFile(ParameterPart):
    """A file of the worker's store, as the task that has made it names it in its `artifacts`."""

    name: str = ""
    """Its path there."""
    size: Annotated[int, Field(ge=0)]
    """Bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of its content; a file with another one is not taken."""
    uri: Url
    """Where it is, which must be in the worker's store (WORKER_LOGS)."""


class ProgramParameters(ExecutorParameters):
    """What the executors share that run a program."""

    env: Annotated[Mapping[str, Argument], Field(max_length=MOST_NAMES), AfterValidator(variables)] = {}
    """Variables of the program; it has no others but PATH, HOME, LANG and those about its task (FLOWC_TASK_ID …)."""
    folder: RelativePath = "."
    """Where it runs, below the folder of the job."""
    network: bool = False
    """Whether it needs the network; the worker's owner decides whether it gets it."""
    limits: Limits = Field(default_factory=Limits)
    """What it may use."""
    files: Annotated[Mapping[RelativePath, KeptFile], Field(max_length=MOST_NAMES)] = {}
    """Files of earlier tasks, as their `artifacts` name them, by the paths below the folder of the job where it finds
    them."""
    artifacts: Annotated[tuple[RelativePath, ...], Field(max_length=MOST_NAMES)] = ()
    """Files below the folder of the job, as patterns such as `dist/*.whl`, that are named with hash and size."""


class CommandParameters(ProgramParameters):
    """A program with its arguments; a shell only where it is asked for."""

    argv: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=MOST_ARGUMENTS)] | None = None
    """The program and its arguments: nothing in them is read by a shell."""
    shell: Annotated[Argument, Field(min_length=1, max_length=MOST_TEXT)] | None = None
    """Text for /bin/sh, instead of argv; values of parameters come to it as variables (`env`), never as text."""
    stdin: Annotated[str, Field(max_length=MOST_TEXT)] | None = None
    """What the program reads; without it nothing."""
    expected_exit: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1)] = (0,)
    """Exit codes of success."""
    read: Literal["text", "json"] = "text"
    """json: standard output is one JSON value, which becomes the output `value`."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.argv is None) == (self.shell is None):
            raise ValueError("takes exactly one of argv and shell")
        return self


class PythonParameters(ProgramParameters):
    """A function of a module, or a script."""

    callable: Annotated[str, Field(pattern=CALLABLE)] | None = None
    """The function, `module:function`; it is called with `input`, and what it returns becomes the output `value`."""
    script: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)] | None = None
    """The text of a script, with PEP 723 metadata if it has dependencies; it reads `input` as JSON from standard input.
    If all that it prints is one JSON value, this becomes the output `value`."""
    input: Any = None
    """Any JSON."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.callable is None) == (self.script is None):
            raise ValueError("takes exactly one of callable and script")
        return self


class Auth(ParameterPart):
    """How a call proves who makes it."""

    bearer: str | None = None
    """A token."""
    username: str | None = None
    """A name, with `password`."""
    password: str | None = None
    """The password of `username`."""
    header: Annotated[str, Field(max_length=100)] | None = None
    """The name of a header that has `value`."""
    value: str | None = None
    """The value of `header`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (self.bearer is not None, self.username is not None, self.header is not None)
        if (
            sum(ways) != 1
            or (self.username is None) != (self.password is None)
            or (self.header is None) != (self.value is None)
        ):
            raise ValueError("takes one of: bearer; username and password; header and value")
        return self


class Compared(ParameterPart):
    """A place in an answer, and the values there that count."""

    at: Place
    """The place."""
    equals: Annotated[tuple[str | int | bool, ...], Field(min_length=1, max_length=MOST_NAMES)]
    """The values; any of them."""


class Cancelling(ParameterPart):
    """The call that ends a job."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "DELETE"
    """Its method."""
    url: Url
    """Its address; `{id}` stands for the job's id."""


class Polling(ParameterPart):
    """How a job that goes on after the answer is followed."""

    id: Place | None = None
    """Where the first answer has the job's id."""
    url: Url | None = None
    """Where the job is looked at; `{id}` stands for its id. Without it the header Location of the first answer says."""
    every_seconds: float = Field(default=10, ge=0.1, le=60)
    """Between two looks; a Retry-After of an answer comes first."""
    succeeded: Compared
    """What the answer says of a job that has ended well."""
    failed: Compared | None = None
    """What it says of one that has ended badly."""
    percent: Place | None = None
    """Where it says how far the job is, 0 to 100."""
    message: Place | None = None
    """Where it says in words how the job stands."""
    cancel: Cancelling | None = None
    """How the job is ended when nobody wants it any more."""
    lookup: Url | None = None
    """Where the jobs of this ticket are found before one is started: `{key}` stands for the Idempotency-Key. An answer
    with an id at `found` is a job that an earlier attempt has started."""
    found: Place | None = None
    """Where the answer of `lookup` has the id of such a job; without it as in `id`."""

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if self.url is not None and "{id}" in self.url and self.id is None:
            raise ValueError("has {id} in url, and no id that says where it is")
        if self.lookup is not None and self.url is None:
            raise ValueError("has lookup, and no url at which a job that is found can be looked at")
        return self


class CallParameters(ExecutorParameters):
    """What calls of other services share."""

    url: Url
    """Where to, http or https; addresses that the worker's owner does not allow are never called."""
    headers: Annotated[Mapping[str, str], Field(max_length=MOST_NAMES)] = {}
    """Further headers."""
    auth: Auth | None = None
    """How the call proves who makes it; the values are references to secrets."""
    expected_status: Statuses | None = None
    """Statuses of success; without it 200 to 299. A redirect is not followed."""
    timeout_seconds: float = Field(default=30, gt=0, le=600)
    """How long one call may take."""
    outputs: Annotated[Mapping[str, Place], Field(max_length=MOST_NAMES)] = {}
    """Names of further outputs, each with its place in the answer."""


class HttpParameters(CallParameters):
    """A call of an HTTP service, and perhaps the job that it begins."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """The method."""
    query: Annotated[Mapping[str, str | int | float | bool], Field(max_length=MOST_NAMES)] = {}
    """What is added to the query of the address."""
    json_: Any = Field(default=None, alias="json")
    """The body, as JSON."""
    body: Annotated[str, Field(max_length=MOST_TEXT)] | None = None
    """The body, as text, instead of json."""
    idempotent: bool = True
    """Whether the same call twice is as good as once; the Idempotency-Key makes most services so. False: a POST or
    PATCH is repeated only where nothing was sent."""
    poll: Polling | None = None
    """How the job is followed that the call begins."""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.json_ is not None and self.body is not None:
            raise ValueError("takes json or body, not both")
        return self


class FunctionParameters(CallParameters):
    """A CloudEvent to the address of a function, which answers with its result."""

    event_type: str = Field(default="io.neuralhive.task.requested.v1", min_length=1, max_length=200)
    """The type of the event."""
    data: Any = None
    """The data of the event, any JSON."""


class Artifact(Model):
    """A file that a job has made."""

    name: str
    """Its path below the folder of the job."""
    size: int
    """Bytes."""
    sha256: str
    """Hash of its content, in hexadecimal digits."""
    uri: str
    """Where it is."""


class ProgramOutputs(Model):
    """The outputs of a program that has succeeded."""

    exit_code: int
    """How it ended."""
    stdout: str = ""
    """The last 64 KiB of standard output."""
    stderr: str = ""
    """The last 64 KiB of standard error."""
    value: Any = None
    """The JSON value that it returned or printed."""
    artifacts: tuple[Artifact, ...] = ()
    """The files that were asked for."""


class CallOutputs(Model):
    """The outputs of a call that has succeeded; those that the parameters name are beside them."""

    status: int
    """Status of the answer."""
    value: Any = None
    """The answer, if it is JSON."""
    text: str | None = None
    """The answer, if it is other text."""
    outputs: Mapping[str, Any] = {}
    """The outputs that the parameters name."""


MODELS: Mapping[str, type[ExecutorParameters]] = {
    "command": CommandParameters,
    "python": PythonParameters,
    "http": HttpParameters,
    "function": FunctionParameters,
}
"""The model of the parameters of each executor."""
