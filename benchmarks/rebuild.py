"""Rebuild from a log of 1,000,000 records, as JSON: `python -m benchmarks.rebuild [--events N]`.

The same as `./quantum bench rebuild --json`; here so that all benchmarks are found in one place.
"""

import sys

from commands.app import create

if __name__ == "__main__":
    create()(["bench", "rebuild", "--json", *sys.argv[1:]])
