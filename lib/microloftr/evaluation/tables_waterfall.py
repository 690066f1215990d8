"""The record of the waterfall → a table in Markdown."""

from typing import Any


def waterfall_table(record: dict[str, Any]) -> str:
    """A line per row: median error and AUC@3 px of both kinds of pairs, and how either changed from the row before."""
    values = record["values"]
    probes = values["probes"]
    head = [""]
    for probe in probes:
        head += [f"{probe}: median px", "change", "AUC@3 px", "change"]
    rows = [head, ["---"] * len(head)]
    for key, one in next(iter(probes.values())).items():
        line = [one["words"]]
        for told in probes.values():
            row = told[key]
            for name in ("median", "auc_3"):
                value = f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
                line += [value, _change(row, name) if "change" in row else ""]
        rows.append(line)
    counts = {probe: told["coarse"] for probe, told in probes.items()}
    matches = " and ".join(f"{row['near']} of {row['matches']} matches ({probe})" for probe, row in counts.items())
    caption = (
        f"{values['pairs']} pairs of each kind, of the {record['split']} micrographs; in brackets 95 % intervals, "
        f"drawn by specimen. Change: from the row before, in brackets with another seed; = is a tie: not every seed's "
        f"interval of the change leaves 0 to the same side. The median is of the matches whose truth "
        f"lies in the cell found or in one beside it, of the naive LoFTR's {matches}; AUC@3 is of "
        f"the mean corner error by OpenCV's MAGSAC, 2 px. The naive LoFTR saw {values['naive']['pairs']} pairs of "
        f"128×128, each fine stage {values['fine']['pairs']} more. Commit {record['commit']}."
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{caption}"


def _change(row: dict[str, Any], name: str) -> str:
    """+0.10 (other seeds: +0.08), or with = before it where not every seed says better, or worse."""
    others = ", ".join(f"{other['change'][name]['difference']:+.2f}" for other in row["again"])
    sign = "= " if row["holds"][name] == "tie" else ""
    return f"{sign}{row['change'][name]['difference']:+.2f}{f' ({others})' if others else ''}"
