"""Choosing a pool for a volume: filters and weighers are pure, the allocation is a compare-and-swap in the request."""
