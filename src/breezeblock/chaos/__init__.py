"""Chaos on real processes: a private cluster, clients, a nemesis, and a checker of what all of them left behind.

For operators who want to see it, and for authors of drivers. `run` is the whole story from start to report; `plan` draws
what happens when; `nemesis` does it; `evidence` gathers what was written down; `checker` says what is wrong with it.
"""
