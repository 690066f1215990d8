"""`train --export FOLDER` and `train --import FOLDER`: a run leaves for a machine with torch alone, and comes back."""

import shutil
from pathlib import Path

import yaml

from microloftr.config import Config
from microloftr.config.plain import of_training
from microloftr.data.atlas import Atlas
from microloftr.errors import WeightsError
from microloftr.files import atomic_write, write_text
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import model_config
from microloftr.model.weights import save_weights
from microloftr.training.packed import load_tensors, read_config, write_job
from microloftr.training.start import averaged_weights


def export_run(folder: Path, config: Config, recipe: dict, atlases: tuple[Atlas, Atlas], model: LoFTR) -> None:
    """Write FOLDER for `python -m microloftr.training.core FOLDER/config.json`; refused where it holds another run."""
    if (folder / "checkpoint.pt").exists():
        raise WeightsError(f"{folder} holds a run that has begun; export into another folder")
    write_job(folder, config, recipe, atlases, model)


def import_run(folder: Path) -> Path:
    """Take a run home: weights, configuration and log go to <train.out>/<train.run>.

    Of an unfinished run, the average of the weights in its checkpoint. Raises WeightsError where there is neither.
    """
    config, recipe = read_config(folder / "config.json")
    home = Path(config.train.out) / config.train.run
    path = home / "weights.safetensors"
    if (folder / "weights.safetensors").is_file():
        with atomic_write(path) as temporary:
            shutil.copyfile(folder / "weights.safetensors", temporary)
    elif (folder / "weights.pt").is_file():
        values = load_tensors(folder / "weights.pt")
        model = LoFTR(model_config(values["config"]))
        model.load_state_dict(values["tensors"])
        save_weights(model, path, values["recipe"])
    elif (folder / "checkpoint.pt").is_file():
        state = load_tensors(folder / "checkpoint.pt")
        model = LoFTR(config.model)
        model.load_state_dict(averaged_weights(state))
        save_weights(model, path, {**recipe, "steps": state["step"], "pairs": state["step"] * config.data.batch})
    else:
        raise WeightsError(f"{folder} has no weights yet; run: python -m microloftr.training.core {folder}/config.json")
    write_text(home / "config.yaml", yaml.safe_dump(of_training(config), sort_keys=False))
    if (folder / "log.jsonl").is_file() and home.resolve() != folder.resolve():
        shutil.copyfile(folder / "log.jsonl", home / "log.jsonl")
    return path
