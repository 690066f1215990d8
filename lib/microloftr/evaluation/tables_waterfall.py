"""The record of the waterfall → a table in Markdown."""

from typing import Any

from microloftr.views.waterfall_figures import mends_of, total_of


def waterfall_table(record: dict[str, Any]) -> str:
    """A line per row: median error and AUC@3 px of both kinds of pairs, and how either changed from the row before."""
    values = record["values"]
    probes = values["probes"]
    first = next(iter(probes.values()))
    last = mends_of(first)[-1] if mends_of(first) else None
    head = [""]
    for probe in probes:
        head += [f"{probe}: median px", "change", "AUC@3 px", "change"]
    rows = [head, ["---"] * len(head)]
    for key, one in first.items():
        line = [one["words"]]
        for told in probes.values():
            row = told[key]
            for name in ("median", "auc_3"):
                value = f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
                line += [value, _change(row, name) if "change" in row else ""]
        rows.append(line)
        if key == last:
            rows.append(["*all of these together*", *(cell for told in probes.values() for cell in _total(told))])
    counts = {probe: told["coarse"] for probe, told in probes.items()}
    known = last is None or all(one["low"] is not None for told in probes.values() for one in total_of(told).values())
    matches = " and ".join(f"{row['near']} of {row['matches']} matches ({probe})" for probe, row in counts.items())
    alone = "" if known else ", without interval, for this record keeps no errors of single pairs"
    caption = (
        f"{values['pairs']} pairs of each kind, of the {record['split']} micrographs; in brackets 95 % intervals, "
        f"drawn by specimen. Change: from the row before, in brackets with another seed; = is a tie: not every seed's "
        f"interval of the change leaves 0 to the same side. All of these together: from the naive fine stage trained "
        f"on to the last mend{alone}. The median is of the matches whose truth lies in the cell found or in one beside "
        f"it, of the naive LoFTR's {matches}; AUC@3 is of the mean corner error by OpenCV's MAGSAC, 2 px. The naive "
        f"LoFTR saw {values['naive']['pairs']} pairs of 128×128, each fine stage {values['fine']['pairs']} more. "
        f"Commit {record['commit']}."
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{caption}"


def begun_table(record: dict[str, Any]) -> str:
    """A line per row but the single mends: medians and AUC@3 px with their intervals, of a naive LoFTR that began at
    random."""
    values = record["values"]
    probes = values["probes"]
    first = next(iter(probes.values()))
    single = mends_of(first)[:-1]
    head = [""]
    for probe in probes:
        head += [f"{probe}: median px", "AUC@3 px"]
    rows = [head, ["---"] * len(head)]
    for key, one in first.items():
        if key not in single:
            line = ["all mends together" if key in mends_of(first) else one["words"]]
            for told in probes.values():
                for name in ("median", "auc_3"):
                    row = told[key]
                    line.append(f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]")
            rows.append(line)
    counts = " and ".join(
        f"{told['coarse']['near']} of {told['coarse']['matches']} ({probe})" for probe, told in probes.items()
    )
    caption = (
        f"A naive LoFTR from random weights after {values['naive']['pairs']} pairs of 128×128, each fine stage "
        f"{values['fine']['pairs']} more; every mutual cell is a match. The median is of the matches whose truth "
        f"lies in the cell found or in one beside it, {counts}. {values['pairs']} pairs of each kind, of the "
        f"{record['split']} micrographs; in brackets 95 % intervals, drawn by specimen. Commit {record['commit']}."
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{caption}"


def _change(row: dict[str, Any], name: str) -> str:
    """+0.10 (other seeds: +0.08), or with = before it where not every seed says better, or worse."""
    others = ", ".join(f"{other['change'][name]['difference']:+.2f}" for other in row["again"])
    sign = "= " if row["holds"][name] == "tie" else ""
    return f"{sign}{row['change'][name]['difference']:+.2f}{f' ({others})' if others else ''}"


def _total(rows: dict[str, Any]) -> list[str]:
    """Cells of both metrics: no value, and the change from the naive fine stage with its interval and other seeds'."""
    cells = []
    for one in total_of(rows).values():
        limits = "" if one["low"] is None else f" [{one['low']:+.2f}, {one['high']:+.2f}]"
        others = ", ".join(f"{value:+.2f}" for value in one["again"])
        sign = "= " if one["verdict"] == "tie" else ""
        cells += ["", f"{sign}{one['difference']:+.2f}{limits}{f' ({others})' if others else ''}"]
    return cells
