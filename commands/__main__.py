"""`python -m commands`: what the launcher `./quantum` runs."""

import os
import sys
from collections.abc import Mapping

COMPLETING = "_QUANTUM_COMPLETE"
"""Set by a shell that asks for completions; what was typed so far stands in two more variables."""
LISTING = {"-h", "--help", "--show-completion", "--install-completion"}
"""Before any command: what takes the names of all commands and nothing behind them."""


INTERRUPTED = 130
"""ExitCode.INTERRUPTED, for interrupts that come before the module that has it is there."""


def main() -> None:
    """Run the command line; ends the process with its exit code. What is imported first takes long
    enough for a Ctrl-C: nothing has begun then, and nothing is said."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> None:
    from commands.app import COMMANDS, create

    words = typed(os.environ) if COMPLETING in os.environ else sys.argv[1:]
    asked = next((word for word in words if not word.startswith("-")), None)
    listing = len(words) < 2 if COMPLETING in os.environ else words[:1] and words[0] in LISTING
    if listing or asked not in COMMANDS:
        create(names_only=True)(prog_name="quantum")
    create(asked)(prog_name="quantum")


def typed(environment: Mapping[str, str]) -> list[str]:
    """The words behind `quantum` on the line that a shell wants completed, the unfinished included
    (an empty one at the end). bash gives COMP_WORDS and COMP_CWORD, others the line itself."""
    if "COMP_WORDS" in environment:
        words = environment["COMP_WORDS"].split()
        count = int(environment.get("COMP_CWORD", "1"))
    else:
        line = environment.get("_TYPER_COMPLETE_ARGS", "")
        words = line.split()
        count = len(words) - (not line.endswith(" "))
    return (words[1 : count + 1] + [""] * count)[:count]


if __name__ == "__main__":
    main()
