"""A calculation that somebody asked for over HTTP: `python -m functions._cli.calculations simulation|cost`.

One JSON object comes at standard input, its answer leaves at standard output. It is a process of its own: it is killed
when it takes too long, its memory is bounded, and it holds no store and no secret.
"""

import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

from functions._core.errors import Rejected

MEMORY = 1024**3
"""Bytes of address space of a calculation."""

PROCESSOR_S = 20
"""Seconds of processor time of a calculation; then the system kills it, whoever asked for it."""

NICENESS = 2
"""It gives way to the platform, which shares the processor with it, but is done in time on a busy machine, too."""


def simulated(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the runs of a plan say; raise `Rejected`."""
    from functions._simulator.asked import simulated as simulate

    return simulate(asked)


def priced(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the bill of a decision when `per_month` flows of it come in a month; raise `Rejected`."""
    from functions._cost.bill import Bill
    from functions._cost.prices import PRICES, Prices
    from functions._cost.run import Broken, counted, flows_of
    from functions._engine.settings import SettingsError

    decision = asked["decision"]
    try:
        run = counted(decision, flows_of(decision), asked["per_month"], asked["subscriber_events"])
    except (Broken, SettingsError) as wrong:
        raise Rejected(str(wrong), code="not_priced", status=422) from wrong
    return Bill.of(run, Prices.read(PRICES)).as_json()


KINDS: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {"simulation": simulated, "cost": priced}


def main(kind: str) -> None:
    """Answer one question; `refused` says why there is no answer."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S + 1))
    asked = json.load(sys.stdin)
    try:
        said = KINDS[kind](asked)
    except Rejected as refusal:
        said = {"refused": {"code": refusal.code, "message": str(refusal)[:2000], "status": refusal.status}}
    except MemoryError:
        said = {"refused": {"code": "too_large", "message": "it takes more memory than there is here", "status": 413}}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
