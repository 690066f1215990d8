"""Which records were measured with other weights than those shipped, and which from code that was not committed.

Records that name a matcher of ours with the hash of its weights, wherever in them, are compared by it. Others that rest
on our weights (RESTS) are current where the shipped hash stands anywhere in them; without it they are compared by
commit: made before the shipped weights came, they cannot be of them. Records of the whole Matcher are of another one
where a file that decides its answers has changed since.
"""

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from microloftr.errors import MicroLoFTRError
from microloftr.evaluation.identity import PACKAGE, imported_files, weights_sha256

SHIPPED = ("micro", "one_conv")
ON_PURPOSE = {"evaluate_first", "evaluate_before", "training_first"}  # of earlier weights or code, as their notes say
RESTS = {  # record: the weights that it rests on, also where it does not tell their name or their hash
    "bench": "micro",
    "calibration": "micro",
    "reliability": "micro",
    "worst": "micro",
    "finetune": "micro",
    "threshold": "micro",
    "threshold_one_conv": "one_conv",
    "refined_cells": "micro",
    "shrinking": "micro",
    "ablations": "micro",
    "architecture": "micro",
    "waterfall": "micro",
    "stages": "micro",
}

MATCHED = {"bench", "calibration", "reliability", "worst", "finetune"}  # of the whole Matcher, though none is named


def other_weights(results: Path) -> list[str]:
    """One line for each record in `results` that other weights than those shipped were measured for."""
    lines = []
    for path in sorted(results.glob("*.json")):
        if path.stem in ON_PURPOSE:
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        told = list(dict.fromkeys(named_weights(record.get("values"))))
        for name, digest in told:
            if digest != shipped_sha256(name):
                lines.append(
                    f"results/{path.name}: {name} was measured with other weights ({digest[:12]}) than those shipped "
                    f"({shipped_sha256(name)[:12]}). {_command(record)}"
                )
        name = RESTS.get(path.stem)
        if name is None or name in dict(told) or shipped_sha256(name) in all_weights(record.get("values")):
            continue
        if _is_older(results.parent, str(record.get("commit", "")), name):
            lines.append(
                f"results/{path.name}: measured at commit {record['commit']}, before the shipped weights of {name}. "
                f"{_command(record)}"
            )
    return lines


def uncommitted(results: Path) -> list[str]:
    """Names of the records that were made while lib/ differed from the commit that they name."""
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    return [name for name, record in records.items() if str(record.get("commit", "")).endswith("-dirty")]


def other_code(results: Path) -> list[str]:
    """Names of the records of our Matcher that were measured before its code last changed, by git; a change of a
    comment counts. Empty where git cannot tell.
    """
    root = results.parent
    files = [
        path for path in sorted(imported_files(str(PACKAGE / "matching.py"))) if Path(path).is_relative_to(PACKAGE)
    ]
    found = []
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        matchers = record["values"].get("matchers") if isinstance(record.get("values"), dict) else None
        micro = matchers.get("micro") if isinstance(matchers, dict) else None
        if path.stem in ON_PURPOSE or not (micro or path.stem in MATCHED):
            continue
        commit = str((micro or {}).get("commit") or record.get("commit", "")).partition("-")[0]
        known = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
        changed = known and _git(root, "diff", "--name-only", commit, "--", *files)
        if changed:
            found.append(path.stem)
    return found


def named_weights(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(name, hash) of every matcher of ours within a record's values, wherever it stands.

    A hash belongs to the `name` or the `matcher` beside it, else to the key under which it stands.
    """
    if isinstance(values, list):
        for value in values:
            yield from named_weights(value, key)
    if not isinstance(values, dict):
        return
    digest = values.get("weights_sha256")
    beside = [values[word] for word in ("name", "matcher") if isinstance(values.get(word), str)]
    name = (beside or [str(key)])[0].removesuffix("-zeros")
    if isinstance(digest, str) and name in SHIPPED:
        yield name, digest
    for inner, value in values.items():
        yield from named_weights(value, inner)


def all_weights(values: Any) -> set[str]:
    """Every `weights_sha256` within a record's values, whoever's it is."""
    if isinstance(values, list):
        return {digest for value in values for digest in all_weights(value)}
    if not isinstance(values, dict):
        return set()
    own = {values["weights_sha256"]} if isinstance(values.get("weights_sha256"), str) else set()
    return own.union(*(all_weights(value) for value in values.values()))


@cache
def shipped_sha256(name: str) -> str:
    """The hash that records tell of the shipped weights of a preset."""
    from microloftr.model.weights import load_model, shipped  # torch, when first needed

    digest = weights_sha256(SimpleNamespace(model=load_model(shipped(name))))
    if digest is None:
        raise MicroLoFTRError(f"The shipped weights of {name} hold no parameters.")
    return digest


def _is_older(root: Path, commit: str, name: str) -> bool:
    """Whether a record's commit comes before the one that brought the shipped weights; False where nobody can tell.

    Work that was not committed may have had them already, if its commit is the very one before.
    """
    commit, _, dirty = commit.partition("-")
    file = f"lib/microloftr/weights/{name}.safetensors"
    brought = _git(root, "log", "-1", "--format=%H", "--", file)
    if not brought or not _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        return False
    between = _git(root, "rev-list", "--count", f"{commit}..{brought}")
    return between is not None and between.isdecimal() and int(between) > (1 if dirty else 0)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _command(record: dict[str, Any]) -> str:
    return f"Again: {record.get('command', '')}".strip()
