"""Operations that run: one file per resource, and the catalogue of all kinds. Joins resources to drivers."""
