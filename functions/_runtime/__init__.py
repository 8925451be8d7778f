"""The imperative shell: settings, wiring, dispatch, entry points. The only reader of environment, clock and ids."""
