"""The rule of early stopping: by hand, and against Lightning's own callback."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from microloftr.errors import ParameterError
from microloftr.training.stopping import Stop, stopping_point


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "stop"),
    [
        ([3, 2, 1], 1, 0, Stop(2, None)),
        ([3, 2, 2.5], 1, 0, Stop(1, 2)),
        ([3, 2, 2.5, 1.9, 2, 2, 2], 2, 0, Stop(3, 5)),
        ([3, 2, 2, 2], 2, 0, Stop(1, 3)),  # the same again is no gain
        ([3, 2.95, 2.91, 2.85], 3, 0.1, Stop(3, None)),  # small gains add up: the last is more than 0.1 below the best
        ([3, 2.95, 2.91, 2.9], 3, 0.1, Stop(0, 3)),
        ([3, float("nan"), 1], 5, 0, Stop(0, 1)),
        ([float("inf")], 5, 0, Stop(0, 0)),
    ],
)
def test_by_hand(values, patience, min_delta, stop):
    assert stopping_point(values, patience, min_delta) == stop


@pytest.mark.parametrize("seed", range(20))
def test_lightning_stops_at_the_same_place(seed):
    generator = np.random.default_rng(seed)
    values = np.linspace(3, 2, 30) + generator.normal(0, 0.3, 30)
    patience, min_delta = int(generator.integers(1, 6)), float(generator.choice([0.0, 0.2]))
    assert stopping_point(values, patience, min_delta).index == stopped_by_lightning(values, patience, min_delta)


def stopped_by_lightning(values, patience, min_delta):
    """Where EarlyStopping says stop, told one value after the other."""
    callback = EarlyStopping("validation_loss", min_delta, patience, mode="min", verbose=False)
    for index, value in enumerate(values):
        trainer = SimpleNamespace(
            fast_dev_run=False,
            should_stop=False,
            current_epoch=0,
            callback_metrics={"validation_loss": torch.tensor(value)},
            strategy=SimpleNamespace(reduce_boolean_decision=lambda stop, all: stop),
        )
        callback._run_early_stopping_check(trainer)
        if trainer.should_stop:
            return index
    return None


@pytest.mark.parametrize(("values", "patience", "min_delta"), [([], 1, 0), ([1], 0, 0), ([1], 1, -1)])
def test_nothing_to_go_by_is_one_sentence(values, patience, min_delta):
    with pytest.raises(ParameterError, match="stopping needs values"):
        stopping_point(values, patience, min_delta)
