"""Service level objectives: what is measured, how much of the error budget is left, and what a spent budget stops."""
