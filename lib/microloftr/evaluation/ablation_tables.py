"""The record of the ablations → two tables in Markdown."""

from typing import Any

NAMES = {"right_cells": "right cells", "auc_3": "AUC@3", "failures": "> 10 px"}


def trained_table(record: dict[str, Any]) -> str:
    """A line per trained variant: its numbers, and its difference to the base in both judgements."""
    part = record["values"]["trained"]
    if not part["rows"]:
        return "No variant has been trained yet."
    pairs, cells = len(part["sources"]["errors"]), len(part["sources"]["cells"])
    steps = sorted({entry["steps"] for entry in part["entries"].values()} - {0})
    caption = (
        f"Each trained for {' or '.join(map(str, steps))} steps. Right cells: the network alone on {cells} pairs of "
        "128×128 of every level, image_1 turned by the quarters that leave at most 45°. AUC@3 px of the mean corner "
        f"error and failures: the Matcher on {pairs} fixed pairs of every level, – where the network alone was judged; "
        f"a further seed is compared with the base of its seed. {_INTERVALS}"
    )
    agreed = "".join(
        f" {part['rows'][key]['words']}: {told['verdict']} ({', '.join(f'{d:+.3f}' for d in told['differences'])});"
        for key, told in part.get("over_seeds", {}).items()
    )
    if agreed:
        caption += f" Right cells over {len(told_seeds(part))} seeds, a tie unless all agree:{agreed[:-1]}."
    return _table(part["rows"], ("right_cells", "auc_3", "failures")) + f"\n\n{caption}"


def told_seeds(part: dict[str, Any]) -> set[int]:
    """The seeds that something was trained with."""
    return {entry["seed"] for entry in part["entries"].values()}


def inference_table(record: dict[str, Any]) -> str:
    """A line per switch of matching, in its groups."""
    part = record["values"]["inference"]
    if not part["rows"]:
        return "Nothing has been switched off yet."
    caption = (
        f"The shipped weights on {len(part['sources']['errors'])} fixed validation pairs of every level. Each group is "
        f"compared with its first line. {_INTERVALS}"
    )
    return _table(part["rows"], ("auc_3", "failures")) + f"\n\n{caption}"


_INTERVALS = (
    "All levels together; behind each value the difference [95 % interval, pair by pair, drawn by specimen]; = is a "
    "tie: the interval holds 0. The last column is AUC@3 at easy / medium / hard / extreme."
)


def _table(rows: dict[str, dict[str, Any]], metrics: tuple[str, ...]) -> str:
    lines = [["", *(NAMES[metric] for metric in metrics), "AUC@3 by level"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows.values():
        levels = " / ".join(f"{value:.2f}" for value in row["levels"].values()) or "–"
        lines.append([row["words"], *(_cell(row.get(metric)) for metric in metrics), levels])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(told: dict[str, Any] | None) -> str:
    if told is None:
        return "–"
    value = f"{told['value']:.3f}"
    if "difference" not in told:
        return value
    limits = "" if told["low"] is None else f" [{told['low']:+.3f}, {told['high']:+.3f}]"
    sign = "= " if told["verdict"] == "tie" else ""
    return f"{value} · {sign}{told['difference']:+.3f}{limits}"
