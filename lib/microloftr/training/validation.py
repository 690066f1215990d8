"""Losses of fixed made pairs of the four levels: what is seen of a run while it goes, and what it is judged by.

All levels are looked at; `train.judged` names those whose mean decides when to stop and which weights are best. Hard
and extreme turn the crops by up to ±180°, which is the Matcher's search and not asked of the network: most of the nats
of all four are theirs, and they rise as soon as the network is sure of anything.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from microloftr.config.plain import Config
from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import make_pairs
from microloftr.model.loftr import LoFTR
from microloftr.training.step import pair_loss

VALIDATION_SEED = 20_260_000
CHUNK = 16  # pairs at a time, whatever the batch of training: the pixel noise is keyed by it


@torch.no_grad()
def validate_level(model: LoFTR, atlas: Atlas, config: Config, level: str) -> dict[str, Tensor]:
    """Mean parts of the loss over `train.validation_pairs` pairs of a level, at the training crop, in float32."""
    data, train = config.data, config.train
    generator = torch.Generator(atlas.values.device).manual_seed(VALIDATION_SEED)
    parts: list[dict[str, Tensor]] = []
    for first in range(0, train.validation_pairs, CHUNK):
        indices = np.arange(first, min(first + CHUNK, train.validation_pairs))
        batch = make_pairs(atlas, level, VALIDATION_SEED, indices, data.crop)
        parts.append(pair_loss(model, batch, train.loss, generator).parts)
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}


def validate(model: LoFTR, atlas: Atlas, config: Config) -> dict[str, float]:
    """{level/part: value} of all levels, and `validation_loss`, the mean of the losses of those in `train.judged`."""
    was_training = model.training
    model.eval()
    values = {
        f"{level}/{name}": float(value)
        for level in LEVELS
        for name, value in validate_level(model, atlas, config, level).items()
    }
    model.train(was_training)
    return values | {"validation_loss": mean_loss([values[f"{level}/loss"] for level in config.train.judged])}


def mean_loss(losses: Sequence[float]) -> float:
    """The mean of the levels' losses, to float32: Lightning compares it so, and both ways must choose the same."""
    return float(np.float32(sum(losses) / len(losses)))
