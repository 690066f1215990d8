"""The thin LightningModule: it makes the pairs of a step on the device and hands the rest to training/step.py."""

import itertools
from collections.abc import Iterator

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from microloftr.config.schema import Config
from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import make_pairs
from microloftr.model.loftr import LoFTR
from microloftr.training.step import pair_loss

VALIDATION_SEED = 20_260_000


class _Steps(IterableDataset):
    """Counts steps; the pairs themselves follow from the step's number (see `training_step`)."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class Training(lightning.LightningModule):
    """Trains one model on pairs made from an atlas; step k sees the seed's pairs k·batch … (k+1)·batch − 1, always."""

    def __init__(self, model: LoFTR, config: Config, atlas: Atlas, validation_atlas: Atlas) -> None:
        super().__init__()
        self.model, self.config = model, config
        self._atlases = (atlas, validation_atlas)  # in a tuple, for they are no modules and no state

    def train_dataloader(self) -> DataLoader:
        """An endless counter; `train.steps` ends the run."""
        return DataLoader(_Steps(), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """One entry per level."""
        return DataLoader(list(LEVELS), batch_size=None)

    def training_step(self, _: int) -> Tensor:
        """Loss of the step's pairs."""
        data, train = self.config.data, self.config.train
        first = self.global_step * data.batch
        batch = make_pairs(self._atlases[0], data.mixture, train.seed, np.arange(first, first + data.batch), data.crop)
        generator = torch.Generator(self.device).manual_seed(train.seed * 1_000_003 + self.global_step)
        autocast = torch.bfloat16 if train.precision == "bf16" else None
        result = pair_loss(self.model, batch, train.loss, generator, autocast)
        for name, value in result.parts.items():
            self.log(name, value, prog_bar=name in ("coarse", "accuracy"), batch_size=data.batch)
        return result.loss

    def validation_step(self, level: str) -> None:
        """Losses of fixed made pairs of one level, from the validation micrographs, at the training crop."""
        data, train = self.config.data, self.config.train
        generator = torch.Generator(self.device).manual_seed(VALIDATION_SEED)
        parts: list[dict[str, Tensor]] = []
        for first in range(0, train.validation_pairs, data.batch):
            indices = np.arange(first, min(first + data.batch, train.validation_pairs))
            batch = make_pairs(self._atlases[1], level, VALIDATION_SEED, indices, data.crop)
            parts.append(pair_loss(self.model, batch, train.loss, generator).parts)
        means = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        self.log_dict({f"{level}/{name}": value for name, value in means.items()}, batch_size=1)
        self.log("validation_loss", means["loss"], batch_size=1)

    def configure_optimizers(self) -> dict:
        """AdamW, the backbone at its own rate; linear warm-up, constant, linear decay at the end."""
        train = self.config.train
        backbone = list(self.model.backbone.parameters())
        own = {id(parameter) for parameter in backbone}
        others = [parameter for parameter in self.model.parameters() if id(parameter) not in own]
        optimizer = torch.optim.AdamW(
            [{"params": others, "lr": train.lr}, {"params": backbone, "lr": train.backbone_lr}],
            weight_decay=train.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A resumed run's optimizer carries the rate of its old schedule, which may have ended elsewhere."""
        schedule = self.lr_schedulers()
        for group, base in zip(schedule.optimizer.param_groups, schedule.base_lrs, strict=True):
            group["lr"] = base * self.rate(self.global_step)

    def rate(self, step: int) -> float:
        """Share of the learning rate at a step."""
        train = self.config.train
        warm = min((step + 1) / max(train.warmup, 1), 1.0)
        left = (train.steps - step) / min(train.decay, train.steps)
        return max(min(warm, left), 0.01 * warm)
