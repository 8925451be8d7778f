"""The pages of `docs/reference` that the code itself tells, a module each."""
