"""The thin LightningModule around what it shares with the core: pairs by step, loss, optimizer, rate, validation."""

import itertools
from collections.abc import Iterator

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from microloftr.config.plain import Config
from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import make_pairs
from microloftr.model.loftr import LoFTR
from microloftr.training.descent import laid_out, make_optimizer, rate, set_rate, step_generator
from microloftr.training.feed import indices_of
from microloftr.training.step import pair_loss
from microloftr.training.validation import validate_level


class _Steps(IterableDataset):
    """Counts steps; the pairs themselves follow from the step's number (see `training_step`)."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class Training(lightning.LightningModule):
    """Trains one model on pairs made from an atlas; step k sees the seed's pairs k·batch … (k+1)·batch − 1, always."""

    def __init__(self, model: LoFTR, config: Config, atlas: Atlas, validation_atlas: Atlas) -> None:
        super().__init__()
        self.model, self.config = laid_out(model), config
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
        indices = indices_of(self.global_step, data.batch)
        batch = make_pairs(self._atlases[0], data.mixture, train.seed, indices, data.crop)
        generator = step_generator(train.seed, self.global_step, self.device)
        autocast = torch.bfloat16 if train.precision == "bf16" else None
        result = pair_loss(self.model, batch, train.loss, generator, autocast)
        for name, value in result.parts.items():
            self.log(name, value, prog_bar=name in ("coarse", "accuracy"), batch_size=data.batch)
        return result.loss

    def validation_step(self, level: str) -> None:
        """Losses of fixed made pairs of one level, from the validation micrographs, at the training crop."""
        means = validate_level(self.model, self._atlases[1], self.config, level)
        self.log_dict({f"{level}/{name}": value for name, value in means.items()}, batch_size=1)
        self.log("validation_loss", means["loss"], batch_size=1)

    def configure_optimizers(self) -> dict:
        """The shared optimizer, and its rate as Lightning wants it."""
        optimizer = make_optimizer(self.model, self.config.train)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, self.config.train))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A resumed run's optimizer carries the rate of its old schedule, which may have ended elsewhere."""
        set_rate(self.lr_schedulers().optimizer, self.global_step, self.config.train)
