"""Answers: from rows to JSON, with each key's microversion and audience in tables."""
