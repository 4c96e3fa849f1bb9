"""The `quantum` command line: what people and scripts use. Data to stdout, progress to stderr."""
