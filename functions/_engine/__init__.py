"""The engine: dispatch, queue, outbox, senders, timers, settings and wiring. It reads environment, clock and ids."""
