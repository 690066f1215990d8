"""Seconds that can be believed: was the machine idle while they were measured, and how to measure them alone again.

The clock on the wall runs on while other programs have the cores; the time of this process does not. Where the first is
more than twice the second, the seconds say more about the machine than about the network.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from microloftr.errors import ParameterError
from microloftr.evaluation.pair import spread
from microloftr.evaluation.stage_pairs import Drawn, turned_pair
from microloftr.evaluation.stage_scores import Network, Points, StageScore, Stranger, score_stages
from microloftr.evaluation.stage_summary import summarise_stages
from microloftr.evaluation.tables_stages import loaded

TIMED = 8  # pairs of every level, spread over it


def spent(found: Sequence[Mapping[str, Points]]) -> dict[str, float]:
    """Wall and CPU seconds of this process over all pairs, each pair's of its last stage, which holds the others'."""
    last = [list(points.values())[-1] for points in found]
    return {"wall": round(sum(one.seconds for one in last), 4), "cpu": round(sum(one.cpu for one in last), 4)}


def warning(times: Mapping[str, float]) -> str:
    """One sentence for whoever reads the seconds of a loaded machine."""
    return (
        f"The machine was busy with other work: {times['wall']:.1f} s on the clock for {times['cpu']:.1f} s of this "
        "process. Its seconds mean nothing; measure them again on an idle machine with --retime."
    )


def retimed(
    values: Mapping[str, Any],
    runner: Network | Stranger,
    pairs: Drawn,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> dict[str, Any]:
    """The values of a record of stages with their seconds measured again on TIMED pairs of every level; all else stays.

    Parts of which no pair is timed have no seconds then. Raises ParameterError on a loaded machine.
    """
    numbers: list[int] = []
    for source in dict.fromkeys(id(source) for source, _ in pairs.members):
        own = [number for number, (one, _) in enumerate(pairs.members) if id(one) == source]
        numbers += [own[k] for k in spread(len(own), TIMED)]
    rows: list[StageScore] = []
    every: list[Mapping[str, Points]] = []
    for number in progress(numbers):
        pair, turns = turned_pair(pairs[number]) if values["turned"] else (pairs[number], 0)
        if not every:
            runner(pair)  # the first pass of a process is slow
        every.append(runner(pair))
        rows += score_stages(str(values["matcher"]), pair, every[-1], runner.side, pairs.error, turns, number)
    times = spent(every)
    if loaded(times):
        raise ParameterError(warning(times))
    fresh = summarise_stages(rows, values["resamples"])
    told: dict[str, Any] = {**values, "times": times | {"pairs": len(numbers)}}
    for kind in ("levels", "modalities"):
        told[kind] = {name: _with_seconds(part, fresh[kind].get(name)) for name, part in values[kind].items()}
    return told | {"all": _with_seconds(values["all"], fresh["all"])}


def _with_seconds(part: Mapping[str, Any], fresh: Mapping[str, Any] | None) -> dict[str, Any]:
    """A part of a record with the seconds of another one, or with none."""
    told = {}
    for stage, row in part.items():
        if not isinstance(row, dict):
            told[stage] = row
            continue
        names = [name for name in row if name.startswith("seconds")]
        told[stage] = row | {name: (fresh or {}).get(stage, {}).get(name) for name in names}
    return told
