"""What a run starts from: micrographs as atlases, a model, and the recipe that travels with its weights."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microloftr.config.plain import Config
from microloftr.data.atlas import Atlas, build_atlas
from microloftr.data.wider import wider_micrographs
from microloftr.errors import WeightsError
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import initial_model, recipe_of, shipped
from microloftr.results import commit
from microloftr.training.machine import machine
from microloftr.training.own import own_micrographs
from microloftr.training.packed import load_tensors

CHECKPOINTS = (".ckpt", ".pt")


def atlases_of(config: Config, device: torch.device | str) -> tuple[Atlas, Atlas]:
    """The micrographs that are learnt from, with the wider ones, and those held out; on the device.

    Raises ConfigError where a folder has too few micrographs, or too small ones.
    """
    learnt, held_out = own_micrographs(config)
    learnt += wider_micrographs(config.data.wider, config.train.seed)
    return build_atlas(learnt, device), build_atlas(held_out, device)


def starting_model(config: Config) -> LoFTR:
    """As `initial_model`, or with the averaged weights of a checkpoint (last.ckpt, checkpoint.pt) of another run.

    What starts at random follows from `train.seed`.
    """
    init = config.train.init
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        if not init.endswith(CHECKPOINTS):
            return initial_model(config.model, init)
        model = LoFTR(config.model)
    try:
        model.load_state_dict(averaged_weights(load_tensors(Path(init))))
    except RuntimeError as error:
        raise WeightsError(f"{init} belongs to another model than {config.model.preset}") from error
    return model


def averaged_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint of Lightning (its state_dict is the average) or of the core."""
    prefix = "model." if "state_dict" in state else "module."
    tensors = state.get("state_dict", state.get("average", {}))
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def recipe_for(config: Config, overrides: Sequence[str], device: str) -> dict[str, Any]:
    """How the weights will have been made: command, seed, start and what that descends from, commit of the code, and
    the torch, threads and processor that round its sums."""
    init = config.train.init
    recipe: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "microloftr", "train", *overrides]),
        "seed": config.train.seed,
        "init": init if init in ("none", "xfeat") else Path(init).stem,
        "commit": commit(),  # of the code that trains, not of what is there when it is done
        "device": device,
        **machine(),
    }
    if init.endswith(CHECKPOINTS):
        state = load_tensors(Path(init))
        steps = state.get("step", state.get("global_step"))
        recipe["descent"] = {"checkpoint": Path(init).name, "run": Path(init).parent.name, "steps": steps}
    elif init not in ("none", "xfeat"):
        recipe["descent"] = recipe_of(init if init.endswith(".safetensors") else shipped(init))
    return recipe
