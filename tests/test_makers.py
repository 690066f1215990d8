"""NPY, SER, DM3/DM4, CZI and ND2: values, pages, channels, pixel sizes and damage, on small files made here."""

import logging
import struct
import sys
import time
import tomllib
import tracemalloc
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from packaging.requirements import Requirement

from microloftr.errors import ImageError, ParameterError
from microloftr.formats.which import find_decoder
from microloftr.images import read_image, read_planes
from microloftr.pixels import stretch
from tests.format_files import czi, czi_tile, gatan, gatan_image, nd2, picture, ser

GREY = picture()
DEEP = GREY.astype(np.uint16) * 200
COLOUR = np.stack((GREY, 255 - GREY, np.roll(GREY, 9, 1)), -1)
LUMA = COLOUR @ (0.299, 0.587, 0.114) / 255
BLUE_FIRST = np.ascontiguousarray(COLOUR[:, :, ::-1])


def close(path: Path, expected: np.ndarray, atol: float = 1e-6, **options) -> None:
    np.testing.assert_allclose(read_image(path, **options).pixels, expected, atol=atol)


def save(path: Path, array: np.ndarray, **options) -> Path:
    np.save(path, array, **options)
    return path


# NPY


@pytest.mark.parametrize("kind", ["uint8", ">u2", "int32", "float64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_holds_one_array(tmp_path, kind, order):
    array = np.asarray(GREY > 120 if kind == "bool" else GREY, dtype=kind, order=order)
    expected = GREY / 255 if kind == "uint8" else array if kind == "bool" else stretch(array)
    close(save(tmp_path / "a.npy", array), expected)
    assert read_image(tmp_path / "a.npy").um_per_px is None


def test_npy_colours_follow_the_rules_of_files(tmp_path):
    path = save(tmp_path / "a.npy", np.dstack((COLOUR, GREY)))
    close(path, LUMA)
    close(path, COLOUR[:, :, 1] / 255, channel=1)
    with pytest.raises(ParameterError, match="page is 1"):
        read_image(path, page=1)


@pytest.mark.parametrize(
    "array", [np.zeros(5), np.zeros((3, 8, 8)), np.zeros((4, 4), complex), np.array([["a"]]), np.zeros((0, 4))]
)
def test_npy_that_is_no_image_is_refused(tmp_path, array):
    with pytest.raises(ImageError, match=r"a\.npy cannot be read: its array of shape|it has no pixels"):
        read_image(save(tmp_path / "a.npy", array))


def test_npy_with_objects_is_never_unpickled(tmp_path):
    path = save(tmp_path / "a.npy", np.array([[print, print]], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="type object is no image"):
        read_image(path)


# SER


@pytest.mark.parametrize("version", [0x210, 0x220])
def test_ser_rows_come_from_the_bottom_up(tmp_path, version):
    path = ser(tmp_path / "a.ser", [GREY, DEEP, GREY.astype(np.float32)], version)
    close(path, GREY / 255)
    close(path, stretch(DEEP), page=1)
    close(path, stretch(GREY.astype(np.float32)), page=2)
    assert read_image(path).um_per_px is None  # a number without a unit
    with pytest.raises(ParameterError, match="pages are numbered 0 to 2"):
        read_image(path, page=3)
    close(ser(tmp_path / "b.ser", [GREY, 255 - GREY]), np.maximum(GREY, 255 - GREY) / 255, projection="max")


def test_ser_without_images(tmp_path):
    with pytest.raises(ImageError, match="spectra, no images"):
        read_image(ser(tmp_path / "a.ser", [GREY], kind=0x4120))
    with pytest.raises(ImageError, match="no image in it"):
        read_image(ser(tmp_path / "b.ser", []))
    with pytest.raises(ImageError, match="complex64"):
        read_image(ser(tmp_path / "c.ser", [GREY.astype(np.complex64)]))


# DM3 and DM4


THUMBNAIL = gatan_image(np.zeros((5, 6), np.uint8), 6)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_gatan_versions_and_byte_orders(tmp_path, version, order):
    kinds = {1: np.int16, 2: np.float32, 7: np.int32, 10: np.uint16, 11: np.uint32, 12: np.float64}
    for kind, dtype in kinds.items():
        pixels = DEEP.astype(np.float64) - (20000 if np.dtype(dtype).kind in "if" else 0)
        image = gatan_image(pixels.astype(dtype), kind, 0.25, "nm", order)
        path = gatan(tmp_path / "a.dm3", [THUMBNAIL, image], version, order)
        close(path, stretch(DEEP))
        assert read_image(path).um_per_px == pytest.approx(2.5e-4)
    close(gatan(tmp_path / "b.dm3", [gatan_image(GREY, 6)], version, order, None), GREY / 255)
    close(gatan(tmp_path / "c.dm3", [gatan_image(GREY, 6)], version, order, 0), GREY / 255)  # nothing but the thumbnail


def test_gatan_colours_bits_and_stacks(tmp_path):
    rgba = np.dstack((BLUE_FIRST, np.zeros_like(GREY)))
    close(gatan(tmp_path / "a.dm3", [THUMBNAIL, gatan_image(rgba, 23)]), LUMA)
    close(gatan(tmp_path / "b.dm3", [THUMBNAIL, gatan_image((GREY > 120).astype(np.uint8), 14)]), GREY > 120)
    stack = np.stack((DEEP, DEEP[::-1], DEEP // 3))
    path = gatan(tmp_path / "c.dm3", [THUMBNAIL, gatan_image(stack, 10), gatan_image(GREY, 6)])
    close(path, stretch(stack[1]), page=1)
    close(path, GREY / 255, page=3)
    with pytest.raises(ParameterError, match="pages are numbered 0 to 3"):
        read_image(path, page=4)
    close(gatan(tmp_path / "d.dm3", [gatan_image(stack, 10)], thumbnail=None), stretch(stack.max(0)), projection="max")


@pytest.mark.parametrize(
    ("scale", "unit", "expected"),
    [(0.5, "µm", 0.5), (-2.0, "nm", 0.002), (1.5, "1/nm", None), (1.0, "", None), (0.0, "µm", None)],
)
def test_gatan_pixel_sizes(tmp_path, scale, unit, expected):
    path = gatan(tmp_path / "a.dm3", [gatan_image(GREY, 6, scale, unit)], thumbnail=None)
    assert read_image(path).um_per_px == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DataType": 99}, "unknown type 99"),
        ({"DataType": 3}, "cut off: pixel data are missing"),
        ({"Dimensions": {"0": 40}}, "spectra, no images"),
        ({"Dimensions": {"0": 41, "1": 56}}, "cut off: pixel data are missing"),
    ],
)
def test_gatan_tags_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(ImageError, match=message):
        read_image(gatan(tmp_path / "a.dm3", [gatan_image(GREY, 6, **changes)], thumbnail=None))


def test_a_reason_that_says_nothing_is_put_into_words(tmp_path):
    image = gatan_image(GREY, 6)
    del image["ImageData"]["Dimensions"]
    with pytest.raises(ImageError, match=r"it seems to be damaged \(KeyError: 'Dimensions'\)$"):
        read_image(gatan(tmp_path / "a.dm3", [image], thumbnail=None))


def test_gatan_groups_without_end(tmp_path):
    group = b"\0\0" + struct.pack(">i", 1) + struct.pack(">BH", 20, 0)
    (tmp_path / "a.dm3").write_bytes(struct.pack(">iii", 3, 0, 1) + group * 5000)
    with pytest.raises(ImageError, match="nested too deep"):
        read_image(tmp_path / "a.dm3")


# CZI


def test_czi_tiles_lie_where_they_belong(tmp_path):
    tiles = [
        czi_tile(DEEP[:, 20:], X=120, Y=-7, M=1),
        czi_tile(DEEP[:30, :25], X=100, Y=-7, M=0),
        czi_tile(DEEP[30:, :25], X=100, Y=23, M=2),  # reaches under the first one; equal there
        czi_tile(DEEP[::2, ::2], stored=(10, 14), X=100, Y=-7),  # of a pyramid
    ]
    image = read_image(czi(tmp_path / "a.czi", tiles))
    np.testing.assert_array_equal(image.pixels, stretch(DEEP))
    assert image.um_per_px == pytest.approx(0.25)
    assert read_image(czi(tmp_path / "b.czi", tiles, metres=None)).um_per_px is None


def test_czi_places_may_be_far_from_the_origin(tmp_path):
    tiles = [czi_tile(DEEP[:, :30], X=30_000_000, Y=-20_000_000), czi_tile(DEEP[:, 30:], X=30_000_030, Y=-20_000_000)]
    close(czi(tmp_path / "a.czi", tiles), stretch(DEEP))


def test_czi_without_a_directory_is_read_silently(tmp_path, recwarn, caplog, capfd):
    image = read_image(czi(tmp_path / "a.czi", [czi_tile(DEEP)], listed=False))
    np.testing.assert_array_equal(image.pixels, stretch(DEEP))
    assert image.um_per_px == pytest.approx(0.25)
    assert not recwarn.list and not caplog.records and capfd.readouterr() == ("", "")


def test_czi_channels_pages_and_scenes(tmp_path):
    planes = {}
    for scene in range(2):
        for z in range(3):
            for channel in range(2):
                planes[scene, z, channel] = np.roll(DEEP[: 40 - 4 * scene], (3 * z, 5 * channel), (0, 1))
    tiles = [czi_tile(plane, S=s, Z=z, C=c, X=900 * s) for (s, z, c), plane in planes.items()]
    path = czi(tmp_path / "a.czi", tiles[::-1])
    for (scene, z, channel), plane in planes.items():
        close(path, stretch(plane), page=3 * scene + z, channel=channel)
    for bad in ({"page": 6}, {"channel": 2}):
        with pytest.raises(ParameterError, match="are numbered 0 to"):
            read_image(path, **bad)
    with pytest.raises(ImageError, match="never written"):
        read_image(czi(tmp_path / "b.czi", tiles[1:4]), page=0)


@pytest.mark.parametrize("kind", ["raw", "lzw", "zstd", "zstd1", "zstd1 apart", "jpeg xr"])
def test_czi_compressions(tmp_path, kind):
    low_high = np.frombuffer(DEEP.tobytes(), np.uint8).reshape(-1, 2).T.tobytes()
    number, data = {
        "raw": (0, DEEP.tobytes()),
        "lzw": (2, imagecodecs.lzw_encode(DEEP.tobytes())),
        "zstd": (5, imagecodecs.zstd_encode(DEEP.tobytes())),
        "zstd1": (6, b"\1" + imagecodecs.zstd_encode(DEEP.tobytes())),
        "zstd1 apart": (6, b"\3\1\1" + imagecodecs.zstd_encode(low_high)),
        "jpeg xr": (4, imagecodecs.jpegxr_encode(DEEP)),
    }[kind]
    close(czi(tmp_path / "a.czi", [czi_tile(DEEP, data, number)]), stretch(DEEP))
    with pytest.raises(ImageError, match=r"a\.czi cannot be read"):  # said to be larger than it is
        read_image(czi(tmp_path / "a.czi", [czi_tile(np.vstack((DEEP, DEEP)), data, number)]))


def test_czi_colours(tmp_path):
    path = czi(tmp_path / "a.czi", [czi_tile(BLUE_FIRST)])
    close(path, LUMA)
    close(path, COLOUR[:, :, 2] / 255, channel=2)
    packed = imagecodecs.zstd_encode(BLUE_FIRST.tobytes())
    close(czi(tmp_path / "b.czi", [czi_tile(BLUE_FIRST, packed, 5)]), LUMA)
    jpeg = imagecodecs.jpeg_encode(COLOUR, level=98, subsampling="444")
    close(czi(tmp_path / "c.czi", [czi_tile(BLUE_FIRST, jpeg, 1)]), LUMA, atol=0.03)
    close(czi(tmp_path / "d.czi", [czi_tile(BLUE_FIRST, imagecodecs.jpegxr_encode(COLOUR), 4)]), LUMA, atol=0.03)


def test_czi_that_cannot_be_read(tmp_path):
    with pytest.raises(ImageError, match=r"compression (77|-1) is not read"):
        read_image(czi(tmp_path / "a.czi", [czi_tile(DEEP, b"abc", 77)]))
    with pytest.raises(ImageError, match="no image at full resolution"):
        read_image(czi(tmp_path / "b.czi", [czi_tile(DEEP, stored=(10, 14))]))
    with pytest.raises(ImageError, match="no image at full resolution"):
        read_image(czi(tmp_path / "c.czi", []))


# ND2


FRAMES = [np.dstack((DEEP + n, DEEP.max() - DEEP + n)) for n in range(3)]


def test_nd2_channels_and_pages(tmp_path):
    path = nd2(tmp_path / "a.nd2", FRAMES)
    for page, channel in np.ndindex(3, 2):
        close(path, stretch(FRAMES[page][:, :, channel]), page=page, channel=channel)
    close(path, stretch(DEEP + 2), projection="max")
    assert read_image(path).um_per_px == pytest.approx(0.325)
    assert read_image(nd2(tmp_path / "b.nd2", FRAMES, um=None)).um_per_px is None
    for bad in ({"page": 3}, {"channel": 2}):
        with pytest.raises(ParameterError, match="are numbered 0 to"):
            read_image(path, **bad)


def test_nd2_colours_are_stored_blue_first(tmp_path):
    path = nd2(tmp_path / "a.nd2", [BLUE_FIRST], colour=True)
    close(path, LUMA)
    close(path, COLOUR[:, :, 0] / 255, channel=0)
    assert read_planes(path).pixels.shape == COLOUR.shape


def test_nd2_is_read_silently(tmp_path, monkeypatch, recwarn, caplog):
    from nd2 import ND2File

    def loud(file, number, read_frame=ND2File.read_frame):
        warnings.warn("careful", stacklevel=1)
        logging.getLogger("nd2").warning("careful")
        return read_frame(file, number)

    monkeypatch.setattr(ND2File, "read_frame", loud)
    close(nd2(tmp_path / "a.nd2", FRAMES), stretch(DEEP))
    assert not recwarn.list and not caplog.records


def test_nd2_rows_may_be_padded(tmp_path):
    padded = np.hstack((FRAMES[0], np.zeros((40, 2, 2), np.uint16)))
    close(nd2(tmp_path / "a.nd2", [padded], uiWidth=56), stretch(DEEP))


def test_nd2_frames_that_are_missing(tmp_path):
    path = nd2(tmp_path / "a.nd2", FRAMES[:1], uiSequenceCount=3)
    close(path, stretch(DEEP))
    with pytest.raises(ImageError, match="page 1 is missing or holds nothing but zeros"):
        read_image(path, page=1)
    with pytest.raises(ImageError, match=r"a\.nd2 cannot be read"):
        read_image(path, page=2)


# All of them


def huge(number: int, folder: Path) -> Path:
    """A small file that declares 100000 × 90000 pixels."""
    if number == 0:
        header = {"descr": "<f8", "fortran_order": False, "shape": (90000, 100000)}
        with open(folder / "a.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
        return folder / "a.npy"
    if number == 1:
        path = ser(folder / "a.ser", [GREY])
        path.write_bytes(path.read_bytes().replace(struct.pack("<ii", 56, 40), struct.pack("<ii", 100000, 90000)))
        return path
    if number == 2:
        changes = {"Dimensions": {"0": 100000, "1": 90000}}
        return gatan(folder / "a.dm3", [gatan_image(GREY, 6, **changes)], thumbnail=None)
    if number == 3:
        return czi(folder / "a.czi", [czi_tile(GREY), czi_tile(GREY, X=100000 - 56, Y=90000 - 40)])
    if number == 4:
        tile = czi_tile(GREY)
        return czi(folder / "b.czi", [((90000, 100000), *tile[1:])])
    if number == 5:
        return nd2(folder / "a.nd2", FRAMES[:1], uiWidth=100000, uiWidthBytes=400000, uiHeight=90000)
    return nd2(folder / "b.nd2", FRAMES[:1], uiWidthBytes=400000, uiHeight=90000)


@pytest.mark.parametrize("number", range(7))
def test_absurd_sizes_are_refused_before_memory_is_touched(tmp_path, number):
    path = huge(number, tmp_path)
    with pytest.raises(ImageError):  # what a reader loads when first used is no part of the measure
        read_image(path)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"declares 100000×90000 pixels"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


MADE = {
    "a.npy": lambda path: save(path, DEEP),
    "a.ser": lambda path: ser(path, [DEEP]),
    "a.dm3": lambda path: gatan(path, [THUMBNAIL, gatan_image(DEEP, 10)]),
    "a.dm4": lambda path: gatan(path, [THUMBNAIL, gatan_image(DEEP, 10)], 4),
    "a.czi": lambda path: czi(path, [czi_tile(DEEP)]),
    "a.nd2": lambda path: nd2(path, FRAMES[:1]),
}


@pytest.mark.parametrize("name", MADE)
def test_damage_gives_one_line_and_no_noise(tmp_path, name, capfd, caplog):
    """Files cut off are refused; with bytes changed they are read or refused, and nothing else happens."""
    path = MADE[name](tmp_path / name)
    close(path, stretch(DEEP))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    changed = []
    for _ in range(25):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 600), 3):
            damaged[place] = rng.integers(256)
        changed.append(bytes(damaged))
    cuts = [whole[: int(len(whole) * part)] for part in (0.001, 0.05, 0.2, 0.5, 0.9, 0.99)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, content in enumerate([*cuts, *changed]):
            path.write_bytes(content)
            begin = time.perf_counter()
            try:
                read_image(path)
                assert number >= len(cuts), f"{name} was read from {len(content)} of {len(whole)} bytes"
            except ImageError as error:
                assert str(path) in str(error) and "\n" not in str(error)
            assert time.perf_counter() - begin < 2
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_formats_are_told_apart_by_content(tmp_path):
    for name, make in MADE.items():
        close(make(tmp_path / name).rename(tmp_path / "unnamed.tif"), stretch(DEEP))
    assert find_decoder(b"\x89PNG\r\n\x1a\n") is None and find_decoder(b"") is None


@pytest.mark.parametrize(("package", "name"), [("nd2", "a.nd2"), ("czifile", "a.czi")])
def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch, package, name):
    path = MADE[name](tmp_path / name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImageError, match=rf"{name} cannot be read: it is a .* file, which needs the package {package}.*\[formats\]"
    ):
        read_image(path)
    root = Path(__file__).parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert package in {Requirement(text).name for text in extras["formats"]}
    assert set(extras["formats"]) <= set(extras["dev"])  # so that these tests run
