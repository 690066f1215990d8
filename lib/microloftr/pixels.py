"""Decoded pixels and what makes a grey image in 0..1 of them; pure functions over NumPy arrays."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as PillowImage

from microloftr.errors import ImageError, ParameterError

PIXEL_LIMIT = 2**28  # per plane: 16384 × 16384; larger pictures are cut into tiles first
BYTE_LIMIT = 2**32  # per plane with all its samples: no file can claim more memory than this
COARSEST_UM = 20.0  # what coarser resolution tags say is a print default (72, 300 … dpi), not a microscope
LUMA = (0.299, 0.587, 0.114)  # Rec. 601
UNITS = {
    "m": 1e6, "meter": 1e6, "metre": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "å": 1e-4, "angstrom": 1e-4, "pm": 1e-6, "inch": 25400.0, "in": 25400.0,
}  # fmt: skip  # in micrometres
_LOW, _HIGH = 0.1, 99.9  # percentiles of the stretch
_SAMPLE = 2**22  # percentiles of larger planes are taken from about so many of their pixels
_BLOCK = 2**20  # values that are stretched at a time: float64 exactness without a float64 copy of the plane


@dataclass(frozen=True, eq=False)
class Decoded:
    """One plane as its file holds it: (H, W) or (H, W, 3) of any real type, and how its numbers are meant."""

    pixels: np.ndarray
    um_per_px: float | None = None
    white_is_zero: bool = False
    bits: int | None = None  # used bits of a uint8 sample where fewer than eight


def check_size(width: int, height: int, bytes_per_pixel: int = 1) -> None:
    """Refuse a declared size before memory is taken. Raises ImageError that states size and limit."""
    if width < 1 or height < 1:
        raise ImageError(f"it has no pixels ({width}×{height})")
    if width * height > PIXEL_LIMIT or width * height * bytes_per_pixel > BYTE_LIMIT:
        raise ImageError(
            f"it declares {width}×{height} pixels of {bytes_per_pixel} bytes; "
            f"at most {PIXEL_LIMIT} pixels and {BYTE_LIMIT >> 30} GiB per plane are read"
        )


def choose_channel(pixels: np.ndarray, channel: int | None) -> np.ndarray:
    """(H, W, 3) → (H, W) where a channel is asked for; a grey plane has channel 0 only. Raises ParameterError."""
    count = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channel is None:
        return pixels
    if not 0 <= channel < count:
        raise ParameterError(f"channel is {channel}; {_allowed(count, 'channel')}")
    return pixels if pixels.ndim == 2 else pixels[:, :, channel]


def check_page(page: int, count: int) -> None:
    """Raises ParameterError where the file has fewer pages."""
    if not 0 <= page < count:
        raise ParameterError(f"page is {page}; {_allowed(count, 'page')}")


def choose_page(read: Callable[[int], Decoded], count: int, page: int | None, projection: str | None) -> Decoded:
    """Plane `page` of `count` (the first by default), or the projection of all; `read(number)` decodes one."""
    if count < 1:
        raise ImageError("it has no image in it")
    if projection:
        return project((read(number) for number in range(count)), projection)
    check_page(page or 0, count)
    return read(page or 0)


def project(planes, projection: str) -> Decoded:
    """Maximum or mean over an iterable of Decoded planes of one size; NaN counts only where no plane has a number.

    The maximum is that of brightness: where white is zero it is the least of the stored values.
    """
    first, total, count = None, None, 0
    for plane in planes:
        values, real = plane.pixels, plane.pixels.dtype.kind == "f"
        if projection == "mean":
            finite = np.isfinite(values) if real else 1
            count = count + finite
            values = np.where(finite, values, 0).astype(np.float64) if real else values
            total = values.astype(np.float64) if first is None else np.add(total, values, out=total)
        elif first is None:
            total = values
        else:
            total = (np.fmin if plane.white_is_zero else np.fmax)(total, values)
        first = first or plane
    if projection == "mean":
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        total = mean if first.pixels.dtype.kind == "f" else np.rint(mean).astype(first.pixels.dtype)
    return replace(first, pixels=total)


def normalise(plane: Decoded) -> np.ndarray:
    """float32 in 0..1 of the same shape: two values and 8 bits by their range, all else by the percentile stretch."""
    pixels = plane.pixels
    if pixels.dtype == bool:
        result = pixels.astype(np.float32)
    elif pixels.dtype == np.uint8:
        result = pixels.astype(np.float32)
        result /= np.float32(2 ** (plane.bits or 8) - 1)
    elif pixels.dtype.kind in "iuf":
        result = stretch(pixels)
    else:
        raise ImageError(f"its pixels are of type {pixels.dtype}; integers, floats and two-valued pixels are read")
    return np.ascontiguousarray(np.float32(1) - result if plane.white_is_zero else result)


def stretch(pixels: np.ndarray) -> np.ndarray:
    """Map the percentiles 0.1 and 99.9 of the finite values to 0 and 1 and clip; float32.

    All channels share the two limits, so colours keep their balance. NaN becomes the median and ±inf the limits;
    a constant image, or one without a finite value, becomes 0.
    """
    values = pixels.reshape(-1)
    values = values[:: max(1, values.size // _SAMPLE) | 1].astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        values = pixels.reshape(-1).astype(np.float64)
        finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(pixels.shape, np.float32)
    low, middle, high = np.percentile(finite, (_LOW, 50.0, _HIGH))
    if high <= low:  # nearly all pixels are equal: a few stars on a black sky still count
        low, high = finite.min(), finite.max()
    if high <= low:
        return np.zeros(pixels.shape, np.float32)
    flat, result = pixels.reshape(-1), np.empty(pixels.size, np.float32)
    with np.errstate(all="ignore"):  # the largest floats overflow; they are clipped
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK].astype(np.float64)
            if pixels.dtype.kind == "f":
                block[np.isnan(block)] = middle
            block -= low
            block /= high - low
            result[start : start + _BLOCK] = np.clip(block, 0.0, 1.0, out=block)
    return result.reshape(pixels.shape)


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) → (H, W) by the Rec. 601 luma; (H, W) as it is; float32."""
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(pixels @ np.asarray(LUMA, np.float32), dtype=np.float32)


def micrometres(size: float, unit: str) -> float | None:
    """A length in micrometres, or None where the unit is no length or the size is no number above 0."""
    size = size * UNITS.get(unit.replace("\\u00B5", "µ").strip().lower(), math.nan)
    return size if math.isfinite(size) and size > 0 else None


def plausible(um_per_px: float | None) -> float | None:
    """A pixel size from resolution tags, or None where it is the default of a printing program."""
    return um_per_px if um_per_px is not None and 0 < um_per_px <= COARSEST_UM else None


def resize(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample (H, W) in 0..1 to `shape` = (height, width), antialiased (Lanczos, a = 3), float32 in 0..1.

    Frame: x_out = (x_in + .5) · s − .5 with s = new width / old width, likewise for y: the picture's outer edges stay.
    Pillow widens the kernel when it shrinks; OpenCV's fixed kernels would alias. Raises ParameterError for a bad shape.
    """
    height, width = (int(side) for side in shape)
    if height < 1 or width < 1:
        raise ParameterError(f"shape is {tuple(shape)}; it must be a height and a width of at least 1 pixel")
    if pixels.ndim != 2:
        raise ParameterError(f"only a grey image (height, width) can be resized, not an array of shape {pixels.shape}")
    picture = PillowImage.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    resized = picture.resize((width, height), PillowImage.Resampling.LANCZOS)
    return np.clip(np.asarray(resized, dtype=np.float32), 0.0, 1.0)


def _allowed(count: int, what: str) -> str:
    return f"the image has one {what}, number 0" if count == 1 else f"{what}s are numbered 0 to {count - 1}"
