"""What is switched when the network alone matches: border, threshold, one-to-one rule, refinement, the sines' slip.

All rules look at the same partners, which the network gave once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from microloftr.evaluation.architecture_summary import compared_pairs, verdict_of
from microloftr.evaluation.filters import FILTERS, OURS
from microloftr.evaluation.network_alone import Levels, Partners, Rule, by_level, judged, looked
from microloftr.evaluation.protocols import Pair
from microloftr.model.loftr import LoFTR
from microloftr.model.position import sine_encoding
from microloftr.results import read_result

THRESHOLDS = (0.0, 0.05, 0.2, 0.4)
REFERENCE = "as-it-is"
GRID = 40  # cells along a side of 320 px
FAR = 20  # cells
CONSTANT = 0.01  # a channel that swings by less over all cells tells no place
Progress = Callable[[Sequence[Pair]], Iterable[Pair]]


def rules(threshold: float) -> dict[str, Rule]:
    """The rule that a Matcher has, of this threshold, and every other one by its key."""
    whole = Rule(f"as it is: confidence above {threshold:g}, one to one, no border", threshold)
    found = {REFERENCE: whole}
    found |= {f"border-{cells}": replace(whole, words=f"border of {cells}", border=cells) for cells in (1, 2)}
    for other in THRESHOLDS:
        found[f"above-{round(100 * other):02d}"] = replace(whole, words=f"confidence above {other:g}", threshold=other)
    found["row-best"] = replace(whole, words="every cell's best, not one to one", one_to_one=False)
    found["coarse"] = replace(whole, words="cells, not refined", refined=False)
    return found


def switched(model: LoFTR, levels: Levels, progress: Progress = iter) -> dict[str, Any]:
    """`rows` of every rule against the first one, by the weights of `model`; how many pairs of how many specimens."""
    chosen = rules(model.config.threshold)

    def of(pair: Pair) -> dict[str, dict[str, float]]:
        partners: Partners = looked({"": model}, pair)[""]
        return {key: judged(partners, rule, pair) for key, rule in chosen.items()}

    entries = by_level({level: [of(pair) for pair in progress(pairs)] for level, pairs in levels.items()})
    sources = [pair.source for pair in next(iter(levels.values()))]
    rows = compared_pairs(entries, REFERENCE, sources)
    told = {"threshold": model.config.threshold, "pairs": len(sources), "specimens": len(set(sources))}
    return {
        **told,
        "rows": {
            key: {"words": chosen[key].words, "against": chosen[REFERENCE].words, **row} for key, row in rows.items()
        },
    }


def filters(results: Any = None) -> dict[str, Any]:
    """Rows of the filters that shrink images, from the record of `python -m microloftr shrinking`, against `OURS`.

    That record says by how much ours is better; here it is by how much the other differs from ours.
    """
    record = read_result("shrinking", results)
    level = record["values"]["levels"]["both"]["micro"]
    rows = {}
    for one in sorted(FILTERS, key=lambda one: one != OURS):
        row = level[one.key]
        auc = {"value": row["auc_3"], "low": row["auc_3_low"], "high": row["auc_3_high"], "verdict": "reference"}
        if one != OURS:
            low, high = -row["ours_better_3_high"], -row["ours_better_3_low"]
            auc |= {"difference": -row["ours_better_3"], "difference_low": low, "difference_high": high}
            auc["verdict"] = verdict_of("auc_3", low, high)
        failures = {"value": row["failures"], "low": row["failures_low"], "high": row["failures_high"]}
        rows[one.key.replace("_", "-")] = {"words": one.label, "auc_3": auc, "failures": failures,
                                           "matches": {"value": row["matches"]}}  # fmt: skip
    pairs, sources = (record["values"][name]["both"] for name in ("pairs", "sources"))
    return {"command": record["command"], "commit": record["commit"], "pairs": pairs, "specimens": sources,
            "rows": rows}  # fmt: skip


def encodings(channels: int = 256) -> dict[str, dict[str, float]]:
    """What the slip in the released position encoding does to the encoding itself, over a grid of cells.

    `constant`: channels that swing by less than CONSTANT over all cells; `beside` and `far`: mean cosine of the
    encodings, their mean over the cells taken off, of cells that are 1 and FAR cells apart along x; `spread`: root mean
    square over cells and channels of what is left without that mean.
    """
    told = {}
    for key, released in (("right", False), ("released", True)):
        encoding = sine_encoding(GRID, GRID, channels, released).double().numpy()
        swing = np.ptp(encoding.reshape(channels, -1), axis=1)
        moved = encoding - encoding.mean((1, 2), keepdims=True)
        unit = moved / np.linalg.norm(moved, axis=0)
        alike = {name: float((unit[:, :, :-step] * unit[:, :, step:]).sum(0).mean())
                 for name, step in (("beside", 1), ("far", FAR))}  # fmt: skip
        told[key] = {"constant": int((swing < CONSTANT).sum()), "channels": channels,
                     **{name: round(value, 4) for name, value in alike.items()},
                     "spread": round(float(np.sqrt((moved**2).mean())), 4)}  # fmt: skip
    return told
