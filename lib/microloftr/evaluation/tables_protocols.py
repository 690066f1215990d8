"""Records of HPatches and of landmarks → Markdown, with all that a figure needs to be compared."""

from typing import Any


def hpatches(record: dict[str, Any]) -> str:
    """A line per matcher and estimator: AUC@3/5/10 of all pairs, and AUC@3 by what changed."""
    values = record["values"]
    found = [values, *values.get("estimators", {}).values()]
    head = ["matcher", "estimator", "AUC@3", "AUC@5", "AUC@10", "illumination, AUC@3", "viewpoint, AUC@3"]
    rows = []
    for key, told in values["matchers"].items():
        for part in found:
            groups = part["groups"]
            cells = [_two(groups["all"][key][f"auc_{t}"]) for t in (3, 5, 10)]
            cells += [
                _two(groups[name][key]["auc_3"]) if name in groups else "–" for name in ("illumination", "viewpoint")
            ]
            words = f"{part['estimator']}, {part['threshold_px']:g} px, {part['match_cap']} matches"
            rows.append([told["name"], words, *cells])
    count = next(iter(values["groups"]["all"].values()))
    caption = (
        f"HPatches, {count['n']} pairs of {count['sources']} sequences: AUC of the mean corner error in px of the "
        f"resized image_1 (shorter sides of 480 px). Commit {record['commit']}."
    )
    return _table(head, rows) + f"\n\n{caption}"


def landmarks(record: dict[str, Any]) -> str:
    """A line per matcher: ANHIR's averages, and its mean rank among the matchers of the table."""
    values = record["values"]
    head = [
        "matcher",
        "mean rank",
        "AMrTRE",
        "MMrTRE",
        "AMxrTRE",
        "median TRE, px",
        "before, px",
        "came nearer",
        "truth, px",
    ]
    rows = []
    for key, told in values["matchers"].items():
        one = values["groups"]["all"][key]["landmarks"]
        shares = [_two(one[name], 4) for name in ("mean_rtre", "median_rtre", "mean_max_rtre")]
        pixels = [_two(one[name], 1) for name in ("tre", "initial_tre")]
        nearer = f"{100 * one['robustness']:.0f} %"
        rank = _two(values["mean_rank"][key])
        rows.append([told["name"], rank, *shares, *pixels, nearer, _two(one["truth_tre"], 1)])
    count = next(iter(values["groups"]["all"].values()))["landmarks"]["n"]
    caption = (
        f"Landmarks of {count} pairs: rTRE is the distance after the transform over the diagonal of image_1; A means a "
        "mean over pairs, M a median, of each pair's median or (Mx) largest. A pair without a transform stays as it "
        "was. Truth: the affine map that fits the landmarks best. "
        f"Homography for every matcher: {values['estimator']}, {values['threshold_px']:g} px. "
        f"Commit {record['commit']}."
    )
    return _table(head, rows) + f"\n\n{caption}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def _two(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
