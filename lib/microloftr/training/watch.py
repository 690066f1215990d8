"""A run stops at the first loss or gradient that is no number, or too large a loss, and names the batch."""

import math

import torch
from torch import Tensor

from microloftr.config.plain import Config
from microloftr.errors import MicroLoFTRError

EVERY = 10  # steps between two looks on a GPU, where looking means waiting; on a CPU every step is looked at


class Watch:
    """Sees what each step gives. `check()` looks at what has not been looked at; call it before weights are kept.

    On a CPU a bad step is found before it moves the weights; on a GPU up to EVERY steps later, the right step named.
    """

    def __init__(self, config: Config, folder: str) -> None:
        self.config, self.folder = config, folder
        self._unseen: list[tuple[int, str, Tensor]] = []

    def see(self, step: int, name: str, value: Tensor) -> None:
        """Take in a scalar of a step: "loss" or "gradient" (its norm). Raises MicroLoFTRError, see `check`."""
        self._unseen.append((step, name, value.detach()))
        if value.device.type == "cpu" or len(self._unseen) >= 2 * EVERY:
            self.check()

    def check(self) -> None:
        """Raise MicroLoFTRError for the first value that is none, or a loss above `train.max_loss`."""
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        for (step, name, _), value in zip(unseen, torch.stack([v.float() for *_, v in unseen]).tolist(), strict=True):
            if not math.isfinite(value) or (name == "loss" and value > self.config.train.max_loss):
                raise MicroLoFTRError(self._message(step, name, value))

    def _message(self, step: int, name: str, value: float) -> str:
        batch, train = self.config.data.batch, self.config.train
        above = f", above train.max_loss={train.max_loss:g}" if math.isfinite(value) else ""
        return (
            f"the {name} of step {step} is {value:g}{above} (seed {train.seed}, pairs {step * batch} to "
            f"{(step + 1) * batch - 1}); see that batch: python -m microloftr replay {self.folder} --step {step}; the "
            f"last checkpoint is of before: with a lower train.lr and train.init naming it, go on from there"
        )
