"""Zeiss ZEN (.czi), by the package czifile (BSD-3-Clause, extra `formats`).

czifile walks the file and hands over its directory of tiles, its XML and the tiles' bytes; here the tiles are decoded
by imagecodecs, so that Zstandard is read with each version of czifile, and put together.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np

from microloftr.errors import ImageError, ParameterError
from microloftr.formats.which import optional_package
from microloftr.pixels import Decoded, check_size, choose_channel, choose_page, micrometres
from microloftr.quiet import muted, unwarned

_PIXELS = {
    "gray8": ("<u1", 1), "gray16": ("<u2", 1), "gray32float": ("<f4", 1), "bgr24": ("<u1", 3), "bgr48": ("<u2", 3),
    "bgr96float": ("<f4", 3), "bgra32": ("<u1", 4), "gray32": ("<i4", 1),
}  # fmt: skip
_NONE, _JPEG, _LZW, _JPEG_XR, _ZSTD, _ZSTD_1 = 0, 1, 2, 4, 5, 6


@dataclass(frozen=True)
class _Tile:
    """An entry of the directory: first index and size along each axis, stored sizes, type of its pixels."""

    start: dict[str, int]
    size: dict[str, int]
    stored: dict[str, int]
    dtype: np.dtype
    samples: int
    entry: Any

    @property
    def page(self) -> tuple[tuple[str, int], ...]:
        """Scene first, then time, depth and the like."""
        axes = sorted(set(self.start) - set("XYCM"), key="SVRIHBTZ".find)
        return tuple((axis, self.start[axis]) for axis in axes)


def decode(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """One plane of one scene at full resolution, put together from its tiles, or the projection of all planes.

    Pages count scenes, and within a scene time and depth. Parts of a scene that no tile covers are 0. Raises ImageError
    for damage, unknown types and compressions, ParameterError for a channel that is not there.
    """
    reader = optional_package("czifile", "Zeiss CZI")
    with muted("czifile"), unwarned(), reader.CziFile(str(path)) as file:
        tiles = [tile for tile in map(_tile, file.subblock_directory) if tile.size == tile.stored]
        if not tiles:
            raise ImageError("it has no image at full resolution in it")
        pages = sorted({tile.page for tile in tiles})
        um_per_px = _um_per_px(file)

        def read(number: int) -> Decoded:
            scene = [tile for tile in tiles if tile.start.get("S") == dict(pages[number]).get("S")]
            plane = _plane(file, path, scene, pages[number], channel)
            return Decoded(plane, um_per_px)

        return choose_page(read, len(pages), page, projection)


def _tile(entry) -> _Tile:
    """czifile of 2019 (the one for Python 3.11) and of today name the same things differently."""
    if hasattr(entry, "dimension_entries"):
        axes = {axis.dimension: (axis.start, axis.size, axis.stored_size) for axis in entry.dimension_entries}
        name = entry.pixel_type
    else:
        axes = {
            axis: place for axis, *place in zip(entry.dims, entry.start, entry.shape, entry.stored_shape, strict=True)
        }
        axes["S"] = (entry.scene_index, 1, 1)  # S stands for the samples of a pixel there
        axes["M"] = (entry.mosaic_index, 1, 1)
        name = entry.pixel_type.name
    if name.lower() not in _PIXELS:
        raise ImageError(f"its pixels are of the type {name}, which is not read")
    dtype, samples = _PIXELS[name.lower()]
    start, size, stored = ({axis: place[index] for axis, place in axes.items()} for index in range(3))
    return _Tile(start, size, stored, np.dtype(dtype), samples, entry)


def _plane(file, path: Path, scene: list[_Tile], page: tuple, channel: int | None) -> np.ndarray:
    """(H, W) or (H, W, 3): the tiles of this page and channel where they lie in the scene's bounding box."""
    left, top = (min(tile.start[axis] for tile in scene) for axis in "XY")
    right, bottom = (max(tile.start[axis] + tile.size[axis] for tile in scene) for axis in "XY")
    first = scene[0]
    check_size(right - left, bottom - top, first.dtype.itemsize * first.samples)
    channels = sorted({tile.start.get("C", 0) for tile in scene})
    colour = first.samples >= 3 and len(channels) == 1
    if not colour and not 0 <= (channel or 0) < len(channels):
        raise ParameterError(f"channel is {channel}; channels are numbered 0 to {len(channels) - 1}")
    wanted = channels[0 if colour else channel or 0]
    chosen = [tile for tile in scene if tile.page == page and tile.start.get("C", 0) == wanted]
    if not chosen:
        raise ImageError("this plane of it was never written")
    samples = chosen[0].samples
    pixels = np.zeros((bottom - top, right - left, samples), chosen[0].dtype)
    for tile in sorted(chosen, key=lambda tile: tile.start.get("M", 0)):
        x, y = tile.start["X"] - left, tile.start["Y"] - top
        pixels[y : y + tile.size["Y"], x : x + tile.size["X"]] = _pixels(file, path, tile)
    return choose_channel(pixels[:, :, :3], channel if colour else None) if samples >= 3 else pixels[:, :, 0]


def _pixels(file, path: Path, tile: _Tile) -> np.ndarray:
    """(H, W, samples) of one tile, in the order red, green, blue."""
    segment = tile.entry.data_segment() if hasattr(tile.entry, "data_segment") else tile.entry.read_segment_data(file)
    if segment.data_size < 0 or segment.data_offset + segment.data_size > path.stat().st_size:
        raise ImageError("it is cut off: pixel data are missing")
    shape = (tile.size["Y"], tile.size["X"], tile.samples)
    data, length = segment.data(raw=True), int(np.prod(shape)) * tile.dtype.itemsize
    compression = int(tile.entry.compression) if len(data) != length else _NONE  # whatever it says of itself
    if compression in (_JPEG, _JPEG_XR):  # these give red, green, blue
        out = np.empty(shape if tile.samples > 1 else shape[:2], tile.dtype)
        decoder = imagecodecs.jpeg8_decode if compression == _JPEG else imagecodecs.jpegxr_decode
        return decoder(data, out=out).reshape(shape)
    if compression == _LZW:
        data = imagecodecs.lzw_decode(data, out=length)
    elif compression in (_ZSTD, _ZSTD_1):
        data = _unzstd(data, length, compression)
    elif compression != _NONE:
        raise ImageError(f"its compression {compression} is not read")
    pixels = np.frombuffer(data, tile.dtype)
    if pixels.nbytes != length:
        raise ImageError("it is damaged: a tile has too many or too few pixels")
    pixels = pixels.reshape(shape)
    return pixels if tile.samples < 3 else pixels[:, :, [2, 1, 0, 3][: tile.samples]]


def _unzstd(data: bytes, length: int, compression: int) -> bytes:
    """Zstandard; in its second form behind a header that may say that low and high bytes are kept apart."""
    apart = False
    if compression == _ZSTD_1:
        header = data[: data[0]]
        apart, data = len(header) == 3 and header[1] == 1 and bool(header[2] & 1), data[data[0] :]
    data = imagecodecs.zstd_decode(data, out=length)
    return np.frombuffer(data, np.uint8).reshape(2, -1).T.tobytes() if apart else data


def _um_per_px(file) -> float | None:
    try:
        distances: Iterable = ElementTree.fromstring(file.metadata()).iter("Distance")
        x = next(node for node in distances if node.get("Id") == "X")
        return micrometres(float(x.findtext("Value", "nan")), "m")
    except (ElementTree.ParseError, StopIteration, TypeError, ValueError):
        return None
