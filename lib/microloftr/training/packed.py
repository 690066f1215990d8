"""A run that travels: configuration as JSON, micrographs and first weights as tensors; torch alone reads it.

FOLDER/config.json    {"format", "config", "recipe"}: every key resolved, and how the run came about
FOLDER/train.pt, validation.pt    the packed atlases
FOLDER/init.pt    the weights that training starts from
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microloftr.config.plain import Config, config_of, of_training
from microloftr.data.atlas import Atlas
from microloftr.errors import ConfigError, WeightsError
from microloftr.files import atomic_write, write_json
from microloftr.model.loftr import LoFTR

FORMAT = 1
SPLITS = ("train", "validation")


def write_job(folder: Path, config: Config, recipe: dict, atlases: tuple[Atlas, Atlas], model: LoFTR) -> None:
    """Write FOLDER; config.json comes last, so that a half-written folder is no run."""
    for split, atlas in zip(SPLITS, atlases, strict=True):
        save_tensors(pack_atlas(atlas), folder / f"{split}.pt")
    save_tensors({name: value.detach().cpu() for name, value in model.state_dict().items()}, folder / "init.pt")
    write_json(folder / "config.json", {"format": FORMAT, "config": of_training(config), "recipe": recipe})


def read_config(path: Path) -> tuple[Config, dict[str, Any]]:
    """Configuration and recipe of a config.json. Raises ConfigError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no configuration of a run: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ConfigError(f"{path} was not written by: python -m microloftr train --export FOLDER (format {FORMAT})")
    return config_of(values["config"]), values.get("recipe", {})


def read_job(folder: Path, config: Config, device: torch.device) -> tuple[LoFTR, tuple[Atlas, Atlas]]:
    """The starting model, on the CPU, and both atlases on the device."""
    model = LoFTR(config.model)
    model.load_state_dict(load_tensors(folder / "init.pt"))
    return model, tuple(unpack_atlas(load_tensors(folder / f"{split}.pt"), device) for split in SPLITS)


def pack_atlas(atlas: Atlas) -> dict[str, Any]:
    """An atlas as tensors and lists."""
    return {field.name: _tensors(getattr(atlas, field.name)) for field in fields(Atlas)}


def unpack_atlas(values: dict[str, Any], device: torch.device | str) -> Atlas:
    """The packed atlas again, its pixels on the device."""
    return Atlas(values=values.pop("values").to(device), **{k: _arrays(v) for k, v in values.items()})


def save_tensors(values: dict[str, Any], path: Path) -> None:
    """Tensors and plain values, written beside and renamed.

    Raises WeightsError where that fails, as on a full disk; the file of before is then as it was.
    """
    try:
        with atomic_write(path) as temporary:
            torch.save(values, temporary)
    except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
        reason = str(error).splitlines()[0].strip()
        raise WeightsError(
            f"{path} cannot be written ({reason}); what was there before is whole: make room, and the same command "
            f"goes on from it"
        ) from error


def sweep_halves(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left behind: .NAME.xxxx beside the checkpoints."""
    for pattern in (".*.ckpt", ".*.pt", ".*.safetensors"):
        for half in folder.glob(pattern):
            half.unlink(missing_ok=True)


def load_tensors(path: Path) -> dict[str, Any]:
    """What `save_tensors` wrote, on the CPU; nothing but tensors and plain values is unpickled. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} cannot be read ({error.__class__.__name__})") from error


def _tensors(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_tensors(part) for part in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    return value.cpu() if isinstance(value, Tensor) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_arrays(part) for part in value)
    return value.numpy() if isinstance(value, Tensor) else value
