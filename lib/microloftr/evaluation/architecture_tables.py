"""The record of the architecture's ablations → one table in Markdown."""

from collections.abc import Iterator
from typing import Any

COLUMNS = ("auc_3", "failures", "precision_3", "matches", "own")
HEADS = ("AUC@3", "> 10 px", "P@3", "matches", "right cells, or px in the own cell", "size, time")
DIGITS = {"matches": 0, "own": 2}
COMMAND = "python -m microloftr architecture --only"
INTERVALS = (
    "The network alone: no search, nothing followed or aligned, image_1 turned by the quarters that leave at most 45°. "
    "All levels together; behind each value the difference to its group's reference [95 % interval, pair by pair, "
    "drawn by specimen]; = is a tie: the interval holds 0. P@3: share of matches within 3 px, 0 without matches."
)


def architecture_table(record: dict[str, Any]) -> str:
    """A line per kind of attention, fine stage and rule of matching, in their groups, as far as the record has them."""
    values = record["values"]
    lines = [["", *HEADS], ["---"] * (len(HEADS) + 1)]
    captions = []
    for title, rows, caption in _groups(values):
        lines.append([f"**{title}**", *[""] * len(HEADS)])
        lines += [[row["words"], *(_cell(row, name) for name in COLUMNS), _size(row)] for row in rows]
        captions.append(caption)
    if not captions:
        return "Nothing has been measured yet."
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\n{' '.join(dict.fromkeys(captions))} {INTERVALS}"


def fine_table(record: dict[str, Any]) -> str:
    """The fine stages alone: size, time, errors on the same matches."""
    part, times = record["values"]["fine"], record["values"].get("times", {}).get("fine", {})
    lines = [["", "weights", "ms per 1,000 windows", "median px", "in the own cell", "within 1 px"], ["---"] * 6]
    for rows in part["seeds"].values():
        for key, row in rows.items():
            time = f"{times[key]:.0f}" if key in times else "–"
            errors = (_cell(row, name, digits) for name, digits in (("median", 2), ("own", 2), ("within", 3)))
            lines.append([row["words"], f"{row['parameters']:,}", time, *errors])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _groups(values: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
    """Title, rows and what is to be said of them, of every part that is there."""
    times = values.get("times", {})
    attention, fine, switches = (values.get(part) for part in ("attention", "fine", "switches"))
    if attention and attention["rows"]:
        steps = attention["steps"]
        pairs, cells = (len(attention["sources"][name]) for name in ("errors", "cells"))
        caption = (
            f"Attention: trainings of {steps * 16:,} pairs of 128×128 from XFeat, judged by all mutual cells "
            f"on {pairs} pairs of every level, right cells on {cells} crops; time: ms of one core for the transformer, "
            f"two images of 320×320. Again: `{COMMAND} attention,times --attention-steps {steps}`."
        )
        missing = f" Not trained yet: {', '.join(attention['missing'])}." if attention["missing"] else ""
        spent = times.get("attention", {})
        rows = [row | {"own": row["right_cells"], "digits": 3, "ms": spent.get(key)}
                for key, row in attention["rows"].items()]  # fmt: skip
        yield "attention, trained", rows, caption + missing
    if fine:
        early = (
            f", stopped at step {fine['steps_done']} of {fine['steps']}" if fine["steps_done"] < fine["steps"] else ""
        )
        caption = (
            f"Fine stages: trained on {fine['trained_pairs']:,} pairs of 128×128 ({fine['per_pair']} windows of each"
            f"{early}) on the frozen coarse part of the shipped weights, judged on {fine['pairs_per_level']} pairs of "
            f"every level; own: median px of the {fine['own_matches']} matches whose truth lies in the cell itself, "
            "size: weights without the fine map, time: ms of one core per 1,000 windows. Again: "
            f"`{COMMAND} fine,times --fine-steps {fine['steps']} --seeds {','.join(fine['seeds'])}`."
        )
        for seed, found in fine["seeds"].items():
            for group, title in (("width", "fine transformer, published"), ("reading", "micro's heat, read")):
                rows = [row | {"ms": times.get("fine", {}).get(key)} for key, row in found.items()
                        if row["group"] == group]  # fmt: skip
                yield title + (f", seed {seed}" if seed != "0" else ""), rows, caption
    if switches:
        yield (
            "switched, shipped weights",
            list(switches["rows"].values()),
            f"Switched: {switches['pairs']} pairs of every level. Again: `{COMMAND} switches --pairs "
            f"{switches['pairs']}`.",
        )
        filters = switches["filters"]
        caption = f"Filters: `{filters['command']}`, {filters['pairs']} larger pairs, both images shrunk, none turned."
        yield "filter that shrinks images", list(filters["rows"].values()), caption


def _cell(row: dict[str, Any], name: str, digits: int | None = None) -> str:
    told = row.get(name)
    if told is None:
        return "–"
    digits = DIGITS.get(name, 3) if digits is None else digits
    digits = row["digits"] if name == "own" and "digits" in row else digits
    value = f"{told['value']:.{digits}f}" + " px" * (name == "own" and "digits" not in row)
    if "difference" not in told:
        return value
    sign = "= " if told["verdict"] == "tie" else ""
    low, high = told["difference_low"], told["difference_high"]
    return f"{value} · {sign}{told['difference']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _size(row: dict[str, Any]) -> str:
    told = [f"{row['parameters'] / 1000:.0f} k"] if "parameters" in row else []
    told += [f"{row['ms']:.0f} ms"] if row.get("ms") is not None else []
    return ", ".join(told) or "–"
