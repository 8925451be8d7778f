"""What a plan may ask of the executors of workers: their names, and the models of their parameters."""
