"""Gatan DigitalMicrograph (.dm3, .dm4): images of an electron microscope in a tree of named tags.

After the descriptions of the tag tree by G. Jefferis and C. Boothroyd ("Digital Micrograph file format"): counts are
big-endian, 4 bytes long in DM3 and 8 in DM4; values follow the byte order that the header names.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from microloftr.errors import ImageError
from microloftr.pixels import Decoded, check_size, choose_channel, choose_page, micrometres

_VALUES = {2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "u1", 10: "u1", 11: "i8", 12: "u8"}
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_GROUP, _DATA = 20, 21
_PIXELS = {
    1: "i2", 2: "f4", 3: "c8", 6: "u1", 7: "i4", 8: "4u1", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 13: "c16", 14: "u1",
    23: "4u1", 39: "i8", 40: "u8",
}  # fmt: skip
_BINARY, _DEEPEST = 14, 64


@dataclass(frozen=True)
class _Array:
    """An array that was left in the file: where it begins and how many bytes it has."""

    offset: int
    size: int


class _Tags:
    """The tree of tags: groups are dicts, unnamed tags have their number for a name, arrays stay in the file."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self.file, self.end = file, end
        self.dm4 = self.take(">i") == 4
        self.count = ">q" if self.dm4 else ">i"
        self.take(self.count)
        self.order = "<" if self.take(">i") == 1 else ">"
        self.root = self.group(0)

    def text(self, array: _Array) -> str:
        self.file.seek(array.offset)
        return self.bytes(array.size).decode("utf-16-le" if self.order == "<" else "utf-16-be", "replace").strip("\0")

    def take(self, kind: str) -> Any:
        return struct.unpack(kind, self.bytes(struct.calcsize(kind)))[0]

    def bytes(self, size: int) -> bytes:
        self.check(size)
        return self.file.read(size)

    def check(self, size: int) -> None:
        if size < 0 or self.file.tell() + size > self.end:
            raise ImageError("it is cut off: data are missing at its end")

    def group(self, depth: int) -> dict[str, Any]:
        if depth > _DEEPEST:
            raise ImageError("its tags are nested too deep")
        self.bytes(2)  # sorted, open
        tags = {}
        for number in range(self.take(self.count)):
            kind = self.take("B")
            name = self.bytes(self.take(">H")).decode("latin-1") or str(number)
            if self.dm4:
                self.take(self.count)  # the tag's size in bytes
            if kind not in (_GROUP, _DATA):
                raise ImageError(f"its tag {name!r} is of the unknown kind {kind}")
            tags[name] = self.group(depth + 1) if kind == _GROUP else self.value()
        return tags

    def value(self) -> Any:
        if self.bytes(4) != b"%%%%":
            raise ImageError("its tags are damaged")
        length = self.take(self.count)
        self.check(length * struct.calcsize(self.count))
        kind, *about = [self.take(self.count) for _ in range(length)]
        if kind == _STRING:
            return self.bytes(about[0]).decode("latin-1")
        if kind == _STRUCT:  # length of its name, number of fields, and for each field length of its name and type
            return [self.number(field) for field in about[3::2]]
        if kind != _ARRAY:
            return self.number(kind)
        fields = about[4:-1:2] if about[0] == _STRUCT else about[:1]
        array = _Array(self.file.tell(), about[-1] * sum(np.dtype(self.type(field)).itemsize for field in fields))
        self.check(array.size)
        self.file.seek(array.size, 1)
        return array

    def type(self, kind: int) -> str:
        if kind not in _VALUES:
            raise ImageError(f"its tags hold values of the unknown type {kind}")
        return self.order + _VALUES[kind]

    def number(self, kind: int) -> int | float:
        dtype = np.dtype(self.type(kind))
        return np.frombuffer(self.bytes(dtype.itemsize), dtype)[0].item()


def decode(path: Path, channel: int | None, page: int | None, projection: str | None) -> Decoded:
    """One plane, or the projection of all; the thumbnail that most files carry is no page.

    Raises ImageError for spectra, complex images and damage.
    """
    with open(path, "rb") as file:
        tags = _Tags(file, path.stat().st_size)
        images = [image["ImageData"] for image in _shown(tags.root)]
        planes = [(image, number) for image in images for number in range(prod(_sides(image)[2:]))]
        return choose_page(lambda number: _plane(tags, *planes[number], channel), len(planes), page, projection)


def _shown(root: dict[str, Any]) -> list[dict[str, Any]]:
    thumbnails = {tag.get("ImageIndex") for tag in root.get("Thumbnails", {}).values() if isinstance(tag, dict)}
    images = root.get("ImageList", {}).values()
    return [image for number, image in enumerate(images) if number not in thumbnails] or list(images)


def _sides(image: dict[str, Any]) -> list[int]:
    """Width, height, and the sizes of the axes beyond."""
    sides = list(image["Dimensions"].values())
    if len(sides) < 2 or min(sides) < 1:
        raise ImageError("it holds spectra, no images")
    return sides


def _plane(tags: _Tags, image: dict[str, Any], number: int, channel: int | None) -> Decoded:
    width, height, *_ = _sides(image)
    kind, data = image["DataType"], image["Data"]
    if kind not in _PIXELS:
        raise ImageError(f"its pixels are of the unknown type {kind}")
    dtype = np.dtype(tags.order + _PIXELS[kind] if _PIXELS[kind][0] != "4" else _PIXELS[kind])
    size = width * height * dtype.itemsize
    check_size(width, height, dtype.itemsize)
    if (number + 1) * size > data.size:
        raise ImageError("it is cut off: pixel data are missing")
    tags.file.seek(data.offset + number * size)
    pixels = np.frombuffer(tags.bytes(size), dtype.base).reshape(height, width, *dtype.shape)
    if dtype.shape:
        pixels = pixels[:, :, 2::-1]  # blue, green, red, unused
    return Decoded(choose_channel(pixels != 0 if kind == _BINARY else pixels, channel), _um_per_px(tags, image))


def _um_per_px(tags: _Tags, image: dict[str, Any]) -> float | None:
    try:
        x = next(iter(image["Calibrations"]["Dimension"].values()))
        return micrometres(abs(x["Scale"]), tags.text(x["Units"]))
    except (AttributeError, KeyError, StopIteration, TypeError):  # an image that was never calibrated
        return None
