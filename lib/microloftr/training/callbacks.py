"""What Lightning does beside the steps: stopping, checkpoints, average, progress bar, pictures of the predictions."""

import sys
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from microloftr.config.plain import Config
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.training.checkpoints import BEST, LAST
from microloftr.training.diagnostics.dynamics import observe, packed, unpacked
from microloftr.training.validation import VALIDATION_SEED
from microloftr.views.dynamics_figures import frame, save_animation, save_strip

DRAWN_LEVEL, DRAWN_PAIRS = "medium", 2
METRIC = "validation_loss"


def callbacks_for(config: Config, folder: Path, progress: bool) -> list[Callback]:
    """All that a run has, in Lightning's order: what judges comes before what saves."""
    train = config.train
    average = WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(train.average))  # rounds as the core's, see `averaged`
    drawing = [Drawing(folder / "dynamics", train.draw_every)] if train.draw_every else []
    found: list[Callback] = [*drawing, average, LearningRateMonitor()]  # the average replaces the weights at the end
    if progress and shown():
        found.append(Bar())
    if train.patience:
        found.append(EarlyStopping(METRIC, train.min_delta, train.patience, mode="min", verbose=False))
    saved = ModelCheckpoint(
        folder,
        filename=Path(BEST).stem,
        auto_insert_metric_name=False,
        save_last=True,
        save_top_k=1,
        monitor=METRIC,
        enable_version_counter=False,
    )
    saved.CHECKPOINT_NAME_LAST = Path(LAST).stem
    return [*found, saved]


def stopped_early(state: dict[str, Any], patience: int) -> bool:
    """Whether a checkpoint is that of a run whose patience was at its end."""
    waited = [v["wait_count"] for k, v in state.get("callbacks", {}).items() if k.startswith("EarlyStopping")]
    return bool(patience) and any(count >= patience for count in waited)


def shown() -> bool:
    """Whether somebody looks: in a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Bar(TQDMProgressBar):
    """Steps of the run on stderr, where it does not mix with what a command answers; a widget in notebooks."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=5)

    @property
    def total_train_batches(self) -> int:
        """The run's steps: the counter that feeds them has no end."""
        return self.trainer.max_steps

    def init_train_tqdm(self) -> Tqdm:
        """One line for the whole run."""
        return Tqdm(desc="training", disable=self.is_disabled, leave=True, dynamic_ncols=True, file=sys.stderr)

    def init_validation_tqdm(self) -> Tqdm:
        """None: a validation is seconds."""
        return Tqdm(disable=True)

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """There are no epochs; a resumed run's bar begins where it stood."""
        bar = self.train_progress_bar
        bar.total, bar.initial, bar.n = self.total_train_batches, trainer.global_step, trainer.global_step

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        """Without Lightning's version number."""
        return {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}


class Drawing(Callback):
    """Draws what the weights predict for fixed pairs every so many steps: a picture each, at the end all of them.

    Into `folder`: step000200.png …, strip.png and animation.webp. Training is the same with and without it.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self._pairs: PairBatch | None = None
        self._seen: list[dict[str, Any]] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The pairs, held out ones, and what is said of them at the start."""
        crop = pl_module.config.data.crop
        self._pairs = make_pairs(pl_module.held_out, DRAWN_LEVEL, VALIDATION_SEED, np.arange(DRAWN_PAIRS), crop)
        self._look(trainer, pl_module)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
        """Every `every` steps."""
        if trainer.global_step % self.every == 0:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last step, and strip and animation of the whole run, also of what was seen before it was resumed."""
        self._look(trainer, pl_module)
        if trainer.is_global_zero:
            frames = [self._frame(values) for values in self._seen]
            save_strip(frames, self.folder / "strip.png")
            save_animation(frames, self.folder / "animation.webp")

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, in a checkpoint."""
        return {"seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from it."""
        self._seen = list(state_dict["seen"])

    def _look(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero or any(values["step"] == trainer.global_step for values in self._seen):
            return
        self._seen = [*self._seen, packed(observe(pl_module.model, self._pairs, trainer.global_step))]
        save_strip([self._frame(self._seen[-1])], self.folder / f"step{trainer.global_step:06d}.png")

    def _frame(self, values: dict[str, Any]) -> Any:
        pictures = self._pairs.images_0.cpu(), self._pairs.images_1.cpu()
        return frame(unpacked(values, self._pairs), *pictures, pairs=DRAWN_PAIRS)
