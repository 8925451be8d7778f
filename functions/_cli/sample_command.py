"""`flowc sample`: a valid decision of any size, or with each construct, to try things out with."""

from enum import Enum
from typing import Annotated, Any

import typer

MAX_TASKS = 20_000
LARGEST_SEED = 2**31 - 1


class Shapes(str, Enum):  # noqa: UP042 as plain words in the help; the core's own words are slow to import
    """How the tasks depend on each other."""

    CHAIN = "chain"
    FORK_JOIN = "fork-join"
    LAYERS = "layers"
    RANDOM = "random"


def sample(
    construct: Annotated[
        str, typer.Argument(metavar="[CONSTRUCT]", show_default=False, help="A construct of plans; see --list.")
    ] = "",
    *,
    tasks: Annotated[int, typer.Option("--tasks", "-n", min=1, max=MAX_TASKS, help="How many tasks.")] = 10,
    shape: Annotated[Shapes, typer.Option(help="How they depend on each other.")] = Shapes.LAYERS,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same decision.")
    ] = None,
    capability: Annotated[
        list[str] | None, typer.Option(help="What tasks ask workers for; repeated, each task asks for one of them.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the constructs.")] = False,
) -> None:
    """Print a valid decision to try things out with, e.g. for `flowc submit -`: of any size, or with a construct.

    Without --seed every decision is a new one.
    """
    import json
    import random

    if listed:
        from functions._core.decision.sample_constructs import SENTENCES

        for name, sentence in SENTENCES.items():
            typer.echo(f"{name:<12}{sentence}")
        return
    chosen = random.randrange(LARGEST_SEED) if seed is None else seed  # noqa: S311 a seed is no secret
    if construct:
        decision = _of_construct(construct, chosen)
    else:
        from functions._core.decision.sample import Shape, sample_decision

        wanted = [word for word in capability or () if word.strip()]
        decision = sample_decision(tasks, Shape(shape.value), chosen, wanted)
    typer.echo(json.dumps(decision, indent=2, ensure_ascii=False))


def _of_construct(name: str, seed: int) -> dict[str, Any]:
    from functions._core.decision.sample_constructs import SENTENCES, construct_sample

    if name not in SENTENCES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(SENTENCES)}", param_hint="CONSTRUCT")
    return construct_sample(name, f"{seed:08x}")
