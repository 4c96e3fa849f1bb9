"""The outside world: market feeds, exchanges, the disk buffer. Knows no Faust and no Postgres."""
