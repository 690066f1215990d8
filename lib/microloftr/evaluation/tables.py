"""A record of an evaluation → tables in Markdown. Each names its estimator, threshold, resize and match cap."""

from typing import Any


def overview(record: dict[str, Any]) -> str:
    """One line per matcher: AUC@3 with its interval and the failures at each level, and the time."""
    levels, matchers = record["values"]["levels"], record["values"]["matchers"]
    rows = []
    for key in matchers:
        cells = [_auc_and_failures(levels[level][key]) for level in levels]
        rows.append([matchers[key]["name"], *cells, _mean_seconds([levels[level][key] for level in levels])])
    sizes = {(levels[level][key]["n"], levels[level][key]["sources"]) for level in levels for key in matchers}
    count = " or ".join(f"{n} pairs of {sources} specimens" for n, sources in sorted(sizes))
    caption = (
        f"AUC@3 px of the mean corner error [95 % interval, drawn by specimen]; after the dot, failures (> 10 px). "
        f"Each level: {count}, {record['split']} split. {_conditions(record)}"
    )
    return _table(["matcher", *levels, "s per pair"], rows) + f"\n\n{caption}"


def detail(record: dict[str, Any]) -> str:
    """A line per level and matcher with every metric."""
    levels, matchers = record["values"]["levels"], record["values"]["matchers"]
    columns = ["AUC@1", "AUC@3", "AUC@5", "AUC@10", "> 10 px", "P@1", "P@3", "median px", "matches", "s"]
    rows = []
    for level, summaries in levels.items():
        for key in matchers:
            rows.append([level, matchers[key]["name"], *_all_metrics(summaries[key])])
    caption = (
        "AUC of the mean corner error [95 % interval, drawn by specimen]; P@t: share of matches within t px of the "
        "truth; median px: of the matches within 3 px; matches: mean; s: median, images in memory. The record holds an "
        f"interval of every number but the time. {_conditions(record)}"
    )
    return _table(["level", "matcher", *columns], rows) + f"\n\n{caption}"


def modalities(record: dict[str, Any]) -> str:
    """A line per modality, all levels together, a column per matcher."""
    parts, matchers = record["values"].get("modalities", {}), record["values"]["matchers"]
    rows = []
    for modality, summaries in parts.items():
        known = next(iter(summaries.values()))
        name = f"{modality.replace('_', ' ')} ({known['n']} pairs, {known['sources']})"
        rows.append([name, *(_auc_and_failures(summaries[key]) for key in matchers)])
    caption = (
        "AUC@3 px of the mean corner error [95 % interval, drawn by specimen; none for a single one]; after the dot, "
        "failures (> 10 px). All levels together; in brackets the number of pairs and of specimens. "
        f"{record['split'].capitalize()} split. {_conditions(record)}"
    )
    return _table(["modality", *(told["name"] for told in matchers.values())], rows) + f"\n\n{caption}"


def real(record: dict[str, Any]) -> str:
    """A line per matcher, a column per group of real pairs."""
    groups, matchers = record["values"]["groups"], record["values"]["matchers"]
    rows, heads = [], []
    for group, summaries in groups.items():
        known = next(iter(summaries.values()))
        heads.append(f"{group} ({known['n_3']} of {known['n']})")
    for key in matchers:
        rows.append([matchers[key]["name"], *(_real_cell(summaries[key]) for summaries in groups.values())])
    caption = (
        "Real pairs: AUC@3 px of the mean error over the overlap [95 % interval, drawn by source; none for a single "
        "one]; after the dot, failures (> 10 px). Only pairs whose truth is good to half the threshold count: how many "
        "of all do for AUC@3 stands in brackets, for failures it may be more. Landmarks: median distance in px, and "
        "the share that came nearer. "
        f"{_conditions(record)}"
    )
    return _table(["matcher", *heads], rows) + f"\n\n{caption}"


def reliability(record: dict[str, Any]) -> str:
    """A line per matcher: calibration errors, and the verdicts on matching, unrelated and real pairs."""
    values = record["values"]
    parts, radii = values["matchers"], values["correct_px"]
    below, least = radii[-1], values.get("below", 0.9)
    head = ["matcher", *(f"ECE, {px} px" for px in radii), f"ECE below {least:g}, {below} px (matches)"]
    head += ["right", "wrong", "none", "false on unrelated pairs"]
    known = [told["real"]["all"] for told in parts.values() if "real" in told]
    head += ["real: right", "wrong", "none"] if known else []
    rows = []
    for told in parts.values():
        errors = told.get("cross_fitted", told["levels"]["all"])
        cells = [_two(errors[f"within_{px}"].get("ece_pairs"), 3) for px in radii]
        cells.append(_low_error(errors[f"within_{below}"]))
        strange = told["verdicts"]["unrelated"]
        false = _percent(strange["given"])
        if strange["given_low"] is not None:
            false += f" [{_percent(strange['given_low'])}, {_percent(strange['given_high'])}]"
        cells += [*_verdict(told["verdicts"]["all"]), false]
        if known:
            cells += _verdict(told["real"]["all"]) if "real" in told else ["–"] * 3
        rows.append([told["name"], *cells])
    counts = next(iter(parts.values()))["verdicts"]
    within = " or ".join(map(str, radii))
    caption = (
        f"ECE: expected calibration error of the matches' confidence, {values['bins']} bins, every pair weighing "
        f"alike, a match counting as right within {within} px of the truth; below {least:g}: of the matches that say "
        f"less, and how many these are [95 % interval, drawn by specimen].{_cross_fitted_words(parts)} Then what "
        f"`matches.estimate()` says: right within {values['right_px']:g} px, wrong beyond {values['wrong_px']:g} px "
        f"(mean corner error), none, of {counts['all']['n']} matching pairs; and how often it gives a transform for "
        f"{counts['unrelated']['n']} pairs of two specimens [95 % interval, drawn by specimen]."
    )
    if known:
        caption += (
            f" Real pairs: the same over the overlap, of the {known[0]['n']} of {known[0]['of']} pairs of micrographs "
            f"whose truth is good to {values['right_px'] / 2:g} px."
        )
    return _table(head, rows) + f"\n\n{caption}"


def _low_error(told: dict[str, Any]) -> str:
    if told.get("ece_below") is None:
        return "–"
    return f"{_interval(told, 'ece_below')} ({told['matches_below']})"


def _verdict(shares: dict[str, Any]) -> list[str]:
    """right, wrong, none."""
    if "right" not in shares:
        return ["–", "–", _percent(1 - shares["given"])]
    return [_percent(shares["right"]), _percent(shares["wrong"]), _percent(1 - shares["given"])]


def _cross_fitted_words(parts: dict[str, dict[str, Any]]) -> str:
    names = [told["name"] for told in parts.values() if "cross_fitted" in told]
    if not names:
        return ""
    return f" Those of {', '.join(names)} are of specimens that its map was not fitted to (`calibrate`)."


def bench(record: dict[str, Any]) -> str:
    """A line per matcher and size: time and memory."""
    values = record["values"]
    rows = []
    for told in values["matchers"].values():
        for size, row in told["sizes"].items():
            cells = [told["name"], size.replace("x", "×"), _two(row["seconds"], 3), _two(row["times_faster"], 1)]
            rows.append(
                [*cells, _two(row["seconds_far"], 3), str(row["peak_mib"]), str(row["before_mib"]), str(row["matches"])]
            )
    caption = (
        f"CPU, {values['threads']} threads, {values['machine']}; median of at most {values['repeats']} repeats "
        "after one warm-up, images in memory, one run. Far: the second image turned by 130°, inverted, blurred and "
        "noisy. Memory: the peak of the process in MiB, and what it had reached before the first match. kornia's LoFTR "
        "has random weights."
    )
    head = ["matcher", "size", "s", "times faster than kornia's", "s, far", "peak", "before", "matches"]
    return _table(head, rows) + f"\n\n{caption}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _two(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(summary: dict[str, Any], name: str) -> str:
    if summary[name] is None or summary[f"{name}_low"] is None:
        return _two(summary[name])
    return f"{_two(summary[name])} [{_two(summary[f'{name}_low'])}, {_two(summary[f'{name}_high'])}]"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _percents(summary: dict[str, Any]) -> str:
    """Failures with their interval."""
    low, high = summary.get("failures_low"), summary.get("failures_high")
    limits = "" if low is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return _percent(summary["failures"]) + limits


def _auc_and_failures(summary: dict[str, Any]) -> str:
    return f"{_interval(summary, 'auc_3')} · {_percent(summary['failures'])}"


def _real_cell(summary: dict[str, Any]) -> str:
    marked = summary.get("landmarks")
    if marked and summary["auc_3"] is None:
        return f"landmarks {_two(marked['tre'], 1)} px · {_percent(marked['robustness'])}"
    return _auc_and_failures(summary) if summary["auc_3"] is not None else "–"


def _all_metrics(summary: dict[str, Any]) -> list[str]:
    cells = [_interval(summary, f"auc_{t}") for t in (1, 3, 5, 10)]
    cells += [_percents(summary), *(_two(summary[f"precision_{t}"]) for t in (1, 3))]
    return [*cells, _two(summary["median_error"]), f"{summary['matches']:.0f}", _two(summary["seconds"], 3)]


def _mean_seconds(summaries: list[dict[str, Any]]) -> str:
    known = [summary["seconds"] for summary in summaries if summary["seconds"] is not None]
    return _two(sum(known) / len(known), 3) if known else "–"


def _conditions(record: dict[str, Any]) -> str:
    """Estimator, threshold, match cap, resize and commit: without them a figure says nothing."""
    values = record["values"]
    resizes: dict[str, list[str]] = {}
    for told in values["matchers"].values():
        resizes.setdefault(told["resize"], []).append(told["name"])
    resize = "; ".join(text if len(resizes) == 1 else f"{', '.join(names)}: {text}" for text, names in resizes.items())
    threads = sorted({told["threads"] for told in values["matchers"].values() if told.get("threads")})
    return (
        f"Homography for every matcher: {values['estimator']}, {values['threshold_px']:g} px, from at most "
        f"{values['match_cap']} matches by confidence. Resize: {resize}. "
        f"Threads: {' or '.join(map(str, threads))}. Commit {record['commit']}."
    )
