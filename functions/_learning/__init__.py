"""Training with scikit-learn: no function on a flow's path imports this room, nor do the artifacts of those."""
