"""Documents of SLOs in a process: looked at every few minutes where it is the platform's clock, or at each tick."""

import asyncio
from datetime import datetime, timedelta

from functions._core.errors import FlowcError
from functions._core.ports import Ports
from functions._observability.logs import log

ASKED = timedelta(seconds=60)
"""How often a process that is the clock asks whether a look is due; other processes of one store look, too."""


class SloDocuments:
    """The documents of the store, as one process looks at them."""

    def __init__(self, ports: Ports, *, alone: bool) -> None:
        """Begin nothing yet; one that is not `alone`, as there is a broker, leaves it to a function of its own."""
        self._ports, self.alone = ports, alone
        self._next: datetime | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a look is under way."""
        return self._task is not None and not self._task.done()

    async def round(self) -> None:
        """Begin a look if it may be time for one."""
        now = self._ports.clock.now()
        early = self._next is not None and now < self._next <= now + ASKED
        if not self.alone or self.busy or early:
            return
        self._next = now + ASKED
        self._task = asyncio.create_task(self._round())

    async def close(self) -> None:
        """Stop; what was cut off is done by the next look."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reconcile(self) -> None:
        """Look at the documents if nobody has for five minutes; raise `Unavailable` when the store does not answer."""
        if not await self._ports.key_values.page("slos", None, 1) and not await self._any_document():
            return
        from functions._engine.wiring_slo import reconcile_resources

        done = await reconcile_resources(self._ports)
        if done is not None and (done.repaired or done.failed):
            log.info("documents.repaired", documents=done.documents, repaired=done.repaired, failed=done.failed)

    async def _any_document(self) -> bool:
        entries = self._ports.key_values
        return bool(await entries.page("slo-resources", None, 1) or await entries.page("freeze-policies", None, 1))

    async def _round(self) -> None:
        try:
            await self.reconcile()
        except FlowcError as error:
            log.warning("documents.failed", error=str(error))  # the next round tries again
        except Exception:  # noqa: BLE001 a round must not end those that follow
            log.exception("documents.failed")
