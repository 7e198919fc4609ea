"""`breezeblock doctor`: whether this machine can run what its settings say, and what to do where it cannot."""
