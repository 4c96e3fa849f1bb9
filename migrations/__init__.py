"""The one linear chain of Alembic migrations that makes a generation of the read models."""
