"""The options of `flowc simulate`."""

from typing import Annotated

import typer

RUNS = 100
MOST_RUNS, MOST_WORKERS, MOST_JOBS = 1_000_000, 1000, 256
LARGEST_SEED = 2**31 - 1

Plan = Annotated[
    str,
    typer.Argument(
        metavar="[PLAN]",
        show_default=False,
        help="A decision as for submit, - is stdin; without one each run draws plans and workers.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=LARGEST_SEED, show_default=False, help="Of the first run; alone, of the only one."),
]
FaultNames = Annotated[str, typer.Option(metavar="all|none|NAME,…", help="What goes wrong; list explains each.")]
Runs = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_RUNS, show_default=False, help=f"How many; {RUNS}, or 1 with --seed."),
]
Workers = Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Workers, each able to do all of PLAN.")]
Slots = Annotated[int, typer.Option(min=1, max=MOST_WORKERS, help="Tickets that each takes at once.")]
At = Annotated[
    str, typer.Option(metavar="TIME", show_default=False, help="When it begins, for a PLAN that names times.")
]
Outputs = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        show_default=False,
        help="JSON: outputs of tasks of PLAN by their ids, such as its lists; those of a list are by item.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, max=MOST_JOBS, show_default=False, help="Processes; one for each core."),
]
History = Annotated[bool, typer.Option("--history", help="Print the history of one run, as JSON lines.")]
