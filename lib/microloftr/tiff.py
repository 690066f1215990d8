"""Decode TIFF, OME-TIFF and ImageJ TIFF by tifffile: one plane at a time, whatever the axes are called."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from microloftr.errors import ImageError, ParameterError
from microloftr.pixels import Decoded, check_page, check_size, choose_channel, plausible, project

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UM = {
    "m": 1e6, "meter": 1e6, "metre": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3,
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "å": 1e-4, "angstrom": 1e-4, "pm": 1e-6, "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _quiet.get()


logging.getLogger("tifffile").addFilter(_Silence())  # mute in _silently only: others' use of tifffile stays as it is


def decode_tiff(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """Decode one plane, or the projection of the first series' pages.

    Pages are counted over all axes but y, x and channel (time, depth, plain pages), then over further series, such as
    pages of another size. Raises ImageError for damage, declared sizes beyond the limit and unknown colour models,
    ParameterError for a page or channel that is not there.
    """
    with _silently(), tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError("it has no image in it")
        if file.is_imagej and int(file.imagej_metadata.get("images", 1)) > math.prod(_outer(file.series[0])[1]):
            raise ImageError("it is cut off: images of its stack are missing")
        counts = [_page_count(series) for series in file.series]
        if projection:
            planes = (_plane(file, 0, number, channel) for number in range(counts[0]))
            return project(planes, projection)
        page = page or 0
        check_page(page, sum(counts))
        index = 0
        while page >= counts[index]:
            page -= counts[index]
            index += 1
        return _plane(file, index, page, channel)


@contextmanager
def _silently() -> Iterator[None]:
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def _outer(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Axes and sizes of a series outside its planes; a plane is y, x and the samples of a pixel."""
    pairs = [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    return "".join(axis for axis, _ in pairs), tuple(size for _, size in pairs)


def _page_count(series: tifffile.TiffPageSeries) -> int:
    return math.prod(size for axis, size in zip(*_outer(series), strict=True) if axis != "C")


def _plane(file: tifffile.TiffFile, series_number: int, page: int, channel: int | None) -> Decoded:
    series = file.series[series_number]
    keyframe = series.keyframe
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if "Y" not in sizes or "X" not in sizes:
        raise ImageError(f"it has the axes {series.axes}; an image has y and x")
    check_size(sizes["X"], sizes["Y"], series.dtype.itemsize * sizes.get("S", 1))
    axes, shape = _outer(series)
    page_shape = tuple(1 if axis == "C" else size for axis, size in zip(axes, shape, strict=True))
    place = list(np.unravel_index(page, page_shape)) if shape else []
    if "C" in axes and (sizes["C"] > 1 or "S" not in sizes):
        if not 0 <= (channel or 0) < sizes["C"]:
            raise ParameterError(f"channel is {channel}; channels are numbered 0 to {sizes['C'] - 1}")
        place[axes.index("C")] = channel or 0
        channel = None
    pixels = _colour(_samples(series, tuple(place)), keyframe, file.is_imagej, channel)
    photometric = keyframe.photometric
    return Decoded(
        pixels,
        _um_per_px(file, series_number),
        white_is_zero=photometric == tifffile.PHOTOMETRIC.MINISWHITE,
        bits=keyframe.bitspersample if pixels.dtype == np.uint8 and keyframe.bitspersample < 8 else None,
    )


def _samples(series: tifffile.TiffPageSeries, place: tuple[int, ...]) -> np.ndarray:
    """Samples of one plane, (H, W) or (H, W, S), of any type."""
    shape = _outer(series)[1]
    axes = "".join(axis for axis in series.axes if axis in "YXS")
    inner = series.axes[len(shape) :]
    number = int(np.ravel_multi_index(place, shape)) if shape else 0
    if inner == axes and len(series) == math.prod(shape) and series[number] is not None:
        _check_extent(series[number])
        pixels = series[number].asarray().reshape([series.shape[series.axes.index(axis)] for axis in axes])
    else:  # one page for many planes (ImageJ), or planes that are interleaved
        if series.dataoffset is not None and series.dataoffset + series.nbytes > series.parent.filehandle.size:
            raise ImageError("it is cut off: pixel data are missing at its end")
        if series.dataoffset is None:
            check_size(1, 1, series.nbytes)
        whole = series.asarray(out="memmap") if series.dataoffset is not None else series.asarray()
        order = [index for index, axis in enumerate(series.axes) if axis not in "YXS"]
        pixels = np.array(np.moveaxis(whole, order, range(len(order)))[place])
    return np.moveaxis(pixels, [axes.index(axis) for axis in "YXS" if axis in axes], range(pixels.ndim))


def _check_extent(page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    end = max((a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    if end > page.parent.filehandle.size:
        raise ImageError("it is cut off: pixel data are missing at its end")


def _colour(pixels: np.ndarray, page: tifffile.TiffPage, imagej: bool, channel: int | None) -> np.ndarray:
    """(H, W) or (H, W, 3): colour maps looked up, alpha dropped; plain samples are channels, the first by default."""
    photometric, known = page.photometric, tifffile.PHOTOMETRIC
    if photometric not in (known.MINISBLACK, known.MINISWHITE, known.PALETTE, known.RGB, known.YCBCR):
        raise ImageError(f"its colour model {photometric.name} is not read; save it as grey or RGB")
    if pixels.ndim == 2 and photometric == known.PALETTE and page.colormap is not None and not imagej:
        colours = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
        pixels = np.moveaxis(colours.astype(np.uint8)[:, pixels], 0, -1)  # ImageJ's tables only tint grey values
    elif pixels.ndim == 3 and pixels.shape[2] >= 3 and photometric in (known.RGB, known.YCBCR):
        pixels = pixels[:, :, :3]
    elif pixels.ndim == 3:
        alpha = len(page.extrasamples) if pixels.shape[2] == 1 + len(page.extrasamples) == 2 else 0
        return choose_channel(pixels[:, :, : pixels.shape[2] - alpha], channel or 0)
    return choose_channel(pixels, channel)


def _um_per_px(file: tifffile.TiffFile, series_number: int) -> float | None:
    if file.is_ome and (size := _ome_size(file.ome_metadata, series_number)) is not None:
        return size
    if (size := _vendor_size(file)) is not None:
        return size
    tags = file.series[series_number].keyframe.tags
    if "XResolution" not in tags:
        return None
    above, below = tags["XResolution"].value
    if not above or not below:
        return None
    pixels_per_unit = above / below
    unit = str((file.imagej_metadata or {}).get("unit", "")) if file.is_imagej else ""
    unit = unit.replace("\\u00B5", "µ").strip().lower()
    if unit in _UM:
        return _UM[unit] / pixels_per_unit
    scale = {2: 25400.0, 3: 1e4}.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 2)
    return plausible(scale / pixels_per_unit) if scale else None


def _vendor_size(file: tifffile.TiffFile) -> float | None:
    """Pixel size that Zeiss and FEI electron microscopes and Aperio scanners write in tags of their own."""
    try:
        if file.is_sem:
            _, value, unit = file.sem_metadata["ap_pixel_size"]
            return float(value) * _UM[unit.strip().lower()]
        if file.is_fei:
            return float(file.fei_metadata["Scan"]["PixelWidth"]) * 1e6 or None
        if file.is_svs:
            return float(tifffile.tifffile.svs_description_metadata(file.pages.first.description)["MPP"]) or None
    except (KeyError, TypeError, ValueError):
        return None
    return None


def _ome_size(metadata: str, series_number: int) -> float | None:
    try:
        images = [node for node in ElementTree.fromstring(metadata).iter() if node.tag.endswith("}Pixels")]
        attributes = images[min(series_number, len(images) - 1)].attrib
        size = float(attributes["PhysicalSizeX"]) * _UM[attributes.get("PhysicalSizeXUnit", "µm").strip().lower()]
    except (ElementTree.ParseError, KeyError, ValueError, IndexError):
        return None
    return size if math.isfinite(size) and size > 0 else None
