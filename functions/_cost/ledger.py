"""What was asked of AWS, by the account that it is charged to."""

from collections import defaultdict

FLOWS, CLOCK, WORKERS, RETENTION, NOBODY = "flows", "clock", "workers", "retention", "nobody"

CALLS, PUBLISHED, MESSAGES, INVOCATIONS, REQUESTS, WRITES, READS, STORED = (
    "calls of DynamoDB",
    "events published",
    "requests to queues",
    "invocations",
    "requests over HTTP",
    "write units",
    "read units",
    "bytes stored",
)


class CostLedger:
    """Counts, by account, by what a price is for, and by detail; `account` is whom all is charged to now."""

    def __init__(self) -> None:
        self.account = NOBODY
        self.entries: dict[tuple[str, str, str], float] = defaultdict(float)

    def add(self, what: str, number: float, detail: str) -> None:
        """Enter something to the account."""
        self.entries[self.account, what, detail] += number

    def copy(self) -> "CostLedger":
        """Return the ledger as it is now."""
        copy = CostLedger()
        copy.entries.update(self.entries)
        return copy

    def total(self, account: str, what: str, detail: str = "") -> float:
        """Return what an account has taken, in all or of one detail."""
        return sum(
            number
            for (to, entered, about), number in self.entries.items()
            if (to, entered) == (account, what) and detail in {"", about}
        )
