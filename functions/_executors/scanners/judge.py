"""Judges documents in a process of its own: JSON Schema, and Rego by regopy.

    python -I -c <this text> < REQUEST > ANSWER

A schema and a policy come from a plan, documents from anywhere: each may ask for more time or memory than there is, and
takes the process with it, no worker. The request is JSON: `paths` of documents below the present folder, and either
`against`, a schema, or `policies` with `name`, `rego` and `query`, and perhaps `input`. The answer is JSON: `faults` of
documents by path, or `results` of the policies in their order, each a list of one result, of none, or a sentence that
says why there is none; without either, `files`, the documents themselves. `unread` has the paths of files that are
neither JSON nor YAML, or have too many parts, and `texts` the lines of those that are not long; `dockerfiles` has what
those say whose paths the request names likewise, and `paths` is its list `names`.
"""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

MOST_FAULTS = 200
"""Faults of one document that are told."""

MOST_PARTS = 500_000
"""Values of the documents of one file."""

MOST_IN_ALL = 5_000
"""Faults after which no further document is looked at."""

SAID = 300
"""Characters of a fault."""

MOST_MEMORY = 1024**3
"""Bytes of memory that judging may take."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
WATCH_SECONDS = 0.02

MOST_TEXT = 64 * 1024
"""Characters of a file that is given as a text."""

MOST_NUMBER = 2**53
"""Whole numbers that JSON keeps are smaller."""

WIDE = {ord('"'): "\uff02", ord("\\"): "\uff3c"}
UNSAFE = re.compile("[\x00-\x1f\x7f]")
"""What regopy prints as it is, and a reader of JSON takes for its own."""

MOST_VALUE = 1_000
"""Characters of a value in a Dockerfile."""

FROM_AS = 3
"""Words of `IMAGE AS NAME`."""

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^${}]*))?\}|\$(\w+)")
"""A variable of a Dockerfile, perhaps with a default."""

ESCAPED = re.compile(r"(?:[ \t]*#[ \t]*\w+[ \t]*=[^\n]*\n)*?[ \t]*#[ \t]*escape[ \t]*=[ \t]*`", re.IGNORECASE)
HEREDOC = re.compile(r"<<-?[\"']?(\w+)")
"""Where a Dockerfile begins a text that is no instruction."""

FAULT = re.compile(r"errormsg [0-9]+:([^)\n]+)")
"""What regopy says of a fault, within the tree that it prints."""


def main() -> None:
    """Answer one request; what libraries print is no part of the answer."""
    judging = os.getpid()
    if os.fork() == 0:
        watch(judging)
        os._exit(0)
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    if "against" in request:
        answer = schema_faults(request)
    elif "policies" in request:
        answer = rego_results(request)
    else:
        answer = files_of(request)
    json.dump(answer, said, default=str)
    said.close()


def watch(judging: int) -> None:
    """Kill a process that takes too much memory; return when it has ended.

    regopy reserves 256 GiB of addresses at once, so a limit on addresses says nothing of the memory that it takes.
    """
    while os.getppid() == judging:
        try:
            with open(f"/proc/{judging}/statm", encoding="ascii") as file:  # noqa: PTH123 - see `documents`
                pages = int(file.read().split()[1])
        except (OSError, IndexError, ValueError):  # it has ended, or the system does not say
            pages = 0
        if pages * PAGE_BYTES > MOST_MEMORY:
            os.write(2, b"it takes more than 1 GiB of memory")
            os.kill(judging, signal.SIGKILL)
            return
        time.sleep(WATCH_SECONDS)


def documents(path: str) -> list[Any]:
    """Return the documents of a JSON or YAML file; raise `ValueError` for another text."""
    import yaml

    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - nothing of this process is heavier than it must be
        text = file.read()
    if path.endswith(".json"):
        return counted([json.loads(text)])
    try:
        return counted(list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def counted(read: list[Any]) -> list[Any]:
    """Return documents; raise `ValueError` for more than `MOST_PARTS`: few lines of YAML can stand for any number."""
    open_, number = [*read], 0
    while open_:
        number += 1
        if number > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS} parts")
        part = open_.pop()
        if isinstance(part, dict):
            open_ += part.values()
        elif isinstance(part, list | tuple | set):
            open_ += part
    return read


def schema_faults(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the faults of each document, as pairs of a place and a sentence; no schema is fetched from anywhere."""
    from jsonschema import exceptions, validators
    from referencing import Registry

    kind = validators.validator_for(request["against"], default=validators.validator_for({}))
    try:
        kind.check_schema(request["against"])
    except exceptions.SchemaError as error:
        return {"wrong": f"the schema is none: {error.message}"[:SAID]}
    validator = kind(request["against"], registry=Registry())
    faults: dict[str, list[tuple[str, str, str]]] = {}
    for path in request["paths"]:
        try:
            read = documents(path)
        except (ValueError, RecursionError) as error:
            faults[path] = [("", "not-read", f"it is neither JSON nor YAML: {error}"[:SAID])]
            continue
        faults[path] = [fault for one in read for fault in faults_of(validator, one)][:MOST_FAULTS]
        if sum(map(len, faults.values())) > MOST_IN_ALL:
            break
    return {"faults": faults}


def faults_of(validator: Any, document: Any) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401 - any JSON
    """Yield place, keyword and sentence of the faults of a document."""
    for number, error in enumerate(validator.iter_errors(document)):
        if number >= MOST_FAULTS:
            return
        place = "/".join(map(str, error.absolute_path))
        wanted = json.dumps(error.validator_value, default=str)
        said = error.message if len(error.message) <= SAID else f"does not fit {error.validator}: {wanted}"
        yield place, str(error.validator), said[:SAID]


def rego_results(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the result of each policy about the input, or about the documents where none is given."""
    from regopy import Interpreter, output

    # regopy does not escape what it prints: whoever writes a quote could write the rest of an answer.
    output.json = SimpleNamespace(loads=partial(json.loads, object_pairs_hook=once), dumps=json.dumps)
    found = files_of(request)
    try:
        about = for_rego(request.get("input", found))
    except RecursionError:
        return {"results": ["what it is asked about is nested too deep"] * len(request["policies"]), "unread": []}
    results = [result_of(Interpreter(), policy, about) for policy in request["policies"]]
    return {"results": results, "unread": found["unread"]}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raise `ValueError` where it says a member twice."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a member is said twice")
    return dict(pairs)


def for_rego(value: Any) -> Any:  # noqa: ANN401 - any document
    """Return a document of what regopy takes and gives back unharmed: JSON, without quotes and backslashes in strings.

    They become the wide ones, control characters a mark; times and numbers that it cannot hold become strings.
    """
    if isinstance(value, dict):
        members: dict[str, Any] = {}
        for key, inner in value.items():
            name = str(for_rego(key))
            while name in members:  # what hides behind another one is looked at, too
                name += "'"
            members[name] = for_rego(inner)
        return members
    if isinstance(value, list | tuple | set):
        return [for_rego(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < MOST_NUMBER:
        return value
    if isinstance(value, float) and abs(value) < float("inf"):
        return value
    return UNSAFE.sub("\ufffd", str(value).translate(WIDE)).encode(errors="replace").decode()


def result_of(rego: Any, policy: Mapping[str, str], about: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return the result of one policy in a list, an empty one where it has none, or why it cannot be asked."""
    try:
        rego.add_module(policy["name"], policy["rego"])
        rego.set_input(about)
        found = rego.query(f"result := {policy['query']}")  # a bare false would be no result
    except Exception as error:  # noqa: BLE001 - whatever the library raises for a text that is no policy
        return "; ".join(FAULT.findall(str(error)))[:SAID] or "it cannot be read"
    if not found.ok():
        return "; ".join(FAULT.findall(str(found)))[:SAID] or "it cannot be evaluated"
    if any(one.bindings.keys() - {"result"} for one in found.results):
        return "its answer cannot be told apart"
    return [one.bindings["result"] for one in found.results if "result" in one.bindings][:1]


def files_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document of each file, a list where it has several, and what else there is."""
    found: dict[str, Any] = {}
    unread: list[str] = []
    texts: dict[str, list[str]] = {}
    for path in request["paths"]:
        try:
            read = documents(path)
        except (ValueError, RecursionError):
            unread.append(path)
            if len(text := text_of(path)) < MOST_TEXT:
                texts[path] = text.splitlines()
            continue
        found[path] = read[0] if len(read) == 1 else read
    dockerfiles: dict[str, Any] = {}
    for path in request.get("dockerfiles", ()):
        if len(text := text_of(path)) < MOST_TEXT:
            dockerfiles[path] = dockerfile(text)
        else:
            unread.append(path)
    about = {"paths": request.get("names", []), "dockerfiles": dockerfiles}
    return {"files": found, "unread": unread, "texts": texts, **about}


def text_of(path: str) -> str:
    """Return the beginning of a file as text."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:  # noqa: PTH123 - see `documents`
        return file.read(MOST_TEXT)


def dockerfile(text: str) -> Mapping[str, Any]:
    """Return the instructions of a Dockerfile, and its stages: image, name, user, and the stage that it goes on from.

    Variables have their defaults where they are known; a stage that says no user has that of the stage it goes on from.
    """
    general: dict[str, str] = {}
    stages: list[dict[str, str]] = []
    scope = general
    every = [*instructions(text)]
    for command, value in every:
        if command == "FROM":
            words = [word for word in value.split() if not word.startswith("--")] or [""]
            image = valued(words[0], general)
            named = len(words) == FROM_AS and words[1].upper() == "AS"
            base = next((stage for stage in reversed(stages) if stage["name"] and stage["name"] == image.lower()), None)
            stages.append(
                {
                    "image": image,
                    "name": words[2].lower() if named else "",
                    "base": base["name"] if base else "",
                    "user": base["user"] if base else "",
                }
            )
            scope = {}
        elif command in {"ARG", "ENV"}:
            for name, said in assigned(value):
                scope[name] = general.get(name, "") if said is None else valued(said, scope)
        elif command == "USER" and stages:
            stages[-1]["user"] = valued(value, scope)
    return {"stages": stages, "instructions": [[*one] for one in every]}


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and rest of each instruction of a Dockerfile, without comments, lines that go on as one."""
    escape = "`" if ESCAPED.match(text) else "\\"
    begun = ""
    ends: list[str] = []
    for line in text.split("\n"):
        if ends:
            ends = ends[1:] if line.strip() == ends[0] else ends
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        begun += line.rstrip()
        if begun.endswith(escape):
            begun = begun[:-1]
            continue
        command, _, value = begun.strip().replace("\t", " ").partition(" ")
        ends = HEREDOC.findall(value) if command.upper() in {"RUN", "COPY", "ADD"} else []
        yield command.upper(), value.strip()
        begun = ""
    if begun.strip():
        yield begun.split()[0].upper(), begun.strip().partition(" ")[2].strip()


def assigned(value: str) -> Iterator[tuple[str, str | None]]:
    """Yield names and values of ARG or ENV; None for a name without one."""
    words = value.split()
    if len(words) > 1 and "=" not in words[0]:
        yield words[0], " ".join(words[1:])
        return
    for word in words:
        name, equals, said = word.partition("=")
        yield name, said.strip("\"'") if equals else None


def valued(text: str, known: Mapping[str, str]) -> str:
    """Return a text with the variables that are known; others stay."""
    whole = VARIABLE.sub(lambda one: known.get(one[1] or one[3]) or one[2] or one[0], text.strip("\"'"))
    return whole[:MOST_VALUE]  # a variable that is twice in its own value doubles with each line


if __name__ == "__main__":
    main()
