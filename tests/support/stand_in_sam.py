"""A program that behaves as SAM CLI 1.170 does with one stack, for machines without it; the real one runs a slow test.

The stack is a JSON file, `$SAM_STACK`, each call a line of `$SAM_STACK.calls`. A release `busy` finds a stack that
changes just now, the first time; one that `fails` is taken back by CloudFormation; one that is `refused` is no stack.
A plan repeats `$SAM_SAYS`.
"""

import json
import os
import sys
from pathlib import Path

STACK = Path(os.environ["SAM_STACK"])
CALLS = STACK.with_suffix(".calls")
ARN = "arn:aws:cloudformation:eu-central-1:000000000000:changeSet/samcli-deploy1/ca5b8f5a-e09c"


def main(command: str, *argv: str) -> int:
    """Do one command; return the exit status."""
    known = CALLS.read_text().splitlines() if CALLS.exists() else []
    CALLS.write_text("".join(f"{line}\n" for line in (*known, json.dumps([command, *argv]))))
    if command == "list":
        return say(STACK.read_text())
    pairs = argv[argv.index("--parameter-overrides") + 1].split() if "--parameter-overrides" in argv else []
    given = dict(pair.removeprefix("ParameterKey=").split(",ParameterValue=") for pair in pairs)
    release = given.get("Release", "v1")
    say("Waiting for changeset to be created..")
    if "--no-execute-changeset" in argv:
        return say(f"Changeset created successfully. {ARN} {os.environ.get('SAM_SAYS', '')}")
    if release == "busy" and not known:
        return refused("Stack:shop is in UPDATE_IN_PROGRESS state and can not be updated.")
    if release == "fails":
        return refused("Failed to create/update the stack: shop, UPDATE_ROLLBACK_COMPLETE")
    if release == "refused":
        return refused("Failed to create changeset for the stack: shop, Status: FAILED")
    STACK.write_text(json.dumps([{"OutputKey": "Release", "OutputValue": release, "Description": ""}]))
    return say("Successfully created/updated stack - shop in None")


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
