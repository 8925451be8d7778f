"""A program that behaves as Helm 3.18 does, after its documented commands and outputs: no machine of the tests has it.

Releases are a JSON file, `$HELM_STATE`: history, list with a selector of labels, upgrade `--install` with `--wait`,
rollback and uninstall. A revision is pending while it is being made, and then no other one is begun. A chart whose
values say `{"fails": true}` does not become ready, and one that says `{"hangs": true}` takes for ever. Each call is a
line of `$HELM_STATE.calls`. The text of `$HELM_STATE.fault` is why no cluster can be reached.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

STATE = Path(os.environ["HELM_STATE"])


def main(command: str, *argv: str) -> int:
    """Do one command; return the exit status."""
    with STATE.with_suffix(".calls").open("a") as calls:
        calls.write(json.dumps([command, *argv]) + "\n")
    if (fault := STATE.with_suffix(".fault")).exists():
        sys.exit(refused(f"Kubernetes cluster unreachable: {fault.read_text()}"))
    options = dict(part.removeprefix("--").partition("=")[::2] for part in argv if part.startswith("--"))
    words = [part for part in argv if not part.startswith("--")]
    known = json.loads(STATE.read_text()) if STATE.exists() else []
    if command == "list":
        wanted = dict([options["selector"].split("=")])
        last = known[-1:] if known and wanted.items() <= known[-1]["labels"].items() else []
        return say(json.dumps([{**shown(each), "name": "shop", "revision": str(each["revision"])} for each in last]))
    if command == "upgrade":
        return upgrade(known, words[1], options)
    if not known:
        return refused("release: not found")
    if command == "history":
        return say(json.dumps([shown(each) for each in known[-int(options["max"]) :]]))
    if command == "uninstall":
        STATE.unlink()
        return say('release "shop" uninstalled')
    return rollback(known, int(words[1]))


def upgrade(known: list[Any], chart: str, options: dict[str, str]) -> int:
    """Install or upgrade the release."""
    values = json.loads(Path(options["values"]).read_text())
    if chart.endswith("missing"):
        return refused(f"failed to download {chart!r}")
    if known and known[-1]["status"].startswith("pending"):
        return refused("UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
    labels = dict([options["labels"].split("=")])
    named = f"{chart.rsplit('/', 1)[-1]}-{options.get('version', '1.0.0')}"
    new = {"revision": known[-1]["revision"] + 1 if known else 1, "chart": named, "labels": labels, "values": values}
    word = "upgrade" if known else "install"
    store([*known, {**new, "status": f"pending-{word}", "description": f"Preparing {word}"}])
    while values.get("hangs"):
        time.sleep(0.1)
    if values.get("fails"):
        store([*known, {**new, "status": "failed", "description": f"{word} failed"}])
        return refused(f"{word.upper()} FAILED: timed out waiting for the condition")
    done = {**new, "status": "deployed", "description": options["description"]}
    store([*superseded(known), done])
    return say(json.dumps({"name": "shop", "version": new["revision"], "config": values, "manifest": "kind: Secret"}))


def rollback(known: list[Any], revision: int) -> int:
    """Go back to a revision."""
    to = next((each for each in known if each["revision"] == revision), None)
    if to is None:
        return refused("release has no such revision")
    if to["values"].get("stuck"):
        return refused("timed out waiting for the condition")
    new = {**to, "revision": known[-1]["revision"] + 1, "status": "deployed", "description": f"Rollback to {revision}"}
    store([*superseded(known), new])
    return say("Rollback was a success! Happy Helming!")


def superseded(known: list[Any]) -> list[Any]:
    """Return revisions of which none is the one that is deployed."""
    over = ("deployed", "pending-upgrade", "pending-install", "pending-rollback")
    return [{**each, "status": "superseded" if each["status"] in over else each["status"]} for each in known]


def shown(each: Any) -> dict[str, Any]:
    """Return a revision as `helm history` prints it."""
    names = ("revision", "status", "chart", "description")
    return {name: each[name] for name in names} | {"updated": "2026-11-30T12:00:00Z", "app_version": "1"}


def store(releases: list[Any]) -> None:
    """Keep the history."""
    new = STATE.with_suffix(".new")
    new.write_text(json.dumps(releases))
    new.replace(STATE)


def say(text: str) -> int:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    return 0


def refused(text: str) -> int:
    """Say why not."""
    sys.stderr.write(f"Error: {text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
