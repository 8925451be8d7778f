"""The pure part of Flow C: records, events, state machines, planning and ranking; no I/O of any kind."""
