"""Records of HPatches, of landmarks and of all baselines → Markdown, with all that a figure needs to be compared."""

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


def baselines(record: dict[str, Any]) -> str:
    """A line per matcher: AUC@3 and failures at each level and on real pairs."""
    values = record["values"]
    parts = values["levels"]
    rows = []
    for key, told in values["matchers"].items():
        cells = [f"{_two(one[key]['auc_3'])} · {_share(one[key]['failures'])}" for one in parts.values()]
        rows.append([told["name"], str(sum(one[key]["n"] for one in parts.values())), *cells])
    left = "".join(f" Left out: {name}. {reason}" for name, reason in values["left_out"].items())
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    caption = (
        "AUC@3 px of the mean corner error (real pairs: of the mean error over the overlap, where the truth is good to "
        f"1.5 px); after the dot, failures (> 10 px). {values['per_level']} pairs of each level, one of a micrograph, "
        f"{record['split']} split; slow matchers have a {values['slower']}th of the pairs. With so few, differences "
        f"below 0.1 say nothing. Homography for every matcher: {values['estimator']}, {values['threshold_px']:g} px, "
        f"from at most {values['match_cap']} matches. {versions}. Commit {record['commit']}.{left}"
    )
    return _table(["matcher", "pairs", *parts], rows) + f"\n\n{caption}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def _two(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
