"""What each command does, one file a noun. `cli.py` has their names and options, and loads them only when they are called."""
