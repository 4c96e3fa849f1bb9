"""Live processors: Faust apps, the one shell, followers, fences, restart. Knows nothing of Postgres."""
