"""The thin LightningModule around what it shares with the core: pairs by step, loss, optimizer, rate, validation."""

import itertools
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from microloftr.config.plain import Config
from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.model.loftr import LoFTR
from microloftr.training.descent import clip, laid_out, make_optimizer, rate, set_rate, step_generator
from microloftr.training.feed import batch_of
from microloftr.training.machine import warn_of_threads
from microloftr.training.step import pair_loss
from microloftr.training.validation import mean_loss, validate_level
from microloftr.training.watch import Watch


class _Steps(IterableDataset):
    """Counts steps; the pairs themselves follow from the step's number (see `training_step`)."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class Training(lightning.LightningModule):
    """Trains one model on pairs made from an atlas; step k sees the seed's pairs k·batch … (k+1)·batch − 1, always.

    Of several processes each makes all pairs of a step and learns from its share of them, an equal run of rows.
    """

    def __init__(
        self, model: LoFTR, config: Config, atlas: Atlas, validation_atlas: Atlas, watch: Watch | None = None
    ) -> None:
        super().__init__()
        self.model, self.config = laid_out(model), config
        self._atlases = (atlas, validation_atlas)  # in a tuple, for they are no modules and no state
        self._watch, self._judged = watch or Watch(config, "RUN"), {}

    @property
    def held_out(self) -> Atlas:
        """The micrographs that are validated on."""
        return self._atlases[1]

    def train_dataloader(self) -> DataLoader:
        """An endless counter; `train.steps` ends the run."""
        return DataLoader(_Steps(), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """One entry per level."""
        return DataLoader(list(LEVELS), batch_size=None)

    def training_step(self, _: int) -> Tensor:
        """Loss of the step's pairs, or of this process's share of them."""
        data, train, step, processes = self.config.data, self.config.train, self.global_step, self.trainer.world_size
        batch = batch_of(self.config, self._atlases[0], step)
        generator = step_generator(train.seed, step, self.device)
        autocast = torch.bfloat16 if train.precision == "bf16" else None
        rows, rank = data.batch // processes, self.trainer.global_rank
        share = slice(rank * rows, (rank + 1) * rows) if processes > 1 else slice(None)
        result = pair_loss(self.model, batch, train.loss, generator, autocast, share)
        self._watch.see(step, "loss", self.all_gather(result.loss.detach()).mean() if processes > 1 else result.loss)
        for name, value in result.parts.items():
            shown = name in ("coarse", "accuracy")
            self.log(name, value, prog_bar=shown, batch_size=data.batch, sync_dist=processes > 1)
        return result.loss

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """The shared clip, whose norm is watched and logged."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = clip(parameters, self.config.train.clip)
        self._watch.see(self.global_step, "gradient", norm)
        self.log("gradient", norm, batch_size=self.config.data.batch)

    def on_validation_start(self) -> None:
        """Checkpoints follow a validation: broken weights must not become one."""
        self._watch.check()
        self._judged = {}

    def validation_step(self, level: str) -> None:
        """Losses of fixed made pairs of one level, from the validation micrographs, at the training crop."""
        means = validate_level(self.model, self._atlases[1], self.config, level)
        self.log_dict({f"{level}/{name}": value for name, value in means.items()}, batch_size=1)
        self._judged[level] = float(means["loss"])

    def on_validation_epoch_end(self) -> None:
        """What stopping and the best checkpoint go by."""
        self.log("validation_loss", mean_loss([self._judged[level] for level in self.config.train.judged]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """How many threads the run has, for who goes on with it."""
        checkpoint["threads"] = torch.get_num_threads()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """One line where they were others."""
        warn_of_threads(checkpoint)

    def on_train_end(self) -> None:
        """The last steps of a GPU's run may not have been looked at."""
        self._watch.check()

    def configure_optimizers(self) -> dict:
        """The shared optimizer, and its rate as Lightning wants it."""
        optimizer = make_optimizer(self.model, self.config.train)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, self.config.train))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A resumed run's optimizer carries the rate of its old schedule, which may have ended elsewhere."""
        set_rate(self.lr_schedulers().optimizer, self.global_step, self.config.train)
