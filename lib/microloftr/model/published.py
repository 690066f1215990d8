"""The published LoFTR weights in this house: fetched, checked, renamed, loaded strictly, with their quirks known.

The outdoor weights (and the first indoor ones, which are not offered) were trained with a slip in the position
encoding; all of them put pixel centres at ½, as the camera model of their truth did. The configuration says both, so
that the line and `Matcher` do what the weights expect.
"""

import hashlib
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Tensor

from microloftr.errors import WeightsError
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import PRESETS, ModelConfig

LAYER = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "norm1": "norm_message", "norm2": "norm_update"}
BLOCK = {"conv1": "conv_1", "bn1": "norm_1", "conv2": "conv_2", "bn2": "norm_2", "downsample": "shortcut"}
RENAMES = (  # published name → ours; what comes after is kept
    (r"backbone\.conv1\.", r"backbone.stem.0."),
    (r"backbone\.bn1\.", r"backbone.stem.1."),
    (r"backbone\.layer1\.", r"backbone.down_half."),
    (r"backbone\.layer2\.", r"backbone.down_quarter."),
    (r"backbone\.layer3\.", r"backbone.down_eighth."),
    (r"backbone\.layer3_outconv\.", r"backbone.coarse."),
    (r"backbone\.layer2_outconv\.", r"backbone.lateral_quarter."),
    (r"backbone\.layer2_outconv2\.", r"backbone.mix_quarter."),
    (r"backbone\.layer1_outconv\.", r"backbone.lateral_half."),
    (r"backbone\.layer1_outconv2\.", r"backbone.mix_half."),
    (r"loftr_coarse\.", r"transformer."),
    (r"loftr_fine\.", r"refinement.transformer."),
    (r"fine_preprocess\.down_proj\.", r"refinement.context."),
    (r"fine_preprocess\.merge_feat\.", r"refinement.merge."),
)


@dataclass(frozen=True)
class Release:
    """One published checkpoint. Upstream gives no digest; this one is on record in several public projects."""

    file: str
    sha256: str
    config: ModelConfig


HOSTS = ("https://huggingface.co/kornia/loftr/resolve/main/", "https://cmp.felk.cvut.cz/~mishkdmy/models/")  # in order
SIZE = "46 MB"
_OUTDOOR = replace(PRESETS["loftr"], released_position=True, pixel_centre=0.5)
RELEASES = {
    "loftr-outdoor": Release(
        "loftr_outdoor.ckpt", "21f5bec5968178e8bc8b7633441836fe5de4f47d861dd2cd7dc38e271b0479ec", _OUTDOOR
    ),
    "loftr-indoor": Release(
        "loftr_indoor_ds_new.ckpt",
        "be9ff88b323ec27889114719f668ae41aff7034b56a4c4acbd46b8b180b87ed3",
        replace(_OUTDOOR, released_position=False),
    ),
}


def load_release(name: str) -> LoFTR:
    """A published model by name, fetched into torch's cache the first time. Raises WeightsError."""
    release = RELEASES[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / release.file
    if not path.is_file():
        _fetch(name, release, path)
    if _digest(path) != release.sha256:
        raise WeightsError(f"{path} is not {name}: its SHA-256 is another one; delete it, and it is fetched again")
    return load_published(path, release.config)


def load_file(path: str | Path) -> LoFTR:
    """One of the published checkpoints from a file of any name; its digest says which, and so which quirks it needs.

    Raises WeightsError for any other file: what cannot be seen in the tensors cannot be guessed.
    """
    if not Path(path).is_file():
        raise WeightsError(f"there is no checkpoint {path}")
    digest = _digest(Path(path))
    for release in RELEASES.values():
        if release.sha256 == digest:
            return load_published(path, release.config)
    raise WeightsError(
        f"{path} is none of the published checkpoints {', '.join(RELEASES)}; for one of your own, say which "
        f"configuration it needs: microloftr.model.published.load_published(path, config)"
    )


def load_published(path: str | Path, config: ModelConfig) -> LoFTR:
    """A model from a checkpoint of the published layout, ready to match. Raises WeightsError.

    Nothing of the file is executed; names, shapes and finiteness of all tensors are checked.
    """
    if not Path(path).is_file():
        raise WeightsError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(
            f"{path} is damaged or holds more than tensors; if you trust it, save its state_dict alone"
        ) from error
    except Exception as error:  # damaged files make torch raise nearly anything
        raise WeightsError(f"{path} is no checkpoint that can be read ({type(error).__name__})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not state or not all(_is_weight(*item) for item in state.items()):
        raise WeightsError(f"{path} holds no weights: a checkpoint of LoFTR has a state_dict of tensors")
    model, state = LoFTR(config), rename(state)
    known = model.state_dict()
    if odd := sorted(known.keys() ^ state.keys()):
        there = "has a tensor too many" if odd[0] in state else "lacks a tensor"
        raise WeightsError(f"{path} is not the LoFTR that {config.preset} describes: it {there}, {odd[0]}")
    for name, value in state.items():
        if value.shape != known[name].shape:
            shapes = f"{tuple(value.shape)} where {tuple(known[name].shape)} belongs"
            raise WeightsError(f"{path} is not the LoFTR that {config.preset} describes: {name} is {shapes}")
        if not torch.isfinite(value).all():
            raise WeightsError(f"{path} is damaged: {name} holds numbers that are not finite")
    model.load_state_dict(state)
    return model.eval()


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published names, with or without a prefix of training, to ours; a name that is not known stays as it is."""
    return {_ours(name.removeprefix("module.").removeprefix("matcher.")): value for name, value in state.items()}


def _ours(name: str) -> str:
    for published, ours in RENAMES:
        name, found = re.subn(rf"^{published}", ours, name)
        if found:
            break
    if ".layers." in name:
        return re.sub(r"(?<=\.)(q_proj|k_proj|v_proj|norm1|norm2)(?=\.)", lambda m: LAYER[m[0]], name)
    if ".down_" in name:
        return re.sub(r"(?<=\.)(conv1|bn1|conv2|bn2|downsample)(?=\.)", lambda m: BLOCK[m[0]], name)
    return name


def _is_weight(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(name: str, release: Release, path: Path) -> None:
    """Download to `path`; torch writes beside, compares the digest and renames. Size and progress on the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"Fetching {name}, {SIZE}, into {path.parent}", file=sys.stderr)
    failures = []
    for host in HOSTS:
        try:
            torch.hub.download_url_to_file(host + release.file, str(path), release.sha256, progress=True)
            return
        except (URLError, OSError, RuntimeError) as error:
            failures.append(str(error).split(chr(10))[0])
    raise WeightsError(
        f"{name} cannot be fetched ({'; '.join(dict.fromkeys(failures))}); fetch {HOSTS[0]}{release.file} by hand and "
        f"save it as {path}"
    )
