"""Records of all baselines → Markdown: made pairs, those of them that slow matchers have seen too, and real pairs."""

from typing import Any

from microloftr.errors import MicroLoFTRError
from microloftr.evaluation.tables import real


def baselines(record: dict[str, Any]) -> str:
    """A line per matcher: AUC@3 and failures at each level."""
    values = record["values"]
    left = "".join(f" Left out: {name}. {reason}" for name, reason in values["left_out"].items())
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    caption = (
        f"AUC@3 px of the mean corner error; after the dot, failures (> 10 px). {values['per_level']} pairs of each "
        f"level, one of a micrograph, {record['split']} split; slow matchers have every {_nth(values['every'])} of "
        f"them. With so few, differences below 0.1 say nothing. {_estimator(values)} {versions}. "
        f"Commit {record['commit']}.{left}"
    )
    return f"{_by_level(values['levels'], values['matchers'])}\n\n{caption}"


def shared(record: dict[str, Any]) -> str:
    """The same of those pairs alone that slow matchers have: all matchers on the same ones."""
    values = record["values"]
    part = values["shared"]
    kinds = ", ".join(name.replace("_", " ") for name in part["modalities"])
    caption = (
        f"All on the same {len(part['micrographs'])} micrographs of {len(part['modalities'])} modalities ({kinds}), "
        "one pair of each at every level: AUC@3 px of the mean corner error; after the dot, failures (> 10 px). "
        f"{record['split'].capitalize()} split. {_estimator(values)} Commit {record['commit']}."
    )
    return f"{_by_level(part['levels'], values['matchers'])}\n\n{caption}"


def baselines_real(evaluated: dict[str, Any], record: dict[str, Any]) -> str:
    """A line per matcher, a column per group of real pairs: what evaluate_real.json has, then the others.

    Raises MicroLoFTRError where the two records are of other pairs or another estimator.
    """
    first, more = evaluated["values"], record["values"]
    if any(first[key] != more[key] for key in ("pairs_sha256", "estimator", "threshold_px", "match_cap")):
        raise MicroLoFTRError(
            "results/baselines_real.json and results/evaluate_real.json are of other pairs or estimators: they cannot "
            "stand in one table; make both anew."
        )
    kept = [key for key in first["matchers"] if not key.startswith("micro_")]  # untrained and blind: in the other table
    matchers = {key: first["matchers"][key] for key in kept} | more["matchers"]
    groups = {
        group: {key: first["groups"][group][key] for key in kept} | summaries
        for group, summaries in more["groups"].items()
    }
    commits = " and ".join(dict.fromkeys((evaluated["commit"], record["commit"])))
    return real({**record, "commit": commits, "values": {**more, "matchers": matchers, "groups": groups}})


def breaking(record: dict[str, Any]) -> str:
    """A line per matcher: the first step of each factor at which fewer than half of the pairs are right."""
    values = record["values"]
    factors = values["factors"]
    rows = [["matcher", *factors], ["---"] * (1 + len(factors))]
    for key, told in values["matchers"].items():
        cells = []
        for part in factors.values():
            step = part["breaks"][key]
            worst = min(part["right"][key])
            cells.append(f"never ({100 * worst:.0f} % at worst)" if step is None else f"{step:g}".replace("-", "−"))
        rows.append([told["name"], *cells])
    words = "; ".join(
        f"{name}: {part['words']}, {', '.join(f'{step:g}' for step in part['steps'])}".replace("-", "−")
        for name, part in factors.items()
    )
    base = ", ".join(f"{name} {value:g}" for name, value in values["base"].items())
    caption = (
        f"The first step at which fewer than half of {len(values['micrographs'])} pairs ({values['size']} px, one of a "
        f"micrograph) are right, within {values['right_px']:g} px of mean corner error; all else as at {base}. "
        f"{words}. {record['split'].capitalize()} split. {_estimator(values)} Commit {record['commit']}."
    )
    return _lines(rows) + f"\n\n{caption}"


def _by_level(levels: dict[str, Any], matchers: dict[str, Any]) -> str:
    rows = [["matcher", "pairs", *levels], ["---"] * (2 + len(levels))]
    for key, told in matchers.items():
        cells = [f"{one[key]['auc_3']:.2f} · {100 * one[key]['failures']:.0f} %" for one in levels.values()]
        rows.append([told["name"], str(sum(one[key]["n"] for one in levels.values())), *cells])
    return _lines(rows)


def _lines(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _estimator(values: dict[str, Any]) -> str:
    return (
        f"Homography for every matcher: {values['estimator']}, {values['threshold_px']:g} px, from at most "
        f"{values['match_cap']} matches."
    )


def _nth(number: int) -> str:
    return {1: "one", 2: "second one", 3: "third one"}.get(number, f"{number}th one")
