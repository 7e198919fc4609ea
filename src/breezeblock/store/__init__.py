"""The database: its tables, transactions that may run twice, declared transitions, and every dialect difference."""
