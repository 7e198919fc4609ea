"""One file for each resource: permission, body, one transaction, ring, answer. No rule lives here."""
