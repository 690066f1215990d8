"""Files to grey float images in 0..1, with their pixel size; the first step of the line."""

import math
import os
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from microloftr.errors import ImageError, ParameterError
from microloftr.pixels import Decoded, choose_channel, normalise, resize, to_grey

__all__ = ["Image", "Planes", "as_image", "read_image", "read_planes", "resize"]

PROJECTIONS = ("max", "mean")
KINDS = "TIFF, PNG, JPEG, JPEG 2000, BMP, PGM, WebP, GIF, ND2, CZI, DM3, DM4, SER or NPY"


@dataclass(frozen=True, eq=False)
class Image:
    """A grey image: `pixels` (H, W) float32 in 0..1, C-contiguous; `um_per_px` along x in micrometres, or None."""

    pixels: np.ndarray
    um_per_px: float | None
    name: str


@dataclass(frozen=True, eq=False)
class Planes:
    """An image before its colours are joined: `pixels` (H, W) or (H, W, 3) float32 in 0..1."""

    pixels: np.ndarray
    um_per_px: float | None
    name: str


def read_image(
    path: str | os.PathLike,
    *,
    channel: int | None = None,
    page: int | None = None,
    projection: str | None = None,
    invert: bool = False,
    um_per_px: float | None = None,
) -> Image:
    """Read a file as a grey image: TIFF and its kin, PNG, JPEG, ND2, CZI, DM3, SER, NPY …, told apart by content.

    8-bit values are divided by 255; 16-bit and float ones are stretched between their percentiles 0.1 and 99.9.
    Colour becomes grey by the Rec. 601 luma, or one of its channels where `channel` says so; alpha is dropped. Of a
    file with several fluorescence channels the first is taken by default, and of a stack the first page; `page` counts
    time points, slices and plain pages alike, and `projection` "max" or "mean" joins all pages instead. `invert` swaps
    black and white. The file's pixel size is used unless `um_per_px` is given; resolution tags coarser than 20 µm per
    pixel are print defaults and ignored. The pixels stay as they are stored: no EXIF rotation, no resampling.
    Raises ImageError for a file that is missing, no image, damaged or too large (2^28 pixels), ParameterError for an
    option outside its range; both name the file.
    """
    planes = read_planes(path, channel=channel, page=page, projection=projection, um_per_px=um_per_px)
    return _finish(planes, invert)


def read_planes(
    path: str | os.PathLike,
    *,
    channel: int | None = None,
    page: int | None = None,
    projection: str | None = None,
    um_per_px: float | None = None,
) -> Planes:
    """As `read_image`, but a colour image keeps its three colours."""
    path = Path(path)
    channel, page = _check_number("channel", channel), _check_number("page", page)
    if projection is not None and projection not in PROJECTIONS:
        raise ParameterError(f"projection is {projection!r}; it must be one of {', '.join(PROJECTIONS)}")
    if projection is not None and page is not None:
        raise ParameterError("page and projection exclude each other; give one of them")
    um_per_px = _check_um(um_per_px)
    _check_file(path)
    try:
        decoded = _decode(path, channel, page, projection)
        pixels = normalise(decoded)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    except ImageError as error:
        raise ImageError(f"{path} cannot be read: {error}") from None
    except MemoryError:
        raise ImageError(f"{path} cannot be read: it needs more memory than there is") from None
    except Exception as error:  # decoders of damaged files raise all there is
        reason = " ".join(str(error).split())[:200]
        if not reason or not isinstance(error, (OSError, RuntimeError, SyntaxError)):  # what says nothing by itself
            reason = f"it seems to be damaged ({type(error).__name__}: {reason})"
        raise ImageError(f"{path} cannot be read as an image: {reason}") from error
    stem = path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem
    return Planes(pixels, um_per_px or decoded.um_per_px, stem)


def as_image(source: "str | os.PathLike | np.ndarray | Image", **options) -> Image:
    """A path (read by `read_image` with `options`), an array (H, W) or (H, W, 3), or an Image, as an Image.

    Arrays follow the rules of files, but floats that lie in 0..1 already are taken as they are. For arrays the options
    channel, invert and um_per_px apply, for an Image invert and um_per_px. Raises ImageError for an array that is no
    image, and what `read_image` raises.
    """
    if isinstance(source, (str, os.PathLike)):
        return read_image(source, **options)
    allowed = {"invert", "um_per_px"} | (set() if isinstance(source, Image) else {"channel"})
    if unknown := sorted(set(options) - allowed):
        raise ParameterError(f"{unknown[0]} is no option for an array or Image; use {', '.join(sorted(allowed))}")
    um_per_px = _check_um(options.get("um_per_px"))
    invert = options.get("invert", False)
    if isinstance(source, Image):
        pixels = np.clip(source.pixels, 0.0, 1.0)
        return _finish(replace(source, pixels=pixels, um_per_px=um_per_px or source.um_per_px), invert)
    pixels = np.asarray(source)
    if pixels.dtype.kind not in "biuf" or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ImageError(
            f"an array of shape {pixels.shape} and type {pixels.dtype} is no image; "
            "it must be numbers of shape (height, width) or (height, width, 3)"
        )
    if not pixels.size:
        raise ImageError(f"an array of shape {pixels.shape} has no pixels")
    channel = _check_number("channel", options.get("channel"))
    pixels = choose_channel(pixels[:, :, :3] if pixels.ndim == 3 else pixels, channel)
    ready = pixels.dtype.kind == "f" and pixels.min() >= 0 and pixels.max() <= 1  # False where there is a NaN
    grey = np.array(pixels, dtype=np.float32, order="C") if ready else normalise(Decoded(pixels))
    return _finish(Planes(grey, um_per_px, "array"), invert)


def _finish(planes: Planes | Image, invert: bool) -> Image:
    if not isinstance(invert, bool):
        raise ParameterError(f"invert is {invert!r}; it must be True or False")
    grey = planes.pixels
    if grey.ndim == 3:  # the luma's weights add up to 1 but for rounding
        grey = to_grey(grey)
        np.clip(grey, 0.0, 1.0, out=grey)
    return Image(np.ascontiguousarray(1 - grey if invert else grey), planes.um_per_px, planes.name)


def _decode(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    from microloftr import tiff  # tifffile and Pillow take a while to load; arrays do without
    from microloftr.formats.which import START, find_decoder

    with open(path, "rb") as file:
        start = file.read(START)
    if start.startswith(tiff.MAGIC):
        return tiff.decode_tiff(path, channel, page, projection)
    if (decode := find_decoder(start)) is not None:
        return decode(path, channel, page, projection)
    from PIL import UnidentifiedImageError

    from microloftr.raster import decode_raster

    try:
        return decode_raster(path, channel, page, projection)
    except UnidentifiedImageError:
        raise ImageError(f"it is no {KINDS} file, or its header is damaged") from None


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder; give an image file")
        if not path.exists():
            raise ImageError(f"{path} does not exist; give the path of an image file")
        if not path.is_file():
            raise ImageError(f"{path} is no ordinary file; give an image file")
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty; give an image file")
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be opened: {error}") from None


def _check_number(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ParameterError(f"{name} is {value!r}; it must be a whole number from 0 on")
    return int(value)


def _check_um(value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not (math.isfinite(value) and value > 0):
        raise ParameterError(f"um_per_px is {value!r}; it must be a number of micrometres above 0")
    return float(value)
