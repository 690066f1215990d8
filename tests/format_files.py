"""Writers of small files in the formats that microscopes and their programs write, each as little as a reader needs."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SHORT, LONG, RATIONAL, ASCII, BYTES = 3, 4, 5, 2, 7


def picture(height: int = 40, width: int = 56) -> np.ndarray:
    """A grey uint8 picture without any symmetry: a mirrored or transposed one does not correlate with it."""
    y, x = np.mgrid[:height, :width]
    grey = 110 + 50 * np.sin(x / 5.0) + 40 * np.cos(y / 7.0 + x / 11.0) + 40 * (x > 0.6 * width) * (y < 0.3 * height)
    return np.clip(grey, 0, 255).astype(np.uint8)


def tiff(path: Path, tags: dict[int, tuple[int, Sequence | bytes]], data: bytes, order: str = "<", strips=None) -> Path:
    """A TIFF of one page, tag by tag: {code: (type, values)}; `strips` says (offset, length), the first being 8."""
    offsets, lengths = zip(*(strips or [(8, len(data))]), strict=True)
    tags = {**tags, 273: (LONG, offsets), 279: (LONG, lengths)}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    place = 8 + len(data) + 2 + 12 * len(tags) + 4
    entries, beyond = [], b""
    for code, (kind, values) in sorted(tags.items()):
        raw = (
            values
            if isinstance(values, bytes)
            else b"".join(struct.pack(order + {3: "H", 4: "I", 5: "I"}[kind], v) for v in values)
        )
        count = len(raw) // {SHORT: 2, LONG: 4, RATIONAL: 8}.get(kind, 1)
        if len(raw) > 4:
            field = struct.pack(order + "I", place + len(beyond))
            beyond += raw
        else:
            field = raw.ljust(4, b"\0")
        entries.append(struct.pack(order + "HHI", code, kind, count) + field)
    path.write_bytes(head + data + struct.pack(order + "H", len(entries)) + b"".join(entries) + b"\0\0\0\0" + beyond)
    return path


def page_tags(width: int, height: int, bits: Sequence[int] = (8,), photometric: int = 1) -> dict:
    """The tags every page has."""
    return {
        256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, list(bits)), 259: (SHORT, [1]),
        262: (SHORT, [photometric]), 277: (SHORT, [len(bits)]), 278: (LONG, [height]),
    }  # fmt: skip


def ser(path: Path, images: Sequence[np.ndarray], version: int = 0x210, kind: int = 0x4122) -> Path:
    """TIA series: rows from the bottom up."""
    number = {
        np.dtype(name): code for code, name in enumerate(("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8", "c8"), 1)
    }
    place = "<q" if version >= 0x220 else "<i"
    elements = [
        struct.pack("<ddiddihii", 0, 6e-9, 0, 0, 6e-9, 0, number[image.dtype], image.shape[1], image.shape[0])
        + np.ascontiguousarray(image[::-1]).tobytes()
        for image in images
    ]
    head = struct.pack("<hhhiiii", 0x4949, 0x197, version, kind, 0x4152, len(images), len(images))
    start = len(head) + 2 * struct.calcsize(place)
    head += struct.pack(place, start) + b"\0" * struct.calcsize(place)
    offsets = np.cumsum([start + len(images) * struct.calcsize(place), *(len(e) for e in elements)])[:-1]
    path.write_bytes(head + b"".join(struct.pack(place, offset) for offset in offsets) + b"".join(elements))
    return path


class _Gatan:
    """DM3 or DM4 by tag."""

    def __init__(self, version: int, order: str) -> None:
        self.version, self.order, self.count = version, order, ">q" if version == 4 else ">i"

    def counts(self, *numbers: int) -> bytes:
        return b"".join(struct.pack(self.count, number) for number in numbers)

    def entry(self, name: str, value) -> bytes:
        kind, body = (20, self.group(value)) if isinstance(value, dict) else (21, self.value(value))
        name = "" if name.isdigit() else name
        size = self.counts(len(body)) if self.version == 4 else b""
        return struct.pack(">BH", kind, len(name)) + name.encode("latin-1") + size + body

    def group(self, tags: dict) -> bytes:
        return b"\0\0" + self.counts(len(tags)) + b"".join(self.entry(name, value) for name, value in tags.items())

    def value(self, value) -> bytes:
        if isinstance(value, list):  # a struct of two 32-bit integers
            about, raw = (15, 0, 2, 0, 3, 0, 3), struct.pack(self.order + "ii", *value)
        elif isinstance(value, int):
            about, raw = (5,), struct.pack(self.order + "I", value)
        elif isinstance(value, float):
            about, raw = (6,), struct.pack(self.order + "f", value)
        elif isinstance(value, str):
            raw = value.encode("utf-16-le" if self.order == "<" else "utf-16-be")
            about = (20, 4, len(raw) // 2)
        else:  # bytes of an array
            about, raw = (20, 10, len(value)), value
        return b"%%%%" + self.counts(len(about), *about) + raw

    def file(self, tags: dict) -> bytes:
        body = self.group(tags)
        order = 1 if self.order == "<" else 0
        return struct.pack(">i", self.version) + self.counts(len(body)) + struct.pack(">i", order) + body


def gatan_image(
    pixels: np.ndarray, kind: int, scale: float = 0.25, unit: str = "nm", order: str = "<", **changes
) -> dict:
    """The tags of one image; `pixels` (N, H, W) or (H, W)."""
    sides = reversed(pixels.shape[:-1] if kind in (8, 23) else pixels.shape)  # the last axis of colours is no side
    dimension = {"Origin": 0.0, "Scale": scale, "Units": unit}
    data = {
        "Calibrations": {"Dimension": {"0": dimension, "1": dimension}},
        "Data": pixels.astype(pixels.dtype.newbyteorder(order)).tobytes(),
        "DataType": kind,
        "Dimensions": {str(number): side for number, side in enumerate(sides)},
    }
    return {"ImageData": data | changes}


def gatan(path: Path, images: Sequence[dict], version: int = 3, order: str = "<", thumbnail: int | None = 0) -> Path:
    """DigitalMicrograph file with these images, one of which is marked as the thumbnail."""
    tags = {"Bounds": [3, 4], "Name": "a b", "ImageList": {str(number): image for number, image in enumerate(images)}}
    if thumbnail is not None:
        tags["Thumbnails"] = {"0": {"ImageIndex": thumbnail}}
    path.write_bytes(_Gatan(version, order).file(tags))
    return path


CZI_TYPES = {(np.dtype("u1"), 1): 0, (np.dtype("u2"), 1): 1, (np.dtype("f4"), 1): 2, (np.dtype("u1"), 3): 3}


def czi_tile(pixels: np.ndarray, data: bytes | None = None, compression: int = 0, **place) -> tuple:
    """A tile: pixels (H, W) or (H, W, 3) blue first; `place` gives the start along X, Y, C, Z, S, M …"""
    data = np.ascontiguousarray(pixels).tobytes() if data is None else data
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    return pixels.shape[:2], CZI_TYPES[pixels.dtype, samples], data, compression, place


def czi(path: Path, tiles: Sequence[tuple], metres: float | None = 2.5e-7, listed: bool = True) -> Path:
    """Zeiss CZI: header, tiles, XML, directory; `stored` in a tile's place makes it one of a pyramid.

    Where not `listed`, the header does not say where directory and XML are, and they have to be searched for.
    """

    def segment(name: bytes, body: bytes) -> bytes:
        size = -(-len(body) // 32) * 32
        return name.ljust(16, b"\0") + struct.pack("<qq", size, len(body)) + body.ljust(size, b"\0")

    blocks, entries, at = b"", b"", 544
    for shape, kind, data, compression, place in tiles:
        place = {"X": 0, "Y": 0, "C": 0, **place}
        stored = place.pop("stored", shape)
        dimensions = b""
        for axis, start in place.items():
            size, kept = (shape["YX".index(axis)], stored["YX".index(axis)]) if axis in "XY" else (1, 1)
            dimensions += struct.pack("<4siifi", axis.encode(), start, size, 0.0, kept)
        entry = struct.pack("<2siqiiBB4si", b"DV", kind, at, 0, compression, 0, 0, b"", len(place)) + dimensions
        body = struct.pack("<iiq", 0, 0, len(data)) + entry.ljust(240, b"\0") + data
        block = segment(b"ZISRAWSUBBLOCK", body)
        blocks, entries, at = blocks + block, entries + entry, at + len(block)
    items = f'<Distance Id="X"><Value>{metres}</Value></Distance>' if metres else ""
    xml = f"<ImageDocument><Metadata><Scaling><Items>{items}</Items></Scaling></Metadata></ImageDocument>".encode()
    directory = segment(b"ZISRAWDIRECTORY", struct.pack("<i", len(tiles)).ljust(128, b"\0") + entries)
    metadata = segment(b"ZISRAWMETADATA", struct.pack("<ii", len(xml), 0).ljust(256, b"\0") + xml)
    header = struct.pack(
        "<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, *((at + len(metadata), at) if listed else (0, 0)), 0, 0
    )
    path.write_bytes(segment(b"ZISRAWFILE", header.ljust(512, b"\0")) + blocks + metadata + directory)
    return path


def nd2(path: Path, frames: Sequence[np.ndarray], um: float | None = 0.325, colour: bool = False, **changes) -> Path:
    """Nikon ND2: frames (H, W, channels) uint16 or, where `colour`, (H, W, 3) uint8 blue first."""
    height, width, components = frames[0].shape
    bits = frames[0].dtype.itemsize * 8
    channels = 1 if colour else components
    attributes = {
        "uiWidth": width, "uiWidthBytes": width * components * bits // 8, "uiHeight": height, "uiComp": components,
        "uiBpcInMemory": bits, "uiBpcSignificant": bits, "uiSequenceCount": len(frames), "eCompression": 2, **changes,
    }  # fmt: skip

    def number(name: str, value: float, kind: str = "lx_uint32") -> str:
        return f'<{name} runtype="{kind}" value="{value}"/>'

    plane = (
        number("uiCompCount", components // channels)
        + f"<pFluorescentProbe>{number('m_uiColor', 1)}</pFluorescentProbe>"
    )
    planes = "".join(f"<a{n}>{plane}</a{n}>" for n in range(channels))
    chunks = {
        "ImageAttributesLV!": "<variant>" + "".join(number(*item) for item in attributes.items()) + "</variant>",
        "ImageMetadataSeqLV|0!": "<variant>"
        + number("bCalibrated", "true" if um else "false", "bool")
        + number("dCalibration", um or 0.0, "double")
        + f"<sPicturePlanes>{number('uiCount', channels)}<sPlaneNew>{planes}</sPlaneNew></sPicturePlanes></variant>",
    }
    content = {name: text.encode() for name, text in chunks.items()}
    content |= {f"ImageDataSeq|{n}!": struct.pack("<d", 0.0) + frame.tobytes() for n, frame in enumerate(frames)}

    def chunk(name: bytes, data: bytes, reserve: int) -> bytes:
        return struct.pack("<IIQ", 0x0ABECEDA, reserve, len(data)) + name.ljust(reserve, b"\0") + data

    file = chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32).ljust(4096, b"\0")
    places = b""
    for name, data in content.items():
        places += name.encode() + struct.pack("<QQ", len(file), len(data))
        file += chunk(name.encode(), data, 4072)
    places += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<QQ", 0, 0)
    end = struct.pack("<32sQ", b"ND2 CHUNK MAP SIGNATURE 0000001!", len(file))
    path.write_bytes(file + chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", places, 32) + end)
    return path
