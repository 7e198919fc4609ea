"""What things are: ids, sizes, states, errors. Frozen values and pure functions; no I/O, no clock."""
