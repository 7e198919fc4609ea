"""The outside world, injected: clock, randomness, ids, files, processes, threads.

`contract.py` says what there is, `real.py` is the one module that touches the real thing, and
`breezeblock.testing.virtual` is the other one, on which whole clusters run under virtual time.
"""
