"""The HTTP face: it writes rows and rings, and never sees work, drivers or storage."""
