"""How much memory this process has held."""

from pathlib import Path


def memory_mib() -> float | None:
    """The most resident memory so far in MiB; None where the system does not say (not Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    held = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if held is None else round(int(held) / 1024, 1)
