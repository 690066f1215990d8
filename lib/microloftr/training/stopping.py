"""When a run stops early: the rule alone, on the values of a metric that is to fall, one for each validation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from microloftr.errors import ParameterError


@dataclass(frozen=True)
class Stop:
    """Where a run stops. `best`: index of the value to go back to; `index`: of the last one seen, None for all seen."""

    best: int
    index: int | None


def stopping_point(values: Sequence[float], patience: int, min_delta: float = 0.0) -> Stop:
    """Stop after `patience` values in a row that are not more than `min_delta` below the best one so far.

    The rule of Lightning's EarlyStopping (mode "min"), which also stops at the first value that is no number. Raises
    ParameterError for no values, a patience below 1, and a negative min_delta.
    """
    if not len(values) or patience < 1 or not 0 <= min_delta < math.inf:
        raise ParameterError(
            f"stopping needs values, a patience of 1 or more and a min_delta of 0 or more, not {len(values)} values, "
            f"{patience} and {min_delta}"
        )
    best, waited, lowest = 0, 0, math.inf
    for index, value in enumerate(values):
        if not math.isfinite(value):
            return Stop(best, index)
        if value < lowest - min_delta:
            best, waited, lowest = index, 0, value
        else:
            waited += 1
            if waited >= patience:
                return Stop(best, index)
    return Stop(best, None)
