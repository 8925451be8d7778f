"""The model that serves, as this process remembers it; flows never wait for it, and never fail for it.

Pointer, record and payload are read in the background, at most once a minute. The first question of a process waits a
moment, so that a function that has just started need not do its one step without. Whatever cannot be read, or is not
exactly what was stored, is as if there were no model: the estimates count, and the log says why.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from msgspec import DecodeError

from functions._core.errors import FlowcError
from functions._core.learning.predictions import Predictor, Serving
from functions._core.ports import KeyValues
from functions._observability.logs import log

FRESH_SECONDS = 60.0
"""How old what is remembered may be before it is read again."""

WAIT_SECONDS = 0.1
"""How long the first question waits at most."""

READ_SECONDS = 20.0
"""How long a reading may take; one that hangs is given up, and the next one begins a minute later."""


class RememberedPredictions:
    """`Predictions` of one process."""

    def __init__(self, entries: KeyValues, *, acts: bool, time: Callable[[], float] = monotonic) -> None:
        """Read nothing yet; `acts`: the flow may act by what is predicted."""
        self._entries, self._acts, self._time = entries, acts, time
        self._serving: Serving | None = None
        self._known: tuple[int, str] | None = None
        self._model: Callable[..., Predictor] | None = None
        self._read_at: float | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether the model is being read."""
        return self._reader is not None and not self._reader.done()

    async def serving(self) -> Serving | None:
        """See `Predictions.serving`."""
        now = self._time()
        first = self._read_at is None
        if self._read_at is None or now >= self._read_at + FRESH_SECONDS:  # the last reading was given up by then
            self._read_at = now
            self._reader = asyncio.get_running_loop().create_task(self._read())
        if first and self._reader is not None:
            await asyncio.wait([self._reader], timeout=WAIT_SECONDS)
        return self._serving

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    async def _read(self) -> None:
        """Read what serves; keep what is known where the store is away, and nothing where the model is unusable."""
        from functions._core.learning.payload import Unusable  # cold start: only who has a model needs its code

        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._refresh()
        except (FlowcError, TimeoutError) as error:
            log.warning("predictions.not_read", error=str(error) or "it took too long")
        except (Unusable, DecodeError) as error:
            self._serving = self._known = self._model = None
            log.warning("predictions.unusable", error=str(error))
        except Exception as error:  # noqa: BLE001 a model harms no flow, whatever is wrong with it
            self._serving = self._known = self._model = None
            log.warning("predictions.failed", error=repr(error))

    async def _refresh(self) -> None:
        from functions._core.learning import registry
        from functions._core.learning.features import waits_ms
        from functions._core.learning.payload import Unusable, unpacked
        from functions._core.learning.progress import LEARNING, PROGRESS, progress_of

        number, _ = await registry.serving(self._entries)
        record = await registry.model(self._entries, number) if number else None
        if record is None:
            self._serving = self._known = self._model = None
            if number:
                raise Unusable(f"there is no record of model {number}")
            return
        if self._known != (number, record.checksum) or self._model is None:
            parts = await registry.parts_of(self._entries, record)
            payload = await asyncio.to_thread(unpacked, parts, record.checksum)
            self._known, self._model = (number, record.checksum), payload.predictor
        progress = progress_of(await self._entries.get(LEARNING, PROGRESS))
        profile = await asyncio.to_thread(lambda: progress.profile)
        self._serving = Serving(self._model(record.model_id, profile), self._acts, waits_ms(profile))
