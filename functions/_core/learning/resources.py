"""What work takes of the fleet: how often it is given out, how long workers' slots are taken by it, bytes of output.

A plan states no processor and no memory, so no model can learn those. What a ticket takes of its fleet is known: the
slots of workers, over all attempts, those that failed and those that ran beside another one, too. These are expected
values and no medians, as loads are sums. They are learnt as factors of what the table says of durations, by the same
nested groups, each drawn towards the one around it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import exp, expm1, log, log1p
from typing import Protocol, runtime_checkable

from functions._core.learning.duration_table import DurationTable, ResourceNumbers, Resources, TableNumbers, group_names
from functions._core.learning.history import TicketRow
from functions._core.learning.predictions import PlannedWork
from functions._core.records.record import Record

WEIGHT = 8.0
"""Rows that the group around a group is worth: failures are rare, so few rows tell little of them."""

RESOURCE_BYTES = 40 * 1024
"""About how large these numbers may be as JSON, beside the table; of more groups those with the most rows are kept."""

NUMBERS_BYTES = 40
"""Bytes of the numbers of a group as JSON, and of what stands around them."""


@runtime_checkable
class ResourcePredictor(Protocol):
    """A model that says what work takes of the fleet; those of `predictions` that are stored do."""

    def resources(self, work: PlannedWork) -> Resources:
        """Return it, before anybody has the work."""


def with_resources(table: TableNumbers, rows: Sequence[TicketRow]) -> TableNumbers:
    """Return a table that knows the resources of work, too, from rows of every end whose worker time is known."""
    says, known = DurationTable(table, ""), [row for row in rows if told(row)]
    if not known:
        return table
    said = [says.quantiles(row.work).p50_ms for row in known]
    chains = [group_names(row.work) for row in known]
    members: defaultdict[str, list[int]] = defaultdict(list)
    levels: dict[str, int] = {}
    for index, chain in enumerate(chains):
        for level, name in enumerate(chain):
            members[name].append(index)
            levels[name] = level
    everything = _numbers(known, said, range(len(known)), None)
    found: dict[str, ResourceNumbers] = {}
    size = 0
    for name in sorted(members, key=lambda one: (levels[one], -len(members[one]), one)):
        size += len(name.encode(errors="replace")) + 5 * name.count("\x1f") + NUMBERS_BYTES
        if size > RESOURCE_BYTES:
            break
        chain = chains[members[name][0]]
        around = next((found[one] for one in reversed(chain[: levels[name]]) if one in found), everything)
        found[name] = _numbers(known, said, members[name], around)
    return table.but(resources={name: _rounded(numbers) for name, numbers in found.items()})


def told(row: TicketRow) -> bool:
    """Whether a row says what work takes of the fleet: a worker had it, and its flow did not end it meanwhile."""
    return bool(row.attempts and row.worker_ms is not None and row.status.value in {"COMPLETED", "FAILED"})


class ResourceErrors(Record):
    """How good expected worker time was on rows that a model had not seen; zero rows have no measures."""

    rows: int = 0
    """Rows that were compared."""
    absolute: float = 0.0
    """Sum of |actual - expected|, in milliseconds."""
    by_estimate: float = 0.0
    """The same of who takes one attempt of what the plan expects."""
    expected: float = 0.0
    """Sum of the milliseconds that were expected."""
    actual: float = 0.0
    """Sum of the milliseconds that were taken."""
    attempts_expected: float = 0.0
    """Sum of the attempts that were expected."""
    attempts: int = 0
    """Sum of the attempts that there were."""

    def figures(self) -> dict[str, float]:
        """Return the measures by name, as records of models keep them; none without rows."""
        if not self.rows:
            return {}
        return {
            "worker_mae_ms": round(self.absolute / self.rows, 3),
            "estimate_worker_mae_ms": round(self.by_estimate / self.rows, 3),
            "worker_total_ratio": round(self.expected / max(self.actual, 1.0), 6),
            "attempts_total_ratio": round(self.attempts_expected / max(self.attempts, 1), 6),
        }


def resource_errors(table: DurationTable, rows: Iterable[TicketRow]) -> ResourceErrors:
    """Return the errors on rows whose worker time is known, as they were before anybody had the ticket."""
    found = ResourceErrors()
    for row in rows:
        if not told(row):
            continue
        said, taken = table.resources(row.work), row.worker_ms or 0
        found = found.but(
            rows=found.rows + 1,
            absolute=found.absolute + abs(taken - said.worker_ms),
            by_estimate=found.by_estimate + abs(taken - row.work.estimate_ms),
            expected=found.expected + said.worker_ms,
            actual=found.actual + taken,
            attempts_expected=found.attempts_expected + said.attempts,
            attempts=found.attempts + row.attempts,
        )
    return found


def _numbers(
    rows: Sequence[TicketRow], said: Sequence[int], indices: Sequence[int], around: ResourceNumbers | None
) -> ResourceNumbers:
    """Return the logarithms of a group: mean attempts, worker time over the p50 of the table, mean output."""
    count = len(indices)
    outputs = [rows[index].output_bytes for index in indices if rows[index].actual_ms is not None]
    weight = 0.0 if around is None else WEIGHT
    attempts, factor, output = (0.0, 0.0, 0.0) if around is None else around
    usual = sum(said[index] for index in indices) / count
    taken = sum(rows[index].worker_ms or 0 for index in indices)
    return (
        log((sum(rows[index].attempts for index in indices) + weight * exp(attempts)) / (count + weight)),
        log(max(1.0, taken + weight * usual * exp(factor)) / (usual * (count + weight))),
        log1p((sum(outputs) + weight * expm1(output)) / max(len(outputs) + weight, 1.0)),
    )


def _rounded(numbers: ResourceNumbers) -> ResourceNumbers:
    one, two, three = (round(number, 4) for number in numbers)
    return one, two, three
