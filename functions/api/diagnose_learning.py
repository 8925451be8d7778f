"""The question why nothing is learnt, or no problem is found: what is on, how rounds went, and which model serves."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Protocol

from functions._core.explain.wording import ago, counted, plain
from functions._core.learning import registry
from functions._core.learning.model_record import JUDGED_ROWS, ModelState
from functions._core.learning.state import ANALYZE, LEARN, LearningState, learning_state
from functions.api.services import ApiServices

SETTING = {LEARN: "FLOWC_LEARNING", ANALYZE: "FLOWC_INSIGHTS"}
"""What switches each on."""

SILENT = timedelta(hours=3)
"""How old the last word of a function may be: `learn` goes a round each hour."""

SHOWN = 300
"""Characters of an error that are shown."""


class Facts(Protocol):
    """What a case has found so far."""

    @property
    def fact(self) -> Callable[[str], None]:
        """Take a fact."""

    @property
    def problem(self) -> Callable[..., None]:
        """Take a fact that is a problem, and what helps."""


async def learning(services: ApiServices, found: Facts) -> None:
    """Look at both functions, and at the models."""
    entries = services.ports.key_values
    states: dict[str, LearningState | None] = {}
    for function, setting in SETTING.items():
        if services.learns.get(function):
            states[function] = await learning_state(entries, function)
            _looked_at(function, states[function], services, found)
        else:
            found.fact(f"{function} is off ({setting}).")
    if LEARN not in states:
        return
    state = states[LEARN]
    if state is not None and not state.library:
        found.fact(
            "scikit-learn is not installed where models are trained: tables are learnt, no trees (the extra `learn`)."
        )
    for text in await _models(services):
        found.fact(text)


def _looked_at(function: str, state: LearningState | None, services: ApiServices, found: Facts) -> None:
    now = services.ports.clock.now()
    if state is None:
        found.problem(
            f"{function} is on, and has never ended a round.",
            f"wait for a minute; in a cluster, see that the function `{function}` is deployed and gets its ticks",
        )
    elif state.error is not None:
        why = plain(state.error[:SHOWN])
        found.problem(
            f"The last round of {function} failed at {ago(state.at, now)}: {why}",
            f"the log line `{function}.failed` has more; it is tried again each minute",
        )
    elif now - state.at > SILENT:
        found.problem(
            f"{function} has not ended a round since {ago(state.at, now)}.",
            f"see that the process, or the function `{function}`, is up and gets its ticks",
        )
    else:
        found.fact(f"{function} is on, its last rounds went well: {ago(state.at, now)}.")


async def _models(services: ApiServices) -> list[str]:
    """Return what there is to say of the models."""
    entries, now = services.ports.key_values, services.ports.clock.now()
    known = await registry.models(entries)
    number, _ = await registry.serving(entries)
    serving = next((one for one in known if one.number == number), None)

    def said() -> Iterator[str]:
        if serving is not None:
            rows = counted(serving.rows, "row")
            yield f"{serving.model_id} serves, trained at {ago(serving.trained_at, now)} on {rows}."
        else:
            yield "No model serves: the estimates of plans count."
        shadow = next((one for one in known if one.state is ModelState.SHADOW), None)
        if shadow is not None:
            tickets = f"{JUDGED_ROWS} tickets that end after its training"
            yield f"{shadow.model_id} waits for its verdict, which takes {tickets}."
        elif not known:
            yield "None was trained yet: Sunday 02:00 UTC, or `flowc models train`."
        elif serving is None:
            why = known[0].reasons[-1] if known[0].reasons else known[0].state.value
            yield f"The newest one, {known[0].model_id}: {plain(why[:SHOWN])}"

    return list(said())
