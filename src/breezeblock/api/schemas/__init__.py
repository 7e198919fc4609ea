"""Request bodies, as structs: what may be in them, and of which form."""
