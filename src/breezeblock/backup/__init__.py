"""Backups as stored: blocks, packs, manifests and the stores that keep them. Knows no database and no operations."""
