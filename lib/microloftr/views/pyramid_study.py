"""A backbone's maps, measured: what a place of each sees, and where along the image the way up reads.

Notebook 02 shows it; `backbone_figures` and `pyramid_figure` draw it. Maps are caught by hooks as the network makes
them: nothing here writes a forward pass.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import torch
from torch import Tensor, nn

from microloftr.errors import ParameterError
from microloftr.images import read_image
from microloftr.model.loftr import LoFTR

OUTPUT = "output."  # before a name: the field of the Pyramid, and not the part of that name


@dataclass(frozen=True)
class Level:
    """A map of a backbone: where it is caught (a part, or "output." and a field of Pyramid), and its stride in px."""

    name: str
    source: str
    stride: int


@dataclass(frozen=True)
class Layout:
    """What to catch in one kind of backbone: the part that the image (or its contrast) enters first, and the maps."""

    entry: str
    down: tuple[Level, ...]  # from fine to deep
    up: tuple[Level, ...]  # from deep to fine


LAYOUTS = {
    "micro": Layout(
        "full",
        (
            Level("1/2", "output.half", 2),
            Level("1/4", "output.quarter", 4),
            Level("1/8", "eighth", 8),
            Level("1/16", "sixteenth", 16),
            Level("1/32", "thirtysecond", 32),
        ),
        (Level("1/8 fused", "output.eighth", 8),),
    ),
    "resnet_fpn": Layout(
        "stem",
        (Level("1/2", "down_half", 2), Level("1/4", "down_quarter", 4), Level("1/8", "down_eighth", 8)),
        (
            Level("1/8 coarse", "output.eighth", 8),
            Level("1/4 up", "output.quarter", 4),
            Level("1/2 fine", "output.half", 2),
        ),
    ),
}


def bundled_crop(name: str, row: int, column: int, height: int, width: int) -> Tensor:
    """height×width pixels of a bundled micrograph around one, both sides odd: (1, 1, height, width) in 0..1.

    Raises ParameterError for an unknown micrograph and for a crop that reaches beyond it.
    """
    source = files("microloftr") / "micrographs" / f"{name}.jp2"
    if not source.is_file():
        raise ParameterError(f"there is no bundled micrograph {name!r}; the manifest beside them lists all")
    with as_file(source) as path:
        pixels = read_image(path).pixels
    top, left = row - height // 2, column - width // 2
    if top < 0 or left < 0 or top + height > pixels.shape[0] or left + width > pixels.shape[1]:
        raise ParameterError(
            f"{height} × {width} px around row {row}, column {column} reach beyond {name}'s {pixels.shape}"
        )
    return torch.from_numpy(pixels[top : top + height, left : left + width].copy())[None, None]


def layout_of(model: LoFTR) -> Layout:
    """The layout of a model's backbone. Raises ParameterError for one without a pyramid."""
    if model.config.backbone not in LAYOUTS:
        raise ParameterError(f"the backbone {model.config.backbone!r} has no pyramid; {', '.join(LAYOUTS)} have one")
    return LAYOUTS[model.config.backbone]


def maps_of(backbone: nn.Module, images: Tensor, levels: Iterable[Level], entry: str) -> dict[str, Tensor]:
    """Images (B, 1, H, W) → name → map (B, C, H/s, W/s) of each level, and "input": what the convolutions are given."""
    found: dict[str, Tensor] = {}

    def entering(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        found["input"] = given[0]

    handles = [backbone.get_submodule(entry).register_forward_pre_hook(entering)]
    caught = [level for level in levels if not level.source.startswith(OUTPUT)]
    for level in caught:
        keep = lambda _, __, made, name=level.name: found.__setitem__(name, made)  # noqa: E731
        handles.append(backbone.get_submodule(level.source).register_forward_hook(keep))
    try:
        pyramid = backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    for level in levels:
        if level not in caught:
            found[level.name] = getattr(pyramid, level.source.removeprefix(OUTPUT))
    return found


@dataclass(frozen=True, eq=False)
class Field:
    """What one place sees: mean |gradient| (H, W) on the pixels, its extent and the square that holds 90 % of it."""

    heat: np.ndarray
    extent: int  # px, side of the smallest square around the place with every gradient that is not 0
    effective: int  # px, side of the square around the place with nine tenths of the sum

    @classmethod
    def of(cls, heat: np.ndarray) -> "Field":
        """From the mean |gradient| (H, W) of the place in the middle; both sides are odd."""
        rows, columns = (np.abs(np.arange(side) - side // 2) for side in heat.shape)
        rings = np.bincount(np.maximum(rows[:, None], columns[None]).ravel(), heat.ravel())
        share = np.cumsum(rings) / rings.sum()
        return cls(heat, 2 * int(np.flatnonzero(rings).max()) + 1, 2 * int(np.argmax(share >= 0.9)) + 1)


def receptive_fields(
    model: LoFTR, images: Tensor, probes: int = 4, names: Sequence[str] = (), seed: int = 0
) -> dict[str, Field]:
    """The place in the middle of every map (of `names`), back to the pixels: images (B, 1, H, W) → level → Field.

    Each probe weighs the channels by random signs and goes backwards once. The gradients end where the convolutions
    begin: in `micro` what `contrast` looks at (33×33 px, the whole image) comes on top. Sides must be 64·n + 1, so
    that the middle is a place of every map.
    """
    if any(side % 64 != 1 for side in images.shape[-2:]):
        raise ParameterError(f"the sides must be 64·n + 1 px, not {images.shape[-2]} and {images.shape[-1]}")
    layout, generator = layout_of(model), torch.Generator().manual_seed(seed)
    levels = [level for level in (*layout.down, *layout.up) if not names or level.name in names]
    maps = maps_of(model.eval().backbone, images.clone().requires_grad_(), levels, layout.entry)
    result = {}
    for level in levels:
        features, heat = maps[level.name], 0
        place = features[..., features.shape[-2] // 2, features.shape[-1] // 2]  # (B, C)
        for _ in range(probes):
            signs = torch.randint(0, 2, place.shape, generator=generator) * 2.0 - 1
            (gradient,) = torch.autograd.grad((place * signs).sum(), maps["input"], retain_graph=True)
            heat = heat + gradient.abs().sum((0, 1))
        result[level.name] = Field.of((heat / probes).double().numpy())
    return result


def places_read(
    backbone: nn.Module, deep: str, levels: Sequence[Level], width: int, step: int
) -> dict[str, np.ndarray]:
    """Where along the image's width the way up reads a deeper map: level → (n, 2) px, where it lies and where it reads.

    The map that part `deep` makes, of stride `step`, is replaced by a ramp, every place of it carrying its own x. In a
    copy of the backbone every kernel passes its centre on and the image is 0, so what arrives is the x that was read.
    What lies beyond the last place of the deep map is left out: there is nothing to read there.
    """
    probe = _passing(backbone)

    def ramp(_: nn.Module, __: tuple, made: Tensor) -> Tensor:
        return (torch.arange(made.shape[-1], dtype=made.dtype) * step).expand_as(made)

    handle = probe.get_submodule(deep).register_forward_hook(ramp)
    with torch.inference_mode():
        pyramid = probe(torch.zeros(1, 1, 16, width, dtype=torch.float64))
    handle.remove()
    result, last = {}, (-(-width // step) - 1) * step
    for level in levels:
        features = getattr(pyramid, level.source.removeprefix(OUTPUT))
        read = features[0, 0, features.shape[-2] // 2].numpy()
        lies = np.arange(len(read)) * level.stride
        result[level.name] = np.stack((lies, read), 1)[lies <= last]
    return result


def _passing(backbone: nn.Module) -> nn.Module:
    """A copy in double precision whose convolutions hand on the mean of what lies at their centre, norms nothing."""
    probe = copy.deepcopy(backbone).double().eval()
    with torch.no_grad():
        for part in probe.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.zero_()[..., part.kernel_size[0] // 2, part.kernel_size[1] // 2] = 1 / part.in_channels
            elif isinstance(part, nn.BatchNorm2d):
                part.reset_running_stats()
                part.eps = 0.0
                part.weight.fill_(1)
            if getattr(part, "bias", None) is not None and isinstance(part, nn.Conv2d | nn.BatchNorm2d):
                part.bias.zero_()
    return probe
