"""Live processors: Faust apps, the one shell, followers, fences, restart. No Postgres here."""
