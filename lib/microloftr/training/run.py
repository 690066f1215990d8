"""`python -m microloftr train [KEY=VALUE …]`: train a model, resume where it stopped, save its weights."""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import lightning
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from microloftr.config import Config, load_config
from microloftr.data.atlas import Atlas
from microloftr.data.levels import LEVELS
from microloftr.device import choose_device
from microloftr.errors import ConfigError
from microloftr.files import write_text
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import recipe_of, save_weights
from microloftr.training.checkpoints import AtomicCheckpointIO
from microloftr.training.export import export_run, import_run
from microloftr.training.module import Training
from microloftr.training.start import atlases_of, recipe_for, starting_model


def train(config: Config, progress: bool = True, overrides: Sequence[str] = ()) -> Path:
    """Train as configured and return the path of the weights: <out>/<run>/weights.safetensors.

    A run whose folder holds a checkpoint goes on from there; its configuration may then differ in train.steps and
    train.decay alone. `overrides` go into the weights' recipe.
    """
    folder = Path(config.train.out) / config.train.run
    checkpoint = folder / "last.ckpt"
    device = choose_device(config.train.device)
    recipe = recipe_for(config, overrides, str(device))
    if checkpoint.is_file():
        _same_but_steps(folder / "config.yaml", config)
        finished = _finished(checkpoint, config, folder / "weights.safetensors", recipe)
        if finished is not None:
            return finished
    write_text(folder / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False))
    _keep_log(folder)

    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    lightning.seed_everything(config.train.seed, verbose=False)
    atlases = atlases_of(config, device)
    if progress:
        print(told(config, atlases), file=sys.stderr)
    module = Training(starting_model(config), config, *atlases)
    saved = ModelCheckpoint(
        folder,
        filename="step{step}",
        auto_insert_metric_name=False,
        save_last=True,
        save_top_k=1,
        monitor="validation_loss",
        enable_version_counter=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_steps=config.train.steps,
            val_check_interval=config.train.validate_every,
            check_val_every_n_epoch=None,
            limit_val_batches=len(LEVELS),
            num_sanity_val_steps=0,
            gradient_clip_val=config.train.clip,
            log_every_n_steps=10,
            logger=CSVLogger(folder.parent, name=folder.name, version=""),
            callbacks=[EMAWeightAveraging(decay=config.train.average), saved, LearningRateMonitor()],
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
        trainer.fit(module, ckpt_path=str(checkpoint) if checkpoint.is_file() else None, weights_only=True)
    return _save(module.model, folder / "weights.safetensors", recipe, trainer.global_step, config)


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
    return save_weights(model, path, {**recipe, "steps": steps, "pairs": steps * config.data.batch})


def _finished(checkpoint: Path, config: Config, weights: Path, recipe: dict) -> Path | None:
    """The weights of a run that has made all its steps already; None where there is something left to train."""
    state = AtomicCheckpointIO().load_checkpoint(checkpoint)
    if state["global_step"] < config.train.steps:
        return None
    if weights.is_file() and recipe_of(weights).get("steps") == state["global_step"]:
        return weights
    model = LoFTR(config.model)  # a checkpoint's state_dict is the average, see EMAWeightAveraging
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in state["state_dict"].items() if k.startswith("model.")}
    )
    return _save(model, weights, recipe, state["global_step"], config)


def _same_but_steps(path: Path, config: Config) -> None:
    """Raise ConfigError where a run would go on with another configuration than it began with."""
    began = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else asdict(config)
    free = {("train", key) for key in ("steps", "decay", "out", "compile")}
    for group, values in asdict(config).items():
        for key, value in values.items():
            before = began[group].get(key, value)  # a key that is new since then has its default
            if before != value and (group, key) not in free:
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
    print(f"weights: {train(config, not arguments.quiet, arguments.overrides)}")
    return 0
