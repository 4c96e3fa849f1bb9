"""Postgres read models: a fold of the log that can be thrown away and computed again."""
