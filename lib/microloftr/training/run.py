"""`python -m microloftr train [KEY=VALUE …]`: train a model, resume where it stopped, save its weights."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from microloftr.config import Config, load_config
from microloftr.config.plain import of_training
from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.device import choose_device
from microloftr.errors import ConfigError, WeightsError
from microloftr.files import write_text
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import recipe_of, save_weights
from microloftr.quiet import unwarned
from microloftr.training.callbacks import callbacks_for, stopped_early
from microloftr.training.checkpoints import BEST, LAST, AtomicCheckpointIO
from microloftr.training.export import export_run, import_run
from microloftr.training.module import Training
from microloftr.training.packed import load_tensors, sweep_halves
from microloftr.training.start import atlases_of, averaged_weights, recipe_for, starting_model
from microloftr.training.watch import Watch

# what a run may go on with that it did not begin with
FREE = ("steps", "decay", "out", "compile", "patience", "min_delta", "max_loss", "draw_every", "devices", "nodes")


def train(config: Config, progress: bool = True, overrides: Sequence[str] = ()) -> Path:
    """Train as configured and return the path of the weights: <out>/<run>/weights.safetensors.

    A run whose folder holds a checkpoint goes on from there; its configuration may then differ in FREE alone.
    `overrides` go into the weights' recipe. Raises MicroLoFTRError where the loss is none or too large (`Watch`), or
    a file cannot be written.
    """
    try:
        return _train(config, progress, overrides)
    except OSError as error:
        raise WeightsError(f"the run {config.train.run!r} cannot write: {error}; make room, and it goes on") from error


def _train(config: Config, progress: bool, overrides: Sequence[str]) -> Path:
    folder = Path(config.train.out) / config.train.run
    checkpoint, weights = folder / LAST, folder / "weights.safetensors"
    device = choose_device(config.train.device)
    recipe = recipe_for(config, overrides, str(device))
    if checkpoint.is_file():
        _same_but_free(folder / "config.yaml", config)
        if _finished(checkpoint, config, weights, recipe):
            return weights
    with quiet():
        trainer = trainer_for(config, folder, device, progress)
        lightning.seed_everything(config.train.seed, verbose=False)
        atlases = atlases_of(config, trainer.strategy.root_device)
        if trainer.is_global_zero:
            write_text(folder / "config.yaml", yaml.safe_dump(of_training(config), sort_keys=False))
            _keep_log(folder)
            sweep_halves(folder)
            if progress:
                print(told(config, atlases), file=sys.stderr)
        module = Training(starting_model(config), config, *atlases, Watch(config, str(folder)))
        trainer.fit(module, ckpt_path=str(checkpoint) if checkpoint.is_file() else None, weights_only=True)
    if trainer.is_global_zero:
        _save(module.model, weights, recipe, trainer.global_step, config)
    return weights


def trainer_for(config: Config, folder: Path, device: torch.device, progress: bool) -> lightning.Trainer:
    """Lightning's trainer: on one device, or on several processes and machines by its own DDP."""
    train, callbacks = config.train, callbacks_for(config, folder, progress)
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=train.devices,
        num_nodes=train.nodes,
        strategy="ddp" if train.devices * train.nodes > 1 else "auto",
        use_distributed_sampler=False,  # every process counts all steps, and validates all levels
        max_steps=train.steps,
        val_check_interval=train.validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=len(LEVELS),
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        logger=[
            CSVLogger(folder.parent, name=folder.name, version=""),
            TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False),
        ],
        plugins=[AtomicCheckpointIO()],
        callbacks=callbacks,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning says nothing but errors."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with unwarned():
        yield


def told(config: Config, atlases: tuple[Atlas, Atlas]) -> str:
    """What is about to happen, in one line."""
    data, train = config.data, config.train
    learnt, held_out = atlases
    names = ", ".join(held_out.names[:3]) + (" …" if len(held_out) > 3 else "")
    return (
        f"{train.run}: {train.steps} steps of {data.batch} pairs, from {train.init}; learns from {len(learnt)} "
        f"micrographs and holds out {len(held_out)} ({names})"
    )


def _save(model: LoFTR, path: Path, recipe: dict, steps: int, config: Config) -> Path:
    """The average at the last step or, with patience, the one that validated best."""
    recipe = {**recipe, "steps": steps, "pairs": steps * config.data.batch}
    if config.train.patience:
        state = load_tensors(path.parent / BEST)
        model.load_state_dict(averaged_weights(state))
        recipe["best_step"] = state["global_step"]
    return save_weights(model, path, recipe)


def _finished(checkpoint: Path, config: Config, weights: Path, recipe: dict) -> bool:
    """Whether the run has made all its steps, or spent its patience, already; its weights are then there."""
    state = AtomicCheckpointIO().load_checkpoint(checkpoint)
    steps = state["global_step"]
    if steps < config.train.steps and not stopped_early(state, config.train.patience):
        return False
    if not (weights.is_file() and recipe_of(weights).get("steps") == steps):
        model = LoFTR(config.model)
        model.load_state_dict(averaged_weights(state))
        _save(model, weights, recipe, steps, config)
    return True


def _same_but_free(path: Path, config: Config) -> None:
    """Raise ConfigError where a run would go on with another configuration than it began with."""
    began = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else of_training(config)
    for group, values in of_training(config).items():
        for key, value in values.items():
            before = began[group].get(key, value)  # a key that is new since then has its default
            if before != value and not (group == "train" and key in FREE):
                raise ConfigError(
                    f"the run {config.train.run!r} began with {group}.{key}={before} and cannot go on with {value}; "
                    f"give train.run another name, or delete its folder {path.parent}"
                )


def _keep_log(folder: Path) -> None:
    """The logger begins metrics.csv anew: put what an earlier part of the run wrote aside."""
    log = folder / "metrics.csv"
    if log.is_file():
        log.rename(folder / f"metrics.{len(list(folder.glob('metrics.*.csv'))):03d}.csv")


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m microloftr train", description="Train a model; KEY=VALUE overrides the configuration."
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--show", action="store_true", help="print the configuration and stop")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write what a machine with torch alone needs")
    parser.add_argument("--import", type=Path, metavar="FOLDER", dest="home", help="take such a run home")
    arguments = parser.parse_args(argv)
    if arguments.home:
        print(f"weights: {import_run(arguments.home)}")
        return 0
    config = load_config(arguments.overrides)
    if arguments.show:
        print(yaml.safe_dump(asdict(config), sort_keys=False), end="")
        return 0
    if arguments.export:
        recipe = recipe_for(config, arguments.overrides, "cpu")
        export_run(arguments.export, config, recipe, atlases_of(config, "cpu"), starting_model(config))
        print(f"next: python -m microloftr.training.core {arguments.export / 'config.json'}")
        return 0
    path = train(config, not arguments.quiet, arguments.overrides)
    rank_zero_only(print)(f"weights: {path}")
    return 0
