"""What a run's last bits depend on beside its configuration: torch, how many threads sum up, and the processor."""

import platform
import sys
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """Of this process: {"torch": version, "threads": number, "cpu": name}."""
    return {"torch": str(torch.__version__), "threads": torch.get_num_threads(), "cpu": cpu_name()}


def cpu_name(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as Linux names it, elsewhere what Python knows of it."""
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def warn_of_threads(state: dict[str, Any]) -> None:
    """One line on stderr where a checkpoint's run goes on with another number of threads than it had."""
    before, now = state.get("threads"), torch.get_num_threads()
    if before not in (None, now):
        print(
            f"this run had {before} threads and goes on with {now}: sums are rounded otherwise, and its weights will "
            f"not be those of an unbroken run to the last bit; OMP_NUM_THREADS={before} keeps them",
            file=sys.stderr,
        )
