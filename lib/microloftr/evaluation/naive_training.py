"""The naive LoFTR's training: every part at once by the naive recipe, from its last checkpoint where it was stopped."""

from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from microloftr.config.plain import Config, DataConfig, TrainConfig
from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch
from microloftr.evaluation.cell_choices import LEAST_TRUE
from microloftr.evaluation.naive import NAIVE, Recipe, fine_part, published_coarse_loss, truth_of
from microloftr.model.coarse_matching import select
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import load_model, save_weights
from microloftr.training.descent import step_generator
from microloftr.training.feed import Feed
from microloftr.training.packed import load_tensors, save_tensors
from microloftr.training.start import starting_model
from microloftr.training.step import StepResult, cell_accuracy
from microloftr.training.stepper import Stepper
from microloftr.views.refinement_study import published_cells, true_offset

SAVE_EVERY = 50  # steps
MIXTURE = "medium"  # pairs related by homographies, of which the second looks a little different


def naive_config(steps: int, seed: int, init: str) -> Config:
    """What is trained: `NAIVE` on pairs of 128×128, with the rates, the clip and the precision of micro's training."""
    train = TrainConfig(
        run=f"naive-{init}-{seed}",
        init=init,
        seed=seed,
        steps=steps,
        decay=max(steps // 3, 1),
        warmup=max(steps // 10, 1),
        average=0.95,
        device="cpu",
    )
    return Config(model=NAIVE, data=DataConfig(mixture=MIXTURE, crop=128, batch=16), train=train)


class NaiveStepper(Stepper):
    """A step by the naive recipe: one loss through all parts, cells chosen by what the model finds at that moment."""

    def forward(self, batch: PairBatch) -> StepResult:
        """Loss of the step's pairs."""
        train, truth = self.config.train, truth_of(batch, Recipe())
        with torch.autocast("cpu", torch.bfloat16, enabled=train.precision == "bf16"):
            encoded = self.model.encode(*self.model.pyramids(batch.images_0, batch.images_1))
        scores = self.model.match_cells(encoded)
        coarse = published_coarse_loss(scores.log_confidence, truth.cells_1)
        shape = tuple(encoded.coarse_1.shape[-2:])
        with torch.no_grad():
            found = select(scores.log_confidence, shape, shape, NAIVE.threshold)
            generator = step_generator(train.seed, self.step, self.device)
            total = train.loss.refined_per_pair * len(batch)
            cells, _ = published_cells(found, truth.cells_1, total, min(LEAST_TRUE, total // 2), generator)
        refined, target = self.model.refine(encoded, cells), true_offset(cells, truth.points_1, shape[1])
        fine = fine_part(Recipe(), refined, target, cells, len(batch), train.loss)
        parts = {"loss": coarse + fine, "coarse": coarse, "fine": fine}
        parts["accuracy"] = cell_accuracy(scores.log_confidence, truth)
        return StepResult(coarse + fine, {name: value.detach() for name, value in parts.items()})


def train_naive(atlas: Atlas, folder: Path, steps: int, seed: int = 0, init: str = "xfeat") -> LoFTR:
    """The naive LoFTR after `steps` of 16 pairs, kept in `folder`; begins at XFeat's backbone, or at random (none)."""
    config = naive_config(steps, seed, init)
    folder = folder / f"{config.train.run}-{steps}"
    weights, checkpoint = folder / "weights.safetensors", folder / "checkpoint.pt"
    if weights.is_file():
        return load_model(weights)
    folder.mkdir(parents=True, exist_ok=True)
    start = starting_model(replace(config, train=replace(config.train, init=init)))
    stepper = NaiveStepper(start, config, torch.device("cpu"))
    if checkpoint.is_file():
        stepper.load(load_tensors(checkpoint))
    bar = tqdm(total=steps, initial=stepper.step, desc=folder.name, mininterval=10)
    for batch in Feed(atlas, config, stepper.step, steps):
        result = stepper.forward(batch)
        stepper.backward(result)
        stepper.descend()
        bar.update()
        bar.set_postfix({name: f"{float(value):.3f}" for name, value in result.parts.items()}, refresh=False)
        if stepper.step % SAVE_EVERY == 0:
            save_tensors(stepper.state(), checkpoint)
    bar.close()
    recipe = {"seed": seed, "init": init, "steps": steps, "pairs": steps * config.data.batch}
    save_weights(stepper.average.module, weights, recipe)
    return load_model(weights)
