"""What runs: the entry points of the keeper, worker and API processes, started by the supervisor as `python -m`."""
