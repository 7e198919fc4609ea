"""Breezeblock: block storage behind the Block Storage API v3, where every node is active."""

__all__ = ["__version__"]

__version__ = "0.1.0"
