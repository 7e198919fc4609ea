"""The heart: queue, steps, leases, fencing. Knows no resource, no driver and no HTTP."""
