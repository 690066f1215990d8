"""Where a TIFF's pixel size comes from: OME, ImageJ, makers' tags, resolution; and what is no pixel size."""

import struct

import numpy as np
import pytest
import tifffile

from microloftr.images import read_image
from tests.format_files import ASCII, BYTES, RATIONAL, SHORT, page_tags, picture, tiff

GREY = picture()


def size(path, **options) -> float | None:
    tifffile.imwrite(path, GREY, **options)
    return read_image(path).um_per_px


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(0.1083, "µm", 0.1083), (4.5, "nm", 0.0045), (2.0, "Å", 2e-4), (0.03, "mm", 30.0), (4.5, "pixel", None)],
)
def test_ome(tmp_path, value, unit, expected):
    metadata = {"PhysicalSizeX": value, "PhysicalSizeXUnit": unit, "PhysicalSizeY": 2 * value}
    found = size(tmp_path / "a.tif", ome=True, metadata=metadata)
    assert found == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("step", "unit", "expected"),
    [
        (0.325, "um", 0.325),
        (0.325, "micron", 0.325),
        (0.325, r"\u00B5m", 0.325),
        (250, "nm", 0.25),
        (0.05, "mm", 50.0),
        (1 / 72, "inch", None),  # a 72 dpi picture that ImageJ saved
        (1 / 118, "cm", None),
        (1, "pixel", None),
        (1, "1/nm", None),
    ],
)
def test_imagej(tmp_path, step, unit, expected):
    found = size(tmp_path / "a.tif", imagej=True, resolution=(1 / step, 1 / step), metadata={"unit": unit})
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-4))


@pytest.mark.parametrize(
    ("pixels", "unit", "expected"),
    [
        (20000, "CENTIMETER", 0.5),
        (25400, "INCH", 1.0),
        *[(dpi, "INCH", None) for dpi in (1, 72, 96, 150, 300, 600, 1200)],
        *[(round(dpi / 2.54), "CENTIMETER", None) for dpi in (72, 96, 300)],
        (20000, "NONE", None),
    ],
)
def test_resolution_but_no_printers_default(tmp_path, pixels, unit, expected):
    assert size(tmp_path / "a.tif", resolution=(pixels, pixels), resolutionunit=unit) == expected


@pytest.mark.parametrize("kind", ["zero", "no number", "short", "no unit"])
def test_a_broken_resolution_says_nothing(tmp_path, kind):
    tags = {
        "zero": {282: (RATIONAL, [0, 0])},
        "no number": {282: (ASCII, b"many\0")},
        "short": {282: (SHORT, [20000])},
        "no unit": {282: (RATIONAL, [20000, 1]), 296: (SHORT, [9])},
    }[kind]
    path = tiff(tmp_path / "a.tif", page_tags(56, 40) | tags, GREY.tobytes())
    image = read_image(path)
    assert image.um_per_px is None and np.array_equal(image.pixels, GREY / np.float32(255))


def maker(tmp_path, code: int, value: bytes, kind: int = ASCII, data: bytes = b"") -> float | None:
    printed = {282: (RATIONAL, [72, 1]), 283: (RATIONAL, [72, 1]), 296: (SHORT, [2])}
    path = tiff(tmp_path / "a.tif", page_tags(56, 40) | printed | {code: (kind, value)}, data or GREY.tobytes())
    return read_image(path).um_per_px


def test_zeiss_electron_microscopes(tmp_path):
    lines = "0\r\nAP_MAG\r\nMag = 50.00 K X\r\n{}\r\n{} = 5.825 nm\r\n"
    for key, name in [("AP_PIXEL_SIZE", "Pixel Size"), ("AP_IMAGE_PIXEL_SIZE", "Image Pixel Size")]:
        assert maker(tmp_path, 34118, lines.format(key, name).encode() + b"\0") == pytest.approx(0.005825)
    both = lines.format("AP_PIXEL_SIZE", "Pixel Size") + "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 11.65 nm\r\n"
    assert maker(tmp_path, 34118, both.encode() + b"\0") == pytest.approx(0.01165)  # of the image that was stored
    assert maker(tmp_path, 34118, b"0\r\nAP_MAG\r\nMag = 50.00 K X\r\n\0") is None


def test_fei_electron_microscopes(tmp_path):
    for part in ("Scan", "EScan"):
        text = f"[User]\r\nUser=a\r\n[{part}]\r\nPixelWidth=3.37e-09\r\nPixelHeight=3.4e-09\r\n"
        assert maker(tmp_path, 34682, text.encode() + b"\0") == pytest.approx(0.00337)
    assert maker(tmp_path, 34682, b"[User]\r\nUser=a\r\n\0") is None


def test_olympus_sis(tmp_path):
    calibration = struct.pack("<10xhdd8xd2x34s32s", -9, 5.5, 5.5, 1e4, b"camera", b"type")
    data = calibration + GREY.tobytes()[len(calibration) :]  # at byte 8, where the pixels begin
    head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 1, 2, 3, 4, 118, b"name", 1) + struct.pack("<hhI", 1, 1, 8)
    assert maker(tmp_path, 33560, head, BYTES, data) == pytest.approx(0.0055)
    assert maker(tmp_path, 33560, b"nothing of the kind" * 4, BYTES) is None


def test_the_user_knows_better(tmp_path):
    assert size(tmp_path / "a.tif", resolution=(20000, 20000), resolutionunit="CENTIMETER") == 0.5
    assert read_image(tmp_path / "a.tif", um_per_px=3.0).um_per_px == 3.0
