"""One record per command in results/: what was measured, and how to measure it again."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from microloftr.errors import MicroLoFTRError
from microloftr.files import write_json

ROOT = Path(__file__).resolve().parents[2]


def results_folder() -> Path:
    """results/ of the clone that this package belongs to; of the working folder where it is installed elsewhere."""
    return (ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()) / "results"


def write_result(
    name: str,
    values: dict[str, Any],
    *,
    command: str,
    seed: int | None = None,
    device: str = "cpu",
    split: str | None = None,
    folder: Path | None = None,
) -> Path:
    """Write results/NAME.json atomically: command, commit, seed, device, split, date (UTC), values; returns its path.

    `values` holds what JSON can hold; NumPy numbers and arrays become plain ones. Raises MicroLoFTRError for NaN and ∞,
    which have no place in a record (write None for what could not be measured), and for anything JSON cannot hold.
    """
    record = {
        "command": command,
        "commit": commit(),
        "seed": seed,
        "device": device,
        "split": split,
        "date": datetime.now(UTC).date().isoformat(),
        "values": values,
    }
    path = (folder or results_folder()) / f"{name}.json"
    try:
        write_json(path, json.loads(json.dumps(record, default=_plain, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise MicroLoFTRError(f"The record results/{name}.json must hold finite plain values: {error}.") from None
    return path


def read_result(name: str, folder: Path | None = None) -> dict[str, Any]:
    """The record results/NAME.json. Raises MicroLoFTRError when it is missing or damaged."""
    path = (folder or results_folder()) / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MicroLoFTRError(f"There is no record results/{name}.json; run the command that writes it.") from None
    except json.JSONDecodeError as error:
        raise MicroLoFTRError(f"The record results/{name}.json is no JSON: {error}.") from None


def commit(root: Path = ROOT) -> str:
    """The commit of the code, `-dirty` behind it when lib/ differs from it, "unknown" outside a clone with git."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("-dirty" if _git(root, "status", "--porcelain", "--", "lib") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _plain(value: Any) -> Any:
    """NumPy arrays and scalars, and paths, as JSON knows them."""
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a plain value")
