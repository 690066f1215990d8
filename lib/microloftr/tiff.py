"""Decode TIFF, OME-TIFF and ImageJ TIFF by tifffile: one plane at a time, whatever the axes are called."""

import math
import struct
from pathlib import Path

import numpy as np
import tifffile

from microloftr.errors import ImageError, ParameterError
from microloftr.pixels import Decoded, check_page, check_size, choose_channel, choose_page
from microloftr.quiet import muted
from microloftr.tiff_size import um_per_px

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = (tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG)


def decode_tiff(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """Decode one plane, or the projection of the first series' pages.

    Pages are counted over all axes but y, x and channel (time, depth, plain pages), then over further series, such as
    pages of another size. Raises ImageError for damage, declared sizes beyond the limit and unknown colour models,
    ParameterError for a page or channel that is not there.
    """
    _check_chain(path)
    with muted("tifffile"), tifffile.TiffFile(path) as file:
        if not file.series:
            raise ImageError("it has no image in it")
        if file.is_imagej and int(file.imagej_metadata.get("images", 1)) > math.prod(_outer(file.series[0])[1]):
            raise ImageError("it is cut off: images of its stack are missing")
        counts = [_page_count(series) for series in file.series]
        if projection:
            return choose_page(lambda number: _plane(file, 0, number, channel), counts[0], None, projection)
        page = page or 0
        check_page(page, sum(counts))
        index = 0
        while page >= counts[index]:
            page -= counts[index]
            index += 1
        return _plane(file, index, page, channel)


def _check_chain(path: Path) -> None:
    """Each page names the next. Refuse a file whose pages come back to one of them: tifffile would follow for ever."""
    with open(path, "rb") as file:
        head = file.read(16)
        order, big = "<" if head.startswith(b"II") else ">", head[2:4] in (b"+\0", b"\0+")
        count, tag, place = (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
        seen: set[int] = set()
        try:
            (offset,) = struct.unpack_from(place, head, 8 if big else 4)
            while offset:
                if offset in seen:
                    raise ImageError("its pages go round in a circle")
                seen.add(offset)
                file.seek(offset)
                (tags,) = struct.unpack(count, file.read(struct.calcsize(count)))
                file.seek(min(tags, 2**16) * tag, 1)
                (offset,) = struct.unpack(place, file.read(struct.calcsize(place)))
        except (struct.error, OSError, OverflowError, ValueError):
            return  # the chain leaves the file; tifffile ends it there


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
    photometric, bits = keyframe.photometric, keyframe.bitspersample
    return Decoded(
        pixels,
        um_per_px(file, series_number),
        white_is_zero=photometric == tifffile.PHOTOMETRIC.MINISWHITE,
        bits=bits if bits < 8 and series.dtype == np.uint8 and photometric != tifffile.PHOTOMETRIC.PALETTE else None,
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
    if photometric == known.YCBCR and page.compression not in _JPEG:  # JPEG's decoder gives RGB
        raise ImageError("its colour model YCBCR is read in JPEG only; save it as grey or RGB")
    if pixels.ndim == 2 and photometric == known.PALETTE and page.colormap is not None and not imagej:
        colours = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
        pixels = np.moveaxis(colours.astype(np.uint8)[:, pixels], 0, -1)  # ImageJ's tables only tint grey values
    elif pixels.ndim == 3 and pixels.shape[2] >= 3 and photometric in (known.RGB, known.YCBCR):
        pixels = pixels[:, :, :3]
    elif pixels.ndim == 3:
        alpha = len(page.extrasamples) if pixels.shape[2] == 1 + len(page.extrasamples) == 2 else 0
        return choose_channel(pixels[:, :, : pixels.shape[2] - alpha], channel or 0)
    return choose_channel(pixels, channel)
