"""A program that behaves as Terraform 1.11 does with the configuration of the tests, for machines without Terraform.

It was written beside the real one, which runs the same tests where it is installed: `-chdir`, init, plan with
`-var-file` and `-out`, show `-json`, apply of a plan, output `-json`, a local state with a serial, and stale plans.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any


def main(chdir: str, command: str, *argv: str) -> int:
    """Do one command; return the exit status."""
    os.chdir(chdir.removeprefix("-chdir="))
    options = dict(part.partition("=")[::2] for part in argv if part.startswith("-"))
    if command != "init" and not Path(os.environ["TF_DATA_DIR"]).is_dir():
        return refused("Backend initialization required")
    last = argv[-1] if argv else ""
    match command:
        case "init":
            Path(os.environ["TF_DATA_DIR"]).mkdir(exist_ok=True)
        case "plan":
            given = json.loads(Path(options["-var-file"]).read_text()) if "-var-file" in options else {}
            return plan(given, Path(options["-out"]))
        case "show":
            say(json.dumps(shown(json.loads(Path(last).read_text()))))
        case "apply":
            return apply(json.loads(Path(last).read_text()))
        case "output":
            say(json.dumps(outputs(state()["release"])))
    return 0


def state() -> Any:
    """Return the state that is stored."""
    file = state_file()
    if not file.exists():
        return {"serial": 0, "release": None}
    found = json.loads(file.read_text())
    return {"serial": found["serial"], "release": found["outputs"]["release"]["value"]}


def state_file() -> Path:
    """Return where the configuration has its state."""
    found = re.search(r'path = "([^"]+)"', Path("main.tf").read_text())
    assert found is not None
    return Path(found[1])


def plan(given: dict[str, Any], out: Path) -> int:
    """Make a plan of the variables."""
    if "release" not in given:
        return refused('No value for required variable "release"')
    known = state()
    same = known["release"] == given["release"]
    shop, vault = ["create"], ["create"]
    if known["serial"]:
        shop, vault = ["no-op"] if same else ["delete", "create"], ["no-op"]
    added, gone = (sum(name in each for each in (shop, vault)) for name in ("create", "delete"))
    say(f"Plan: {added} to add, 0 to change, {gone} to destroy.")
    out.write_text(json.dumps({"of": known["serial"], "release": given["release"], "shop": shop, "vault": vault}))
    return 0


def shown(planned: Any) -> Any:
    """Return a plan as JSON: with the values of variables, also the sensitive ones."""
    changes = [{"address": f"terraform_data.{n}", "change": {"actions": planned[n]}} for n in ("shop", "vault")]
    return {"format_version": "1.2", "variables": {"password": {"value": "hunter2"}}, "resource_changes": changes}


def apply(planned: Any) -> int:
    """Carry out a plan, if the state is still that of which it was made."""
    known = state()
    if known["serial"] != planned["of"]:
        return refused("Saved plan is stale")
    kept = {"serial": known["serial"] + 1, "outputs": outputs(planned["release"])}
    state_file().write_text(json.dumps(kept))
    say("Apply complete!")
    return 0


def outputs(release: object) -> Any:
    """Return the outputs of the configuration."""
    password = {"sensitive": True, "type": "string", "value": "hunter2-hunter2"}
    return {"release": {"sensitive": False, "type": "string", "value": release}, "password": password}


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def refused(text: str) -> int:
    """Say why not."""
    sys.stderr.write(f"Error: {text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
