"""The parts of `races.py`: who changes rows, how, and what came of it."""
