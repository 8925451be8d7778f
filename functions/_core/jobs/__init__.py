"""The jobs of executors as the platform knows them: the record of each, and whether anybody wants it still."""
