"""Every error that leaves a function or an adapter; the leaves under `FlowcError` decide delivery.

    FlowcError
    ├── Rejected             this event can never succeed: dead letter, never retried
    │   └── Unreadable       a stored record that is needed cannot be read
    ├── Unavailable          a dependency is away or a record is not visible yet: retried with backoff
    ├── Conflict             a record moved between load and commit: reload, then retried
    └── IllegalTransition    the table has no such edge: nothing is changed

The first line of a docstring is the default message.
"""


class FlowcError(Exception):
    """Something went wrong in Flow C."""

    def __init__(self, message: str | None = None) -> None:
        """Take `message`, or the first line of the class's docstring."""
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class Rejected(FlowcError):
    """The event can never be handled."""

    def __init__(self, message: str | None = None, *, code: str = "rejected", status: int = 400) -> None:
        """Carry a machine-readable `code` and the HTTP `status` a caller should see."""
        super().__init__(message)
        self.code = code
        self.status = status


class Unreadable(Rejected):
    """A stored record cannot be read."""

    def __init__(self, message: str | None = None, version: int | None = None) -> None:
        """Carry the `version` of the stored record, where that is known: the owner of the record may replace it."""
        super().__init__(message, code="unreadable_record", status=500)
        self.version = version


class Undeliverable(Rejected):
    """No worker can ever be given this ticket."""


class Unavailable(FlowcError):
    """Something that is needed is not available right now."""


class Conflict(FlowcError):
    """The record was changed by somebody else in the meantime."""


class IllegalTransition(FlowcError):
    """The state machine has no such edge."""
