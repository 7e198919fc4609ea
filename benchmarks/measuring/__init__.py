"""What the benchmarks of the API and of nodes have in common."""
