"""What a run stands on: settings, embedded Kafka and Postgres, supervision, logs, health."""
