"""Doorbells: they tell workers that something is in the queue. They carry no work and may lose, repeat or reorder."""
