"""What `benchmarks/backup.py` is made of."""
