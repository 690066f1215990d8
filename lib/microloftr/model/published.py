"""The published LoFTR weights in this house: fetched, checked, renamed, loaded strictly, with their quirks known.

The released checkpoints were trained with a slip in the position encoding and put pixel centres at ½ (their truth came
from a camera model): the configuration says both, so that the line and `Matcher` do what the weights expect.
"""

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
    """One published checkpoint."""

    addresses: tuple[str, ...]  # tried in this order
    config: ModelConfig
    least_bytes: int = 44_000_000  # no digest is published; 46.3 MB of tensors and their names
    most_bytes: int = 60_000_000


_RELEASED = replace(PRESETS["loftr"], released_position=True, pixel_centre=0.5)
_HOST = "https://cmp.felk.cvut.cz/~mishkdmy/models/"
RELEASES = {
    "loftr-outdoor": Release((f"{_HOST}loftr_outdoor.ckpt",), _RELEASED),
    "loftr-indoor": Release((f"{_HOST}loftr_indoor_ds_new.ckpt",), replace(_RELEASED, released_position=False)),
}


def load_release(name: str) -> LoFTR:
    """A published model by name, fetched into torch's cache the first time. Raises WeightsError."""
    release = RELEASES[name]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / release.addresses[0].rsplit("/", 1)[-1]
    if not path.is_file():
        _fetch(name, release, path)
    return load_published(path, release.config)


def load_published(path: str | Path, config: ModelConfig) -> LoFTR:
    """A model from a checkpoint of the published layout, ready to match. Raises WeightsError.

    Nothing of the file is executed; names, shapes and finiteness of all tensors are checked.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no checkpoint that can be read safely ({type(error).__name__})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no weights: a checkpoint of LoFTR has a state_dict of tensors")
    model = LoFTR(config)
    try:
        model.load_state_dict(rename(state))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path} is not the published LoFTR that {config.preset} describes: {reason}") from error
    if bad := [name for name, value in model.state_dict().items() if not torch.isfinite(value).all()]:
        raise WeightsError(f"{path} is damaged: {bad[0]} holds numbers that are not finite")
    return model.eval()


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published names, with or without the prefix `matcher.`, to ours; a name that is not known stays as it is."""
    return {_ours(name.removeprefix("matcher.")): value for name, value in state.items()}


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


def _fetch(name: str, release: Release, path: Path) -> None:
    """Download to `path`, beside and renamed, with size and progress on the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    print(f"Fetching {name}, about {release.least_bytes // 10**6 + 2} MB, into {path.parent}", file=sys.stderr)
    failure: Exception | None = None
    for address in release.addresses:
        try:
            torch.hub.download_url_to_file(address, str(part), progress=sys.stderr.isatty())
        except (URLError, OSError, RuntimeError) as error:
            failure = error
            continue
        size = part.stat().st_size
        if release.least_bytes <= size <= release.most_bytes:
            part.replace(path)
            return
        part.unlink()
        failure = WeightsError(f"{size} bytes came, where {release.least_bytes} or more belong")
    raise WeightsError(
        f"{name} cannot be fetched ({failure}); fetch {release.addresses[0]} by hand and save it as {path}"
    ) from failure
