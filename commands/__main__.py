"""`python -m commands`: what the launcher `./quantum` runs."""

import sys


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    from commands.app import MODULES, create

    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    create(asked if asked in MODULES else None)(prog_name="quantum")


if __name__ == "__main__":
    main()
