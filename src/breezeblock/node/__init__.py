"""A node: the keeper, which owns the lease, and its worker, which runs operations through drivers."""
