"""`python -m microloftr.training.core FOLDER/config.json`: train where torch and NumPy are all there is.

The folder is what `python -m microloftr train --export FOLDER` wrote. Into it go checkpoint.pt (written beside and
renamed: a killed run goes on from it by the same command), log.jsonl, and at the end the weights, as .safetensors
where that package is there and as .pt otherwise; `python -m microloftr train --import FOLDER` takes both home.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microloftr.config.plain import Config
from microloftr.data.atlas import Atlas
from microloftr.device import choose_device
from microloftr.errors import MicroLoFTRError
from microloftr.files import write_json
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import as_dict
from microloftr.training.feed import Feed
from microloftr.training.machine import machine, warn_of_threads
from microloftr.training.packed import load_tensors, read_config, read_job, save_tensors, sweep_halves
from microloftr.training.speed import describe, measure, show
from microloftr.training.stepper import Stepper
from microloftr.training.stopping import stopping_point
from microloftr.training.validation import validate
from microloftr.training.watch import Watch

LOG_EVERY = 10  # steps; reading the losses waits for the device
SAVE_SECONDS = 300


def run(
    config: Config, atlases: tuple[Atlas, Atlas], model: LoFTR, folder: Path, recipe: dict, device: torch.device
) -> Path | None:
    """Train to `train.steps`, or until `train.patience` is spent, from the folder's checkpoint or from `model`.

    Returns the path of the weights: the average, with patience the one that validated best. None where SIGTERM or
    Ctrl-C stopped it: the checkpoint is written, and the same call goes on. Raises MicroLoFTRError, see `Watch`.
    """
    train, checkpoint, watch = config.train, folder / "checkpoint.pt", Watch(config, str(folder))
    stepper = Stepper(model, config, device, watch)
    sweep_halves(folder)
    if checkpoint.is_file():
        state = load_tensors(checkpoint)
        warn_of_threads(state)
        stepper.load(state)
    stopped, before = _listen()
    feed, parts = Feed(atlases[0], config, stepper.step, stepper.step if _spent(stepper) else train.steps), []
    saved = logged = time.monotonic()
    batches = iter(feed)
    try:
        for batch in batches:
            result = stepper.forward(batch)
            stepper.backward(result)
            stepper.descend()
            parts.append(result.parts | {"gradient": stepper.norm.detach()})
            step, now = stepper.step, time.monotonic()
            if step % LOG_EVERY == 0 or step == train.steps:
                watch.check()
                row = _means(parts, step)
                row["pairs_per_s"] = round(len(parts) * config.data.batch / max(time.monotonic() - logged, 1e-9), 2)
                _log(folder, row)
                _progress(row, train.steps, config.data.batch)
                parts, logged = [], time.monotonic()
            validated = step % train.validate_every == 0 or step == train.steps
            if validated:
                _judge(stepper, folder, validate(stepper.average.module, atlases[1], config))
                logged = time.monotonic()
            if validated or stopped or now - saved > SAVE_SECONDS:
                watch.check()
                save_tensors(stepper.state(), checkpoint)
                saved = time.monotonic()
            if validated and _spent(stepper):
                break
            if stopped:
                print(f"\nstopped at step {step}; the same command goes on from there", file=sys.stderr, flush=True)
                return None
    finally:
        batches.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    made = {"steps": stepper.step, "pairs": stepper.step * config.data.batch}
    recipe = {**recipe, **made, "device": describe(device), **machine()}
    if train.patience:
        best = load_tensors(folder / "best.pt")
        stepper.average.load_state_dict(best["average"])
        recipe["best_step"] = best["step"]
    return save_final(stepper.average.module, folder, recipe)


def save_final(model: LoFTR, folder: Path, recipe: dict) -> Path:
    """The weights in half precision with configuration and recipe, as .safetensors or, without that package, as .pt."""
    try:
        from microloftr.model.weights import save_weights
    except ImportError:
        path = folder / "weights.pt"
        tensors = {k: v.detach().cpu().half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
        save_tensors({"config": as_dict(model.config), "recipe": recipe, "tensors": tensors}, path)
        return path
    return save_weights(model, folder / "weights.safetensors", recipe)


def _judge(stepper: Stepper, folder: Path, values: dict[str, float]) -> None:
    """Log a validation, and keep the average as best.pt where it is the best so far."""
    if stepper.watch is not None:
        stepper.watch.check()
    _log(folder, {"step": stepper.step, **values})
    loss, stepper.judged = values["validation_loss"], [*stepper.judged, values["validation_loss"]]
    if all(loss < other for other in stepper.judged[:-1]):
        save_tensors({"step": stepper.step, "average": stepper.average.state_dict()}, folder / "best.pt")


def _spent(stepper: Stepper) -> bool:
    """Whether the run's patience is at its end."""
    train, judged = stepper.config.train, stepper.judged
    return bool(train.patience and judged) and stopping_point(judged, train.patience, train.min_delta).index is not None


def _listen() -> tuple[list[int], dict[int, Any]]:
    """A list that SIGTERM and Ctrl-C put something into (a second one stops at once), and the handlers of before."""
    seen: list[int] = []

    def note(number: int, _: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    return seen, {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}


def _means(parts: list[dict[str, Tensor]], step: int) -> dict[str, float]:
    row = {name: float(torch.stack([part[name] for part in parts]).mean()) for name in parts[0]}
    return {"step": step, **{name: round(value, 5) for name, value in row.items()}}


def _log(folder: Path, row: dict[str, float]) -> None:
    with open(folder / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _progress(row: dict[str, float], steps: int, batch: int) -> None:
    left = (steps - row["step"]) * batch / row["pairs_per_s"]
    shown = " ".join(f"{name} {row[name]:.3f}" for name in ("loss", "coarse", "accuracy"))
    end = "\r" if sys.stderr.isatty() else "\n"
    text = f"step {row['step']}/{steps}  {shown}  {row['pairs_per_s']:.1f} pairs/s  {left / 60:.0f} min left "
    print(text, end=end, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr.training.core", description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="config.json of an exported folder")
    parser.add_argument("--profile", type=int, metavar="STEPS", help="measure the speed into speed.json, train nothing")
    arguments = parser.parse_args(argv)
    path = arguments.config
    try:
        config, recipe = read_config(path)
        device = choose_device(config.train.device)
        model, atlases = read_job(path.parent, config, device)
        if arguments.profile:
            values = {"device": describe(device), **measure(config, atlases, model, device, arguments.profile)}
            write_json(path.parent / "speed.json", values)
            print(show(values))
            return 0
        weights = run(config, atlases, model, path.parent, recipe, device)
    except (MicroLoFTRError, OSError) as error:  # the latter where the log cannot be written
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if weights is not None:
        print(f"weights: {weights}")
    return 0 if weights is not None else 130


if __name__ == "__main__":
    raise SystemExit(main())
