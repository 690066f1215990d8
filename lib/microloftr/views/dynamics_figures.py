"""Prediction dynamics drawn: one moment of a fixed batch, a strip of such moments, and a short animation of them."""

import io
import os
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image as Picture

from microloftr.errors import ParameterError
from microloftr.files import atomic_write
from microloftr.geometry import grid_points, grid_size
from microloftr.model.presets import COARSE_STRIDE
from microloftr.views.figures import DPI, FONT

if TYPE_CHECKING:
    from microloftr.training.diagnostics.dynamics import Dynamics

PANEL, TITLE, GAP = 2.0, 0.56, 0.04  # inches: a crop, the title above, the white between
MOST, WIDEST = 6, 1320  # frames of a strip, pixels of a row of them: more would be too small to see
LARGEST = 300_000  # bytes of an animation
RIGHT, WRONG = "#1ea0ff", "#ff7f0e"  # brighter than elsewhere: they lie on dark and on light micrographs
SECONDS, LAST = 0.6, 2.0  # that a frame of an animation stays, and its last one


def frame(dynamics: "Dynamics", images_0: Any, images_1: Any, pairs: int = 1, first: int = 0) -> Figure:
    """`pairs` pairs, from number `first` on, at one moment: a column each, image_0 above image_1.

    Images (B, 1, H, W) in 0..1. Blue: cells that are given their true cell; orange: the others, with a line from the
    true place to the predicted one. The surer, the more solid. The title's share is of all pairs of the batch.
    """
    pairs = min(pairs, len(dynamics.cells_1) - first)
    figure = Figure(figsize=(PANEL * pairs, TITLE + 2 * PANEL), dpi=DPI)
    numbers = dynamics.numbers()
    heading = f"step {dynamics.step}\n{numbers['accuracy']:.0%} right"
    figure.text(0.5, 1 - 0.05 / figure.get_figheight(), heading, fontsize=FONT, ha="center", va="top", linespacing=1.1)
    high = PANEL / figure.get_figheight()
    for k in range(pairs):
        crops = [_crop(images[first + k]) for images in (images_0, images_1)]
        for row, crop in enumerate(crops):
            place = (k / pairs, (1 - row) * high, 1 / pairs, high)
            inset = GAP / figure.get_figwidth() / 2, GAP / figure.get_figheight() / 2
            place = (place[0] + inset[0], place[1] + inset[1], place[2] - 2 * inset[0], place[3] - 2 * inset[1])
            _draw(figure.add_axes(place), crop)
        _mark(figure.axes[-2:], dynamics, first + k, crops[0].shape)
    return figure


def strip_bytes(frames: Sequence[Figure], most: int = MOST) -> bytes:
    """Up to `most` frames side by side as a PNG, first and last among them, evenly chosen; wide ones in rows."""
    shown = [_picture(figure) for figure in _some(frames, most)]
    gap = round(4 * GAP * DPI)
    wide, high = shown[0].width + gap, shown[0].height + gap
    columns = min(len(shown), max(1, WIDEST // wide))
    rows = -(-len(shown) // columns)
    whole = Picture.new("RGB", (columns * wide - gap, rows * high - gap), "white")
    for k, picture in enumerate(shown):
        whole.paste(picture, (k % columns * wide, k // columns * high))
    buffer = io.BytesIO()
    few = whole.quantize(256, method=Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE)
    few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def animation_bytes(frames: Sequence[Figure], largest: int = LARGEST) -> bytes:
    """All frames one after the other as an animated WebP that repeats, of at most `largest` bytes.

    A GIF of the same frames is four times as large. Where it would be too large, the quality is lowered, then the size.
    Raises ParameterError where even that does not fit.
    """
    pictures = [_picture(figure) for figure in _some(frames, len(frames))]
    for quality, scale in ((75, 1.0), (55, 1.0), (55, 0.8), (40, 0.65), (30, 0.5)):
        sizes = [(round(picture.width * scale), round(picture.height * scale)) for picture in pictures]
        resized = (
            picture.resize(size, Picture.Resampling.LANCZOS) for picture, size in zip(pictures, sizes, strict=True)
        )
        made = _webp(list(resized), quality)
        if len(made) <= largest:
            return made
    raise ParameterError(f"{len(frames)} frames make more than {largest} bytes; take fewer frames or pairs")


def save_strip(frames: Sequence[Figure], path: str | os.PathLike, most: int = MOST) -> None:
    """Write `strip_bytes` as a .png, whole or not at all."""
    _save(strip_bytes(frames, most), path, ".png")


def save_animation(frames: Sequence[Figure], path: str | os.PathLike) -> None:
    """Write `animation_bytes` as a .webp, whole or not at all."""
    _save(animation_bytes(frames), path, ".webp")


def show_bytes(data: bytes, kind: str) -> None:
    """Show a "png" or "webp" in a notebook; viewers that draw no webp say what is missing."""
    from IPython.display import display

    words = "an animation, drawn by JupyterLab" if kind == "webp" else "a picture"
    display({f"image/{kind}": b64encode(data).decode("ascii"), "text/plain": words}, raw=True)


def _crop(image: Any) -> np.ndarray:
    return np.asarray(image.cpu() if hasattr(image, "cpu") else image).squeeze()


def _draw(axes: Axes, crop: np.ndarray) -> None:
    low, high = np.percentile(crop, (1, 99))
    axes.imshow(crop, cmap="gray", vmin=low, vmax=max(high, low + 1e-3), interpolation="bilinear")
    axes.set_axis_off()
    axes.set_autoscale_on(False)  # what is marked beyond the crop is cut off


def _mark(axes: Sequence[Axes], dynamics: "Dynamics", k: int, shape: tuple[int, ...]) -> None:
    matched, right = dynamics.matched[k], dynamics.right[k]
    centres = grid_points(*(grid_size(side, COARSE_STRIDE) for side in shape), COARSE_STRIDE).numpy()
    solid = 0.6 + 0.4 * np.clip(dynamics.confidence[k], 0, 1)
    wrong = matched & ~right
    places, true = dynamics.points_1[k], dynamics.true_points_1[k]
    ways = np.stack((true[wrong], places[wrong]), 1)
    axes[1].add_collection(LineCollection(ways, colors=_shaded(WRONG, solid[wrong]), linewidths=1.2))
    for chosen, colour, size in ((wrong, WRONG, 8), (right, RIGHT, 22)):
        style = {"c": _shaded(colour, solid[chosen]), "s": size, "linewidths": 0}
        axes[0].scatter(*centres[chosen].T, marker="s", **style)
        axes[1].scatter(*places[chosen].T, marker="o", **style)


def _shaded(colour: str, solid: np.ndarray) -> np.ndarray:
    return np.stack([to_rgba(colour, value) for value in solid]) if len(solid) else np.zeros((0, 4))


def _some(frames: Sequence[Figure], most: int) -> list[Figure]:
    if not len(frames):
        raise ParameterError("There is no frame to show; observe the model at least once.")
    chosen = np.unique(np.rint(np.linspace(0, len(frames) - 1, min(most, len(frames)))).astype(int))
    return [frames[k] for k in chosen]


def _picture(figure: Figure) -> Picture.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _webp(pictures: list[Picture.Image], quality: int) -> bytes:
    lasts = [round(1000 * SECONDS)] * (len(pictures) - 1) + [round(1000 * LAST)]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": pictures[1:], "duration": lasts, "loop": 0, "quality": quality}
    pictures[0].save(buffer, format="WEBP", method=4, **options)
    return buffer.getvalue()


def _save(data: bytes, path: str | os.PathLike, suffix: str) -> None:
    if Path(path).suffix.lower() != suffix:
        raise ParameterError(f"{Path(path).name} must end in {suffix}")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
