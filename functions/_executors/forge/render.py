"""Renders a template by copier in a process of its own; standard library and copier alone, as it is given as text.

    python -c <this text> <path of a JSON file>

The JSON says: `template` and `project` (folders), `data` (answers), `remembered` (what the file of answers says of the
template), `most_files` and `most_bytes`. Exit status 3 says that it did not go well; standard output then has a JSON
object with `kind` and `message`. What runs programs or loads code is off; filters and functions that look at the
machine, the clock or chance fail.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

NOT_RENDERED = 3
"""The exit status of a template that cannot be rendered."""

LOOK_SECONDS = 0.1
"""Between two looks at how much has been written."""

SWITCH_SECONDS = 0.0002
"""How long the thread that looks waits for its turn after each folder; by default 25 times as long."""

LONGEST = 1_000
"""Characters of a message."""

FILTERS = (
    "fileglob",
    "random",
    "random_mac",
    "randomize_list",
    "ans_random",
    "shuffle",
    "strftime",
    "expandvars",
    "expanduser",
    "realpath",
    "relpath",
)
"""Filters that look at the machine, at chance or at the clock."""

GLOBALS = ("lipsum",)
ANSWERS_TO_NOTHING = ("now", "make_secret")
"""Functions of copier for templates, which an answer of the same name replaces."""

WRONG_ANSWER = ("Validation error for question", "Invalid choice for", 'Question "')
"""Beginnings of what copier says of an answer."""


def main(path: str) -> int:
    """Render; return the exit status."""
    about = json.loads(Path(path).read_text(encoding="utf-8"))
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    sys.setswitchinterval(SWITCH_SECONDS)
    threading.Thread(target=watch, args=(about, said), daemon=True).start()
    try:
        render(about)
        fault = too_much(about)
    except (Exception, MemoryError, RecursionError) as error:  # noqa: BLE001 - whatever a template makes of it
        fault = told(error)
    if fault is None:
        return 0
    json.dump(fault, said)
    said.flush()
    return NOT_RENDERED


def render(about: dict[str, Any]) -> None:
    """Make the project."""
    sys.executable = "python3"  # a template can name it, and it is elsewhere on another machine
    harmless()
    import copier

    data = {**dict.fromkeys(ANSWERS_TO_NOTHING, ""), **about["data"]}
    done = copier.run_copy(
        about["template"],
        about["project"],
        data=data | {f"_{name}": value for name, value in about["remembered"].items()},
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=False,
        skip_tasks=True,
    )
    remember(about, done)


def harmless() -> None:
    """Have undefined names fail in every template, and take away what looks at the machine."""
    import jinja2
    import jinja2_ansible_filters  # type: ignore[import-untyped]

    class Harmless(jinja2_ansible_filters.AnsibleCoreFiltersExtension):  # type: ignore[misc] # see above
        def __init__(self, environment: Any) -> None:  # noqa: ANN401 - its package has no types
            super().__init__(environment)
            environment.undefined = jinja2.StrictUndefined
            for name in FILTERS:
                environment.filters[name] = refused(name)
            for name in GLOBALS:
                environment.globals.pop(name, None)

    jinja2_ansible_filters.AnsibleCoreFiltersExtension = Harmless


def refused(name: str) -> Any:  # noqa: ANN401 - a filter takes and returns anything
    """Return a filter that fails."""

    def fail(*_arguments: object, **_named: object) -> None:
        raise ValueError(f"the filter {name} is not there: it looks at the machine, the clock or chance")

    return fail


def remember(about: dict[str, Any], done: Any) -> None:  # noqa: ANN401 - the worker of copier
    """Write the file of answers, by which copier updates the project: with the address, never a folder of here."""
    import yaml

    project = Path(about["project"])
    place = Path(os.path.normpath(project / done.answers_relpath))
    if not place.is_relative_to(project) or place == project:
        raise ValueError("the file of answers leads out of the project")
    given = done.answers.combined
    hidden = done.answers.hidden | done.template.secret_questions
    answers = {name: given[name] for name in done.template.questions_data if name in given and name not in hidden}
    about_template = {f"_{name}": value for name, value in sorted(about["remembered"].items()) if value}
    text = yaml.safe_dump({**about_template, **answers}, sort_keys=False, allow_unicode=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_text(f"# Changes here will be overwritten by Copier\n{text}", encoding="utf-8")


def watch(about: dict[str, Any], said: Any) -> None:  # noqa: ANN401 - a stream of text
    """End the process when it has written too much: many small files are within every limit of the system."""
    while True:
        if (fault := too_much(about)) is not None:
            json.dump(fault, said)
            said.flush()
            os._exit(NOT_RENDERED)
        threading.Event().wait(LOOK_SECONDS)


def too_much(about: dict[str, Any]) -> dict[str, str] | None:
    """Return the fault of a project beyond its bounds; None for one within them."""
    files = size = 0
    for place, folders, names in os.walk(about["project"]):
        files += len(names) + len(folders)
        for name in names:
            try:
                size += Path(place, name).lstat().st_size
            except OSError:
                continue  # it is being replaced
        if files > about["most_files"] or size > about["most_bytes"]:
            most = f"{about['most_files']} files and folders or {about['most_bytes']} bytes"
            return {"kind": "project_too_large", "message": f"the project has more than {most}"}
    return None


def told(error: BaseException) -> dict[str, str]:
    """Return what went wrong, for whoever wrote the template or the answers."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, (MemoryError, RecursionError)):
        return {"kind": "template_failed", "message": "the template needs too much memory"}
    kind = "bad_inputs" if text.startswith(WRONG_ANSWER) else "template_failed"
    where = getattr(error, "name", None) or getattr(error, "filename", None)
    line = getattr(error, "lineno", None)
    place = f" ({Path(str(where)).name}{f' line {line}' if line else ''})" if where and line else ""
    return {"kind": kind, "message": f"{text[:LONGEST]}{place}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
