"""The record of `python -m microloftr corners` → a table in Markdown."""

from typing import Any

KINDS = ("corners", "overlap")


def corners_table(record: dict[str, Any]) -> str:
    """A line per matcher and level, then per share of image_0 that is shown."""
    values = record["values"]
    head = ["matcher", "pairs", "n", "AUC@3, corners", "AUC@3, overlap", "median px, corners", "overlap", "> 10 px"]
    rows = [head, ["---"] * len(head)]
    for one in values["matchers"].values():
        parts = list(one["levels"].items())
        parts += [(f"{100 * p['from']:.0f} to {100 * p['to']:.0f} % shared", p) for p in one["shares"]]
        for words, part in parts:
            areas = [_area(part[kind]) for kind in KINDS]
            medians = ["–" if part[kind]["median"] is None else f"{part[kind]['median']:.2f}" for kind in KINDS]
            failures = f"{100 * part['corners']['failures']:.0f} %"
            rows.append([one["name"], words, str(part["n"]), *areas, *medians, failures])
    caption = (
        f"Mean error of the same transforms at the corners of image_0 and over what both images show; medians of the "
        f"pairs that are right to 10 px. {record['split'].capitalize()} split, {values['pairs']} pairs of every level; "
        f"in brackets 95 % intervals, drawn by specimen. Homography: {values['estimator']}, "
        f"{values['threshold_px']:g} px. Commit {record['commit']}."
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{caption}"


def _area(part: dict[str, Any]) -> str:
    limits = "" if part["auc_3_low"] is None else f" [{part['auc_3_low']:.2f}, {part['auc_3_high']:.2f}]"
    return f"{part['auc_3']:.2f}{limits}"
