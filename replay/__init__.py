"""Everything that reads the log again: readers, summaries, `why`, the in-process engine.

It knows no Faust and no Postgres.
"""
