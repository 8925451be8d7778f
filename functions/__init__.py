"""Flow C: every folder in here without a leading underscore is one deployable function."""
