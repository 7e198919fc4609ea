"""How latencies and throughput change with the number of rows: see `benchmarks/scale.py`."""
