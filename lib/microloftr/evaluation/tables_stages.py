"""The record of `python -m microloftr stages` → a table: coarse only, coarse + refinement, and their difference."""

from collections.abc import Sequence
from typing import Any

WORDS = {"coarse": "coarse only", "fine": "coarse + refinement", "final": "as it is", "difference": "difference"}
COLUMNS = {  # number: head, format, and by what it is shown multiplied
    "exact": ("true cell", "{:.0f} %", 100),
    "beside": ("±1 cell", "{:.0f} %", 100),
    "recall": ("recall", "{:.0f} %", 100),
    "mean_offset": ("mean px", "{:.2f}", 1),
    "median_offset": ("median px", "{:.2f}", 1),
    "precision_1": ("P@1", "{:.2f}", 1),
    "precision_3": ("P@3", "{:.2f}", 1),
    "precision_5": ("P@5", "{:.2f}", 1),
    "matches": ("matches", "{:.0f}", 1),
    "auc_1": ("AUC@1", "{:.2f}", 1),
    "auc_3": ("AUC@3", "{:.2f}", 1),
    "auc_5": ("AUC@5", "{:.2f}", 1),
    "auc_10": ("AUC@10", "{:.2f}", 1),
    "failures": ("> 10 px", "{:.0f} %", 100),
    "seconds": ("s", "{:.3f}", 1),
}
INTERVAL = ("median_offset", "auc_3")  # shown with theirs; the record holds them all
MOST = 2.0  # wall over CPU seconds from which a machine counts as loaded
VERDICTS = {"better": "**+**", "worse": "**−**", "tie": "tie", None: ""}


def stages_table(record: dict[str, Any], seconds: bool = True) -> str:
    """A line for each part and stage, one for the paired difference with what it says, and a caption."""
    values = record["values"]
    columns = [name for name in COLUMNS if seconds or name != "seconds"]
    lines = _rows({**values["levels"], "all": values["all"]}, columns)
    head = ["pairs", "stage", *(COLUMNS[name][0] for name in columns)]
    table = _table(head, lines) + "\n\n" + _caption(record) + (_times(values.get("times")) if seconds else "")
    return f"{poses}\n\n{table}" if (poses := pose_table(values)) else table


def pose_table(values: dict[str, Any]) -> str:
    """Pose AUC of photographs with known cameras, a line for each part and stage; empty where there are none."""
    rows = []
    for name, part in {**values["levels"], "all": values["all"]}.items():
        for stage, told in ((stage, part[stage].get("pose")) for stage in WORDS if stage in part):
            if told:
                cells = [f"{told[f'auc_{degrees}']:.2f}" + _limits(told, f"auc_{degrees}") for degrees in (5, 10, 20)]
                rows.append([f"{name} ({told['n']})", WORDS[stage], *cells])
    head = ["pairs", "stage", *(f"pose AUC@{degrees}°" for degrees in (5, 10, 20))]
    return _table(head, rows) if rows else ""


def _limits(told: dict[str, Any], number: str) -> str:
    low, high = told[f"{number}_low"], told[f"{number}_high"]
    return "" if low is None else f" [{low:.2f}, {high:.2f}]"


def loaded(times: dict[str, float]) -> bool:
    """Whether other programs had the cores for longer than the one that was timed: `wall` and `cpu`, its seconds."""
    return times["wall"] > MOST * times["cpu"]


def stages_modalities(record: dict[str, Any]) -> str:
    """A line for each modality: both stages' median offset and AUC@3, and the difference."""
    values = record["values"]
    head = ["modality (pairs, specimens)", "median px, coarse", "refined", "AUC@3, coarse", "refined", "difference"]
    rows = []
    for name, part in values["modalities"].items():
        stages = [part.get(stage) for stage in ("coarse", "fine")]
        cells = [_cell(row, number) for number in INTERVAL for row in stages]
        row = part.get("difference")
        said = "–" if row is None else f"{_cell(row, 'auc_3', True)} {VERDICTS[row['auc_3_verdict']]}".strip()
        rows.append([f"{name.replace('_', ' ')} ({part['n']}, {part['sources']})", *cells, said])
    return _table(head, rows) + "\n\n" + _caption(record)


def _rows(parts: dict[str, Any], columns: Sequence[str]) -> list[list[str]]:
    rows = []
    for name, part in parts.items():
        for stage in (key for key in WORDS if key in part):
            changed = stage == "difference"
            cells = []
            for number in columns:
                cell = _cell(part[stage], number, changed)
                said = VERDICTS[part[stage].get(f"{number}_verdict")] if changed else ""
                cells.append(f"{cell} {said}".strip())
            rows.append([f"{name} ({part['n']})", WORDS[stage], *cells])
    return rows


def _cell(row: dict[str, Any] | None, number: str, signed: bool = False) -> str:
    if row is None or row[number] is None:
        return "–"
    if signed and number == "matches":
        return f"{row[number]:.0f}"
    _, style, times = COLUMNS[number]
    style = style.replace("{:", "{:+").replace(".0f", ".2f") if signed else style
    text = style.format(times * row[number])
    if number in INTERVAL and row[f"{number}_low"] is not None:
        text += f" [{style.format(times * row[f'{number}_low'])}, {style.format(times * row[f'{number}_high'])}]"
    return text


def _caption(record: dict[str, Any]) -> str:
    values = record["values"]
    turned = "image_1 turned by the quarters that leave at most 45°" if values["turned"] else "images as they are"
    made = values.get("error", "corners") == "corners"  # folders have no splits
    split = f", {record['split']} split" if made and record.get("split") else ""
    commit = f" Commit {record['commit']}." if record.get("commit") else ""
    alone = ", the network alone: no search, no pixels followed" if values.get("network", True) else ""
    error = "corner error" if values.get("error", "corners") == "corners" else "error over the overlap"
    known = (
        "" if error == "corner error" else " Of pairs whose truth is good to half of what is asked, cells to 1.5 px."
    )
    return (
        f"{values['matcher']}{alone}; {turned}{split}. True cell, ±1: share "
        "of the matches whose point lies in the true cell, in it or a neighbour; recall: of the cells with a true "
        "partner; px: distance from the truth of the matches whose cell is the true one or beside it, the same at both "
        f"stages; P@t: share of all matches to t px; AUC@t of the mean {error}, failures counted.{known} 95 % "
        "intervals in brackets, drawn by specimen; of a difference + is better, − worse, and a tie one whose interval "
        "holds 0. "
        f"Homography: {values['estimator']}, {values['threshold_px']:g} px, from at most "
        f"{values['match_cap']} matches.{commit}"
    )


def _times(times: dict[str, Any] | None) -> str:
    """What is to be known of the seconds, where the record tells it."""
    if not times:
        return ""
    busy = " The machine was busy with other work meanwhile: they mean nothing." if loaded(times) else ""
    of = f" of {times['pairs']} pairs, measured again" if "pairs" in times else ""
    return f" Seconds{of}: {times['wall']:.1f} in all on the clock, {times['cpu']:.1f} of the process.{busy}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
