"""TIFF, OME-TIFF and ImageJ TIFF: types, layouts, axes, pixel sizes and damage, on files made here."""

import logging
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from microloftr.errors import ImageError, ParameterError
from microloftr.images import read_image, read_planes
from microloftr.pixels import stretch
from tests.format_files import SHORT, page_tags, tiff

LUMA = (0.299, 0.587, 0.114)


@pytest.fixture
def grey():
    y, x = np.mgrid[:48, :64]
    return (100 + 60 * np.sin(x / 5.0) + 40 * np.cos(y / 7.0 + x / 11.0)).astype(np.uint8)


@pytest.fixture
def stack():
    """(T 2, Z 3, C 2, 24, 32) uint16; each plane is told apart by a bright square of its own."""
    planes = np.zeros((2, 3, 2, 24, 32), np.uint16)
    for number, place in enumerate(np.ndindex(2, 3, 2)):
        planes[place][:, :] = np.arange(32) * 10
        planes[place][4:8, 2 * number : 2 * number + 4] = 3000
    return planes


def write(path, pixels, **options):
    tifffile.imwrite(path, pixels, **options)
    return path


@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "int32", "float32", "float64", "uint64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_types_and_byte_orders(tmp_path, grey, kind, order):
    pixels = (grey.astype(np.float64) * 7 - (300 if kind[0] in "if" else 0)).astype(kind)
    image = read_image(write(tmp_path / "a.tif", pixels, byteorder=order))
    assert image.pixels.dtype == np.float32
    np.testing.assert_allclose(image.pixels, stretch(grey.astype(np.uint16)), atol=1e-5)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"bigtiff": True}])
def test_compressions_and_layouts(tmp_path, grey, compression, layout):
    path = write(tmp_path / "a.tif", grey, compression=compression, **layout)
    np.testing.assert_allclose(read_image(path).pixels, grey / 255.0, atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_few_bits_per_pixel(tmp_path, order, photometric):
    """1, 2 and 4 bits packed into bytes, black or white being 0, in both byte orders."""
    for bits in (1, 2, 4):
        values = (np.arange(12 * 16).reshape(12, 16) * 7 // 3) % 2**bits
        shifts = np.arange(8 // bits)[::-1] * bits
        packed = (values.reshape(12, -1, 8 // bits) << shifts).sum(-1).astype(np.uint8)
        path = tiff(tmp_path / "a.tif", page_tags(16, 12, [bits], photometric), packed.tobytes(), order)
        expected = values / (2**bits - 1)
        np.testing.assert_allclose(read_image(path).pixels, expected if photometric else 1 - expected, atol=1e-6)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_deflate"])
def test_compressions_of_two_values(tmp_path, grey, compression):
    bits = grey > 120
    PillowImage.fromarray(bits).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, bits.astype(np.float32))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [4, 8])
def test_palettes_of_16_and_256_colours(tmp_path, order, bits):
    index = np.arange(12 * 16).reshape(12, 16) % 2**bits
    data = index if bits == 8 else (index[:, ::2] << 4) + index[:, 1::2]
    table = np.random.default_rng(0).integers(0, 256, (3, 2**bits))
    tags = page_tags(16, 12, [bits], 3) | {320: (SHORT, [int(value) * 257 for value in table.ravel()])}
    path = tiff(tmp_path / "a.tif", tags, data.astype(np.uint8).tobytes(), order)
    np.testing.assert_allclose(read_image(path).pixels, np.tensordot(LUMA, table[:, index], 1) / 255, atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_planes_one_after_the_other(tmp_path, grey, order):
    rgb = np.stack((grey, 255 - grey, grey[::-1])).astype(np.uint16) * 200
    data = rgb.astype(rgb.dtype.newbyteorder(order)).tobytes()
    tags = page_tags(64, 48, [16] * 3, 2) | {284: (SHORT, [2])}
    size = len(data) // 3
    path = tiff(tmp_path / "a.tif", tags, data, order, strips=[(8 + n * size, size) for n in range(3)])
    np.testing.assert_allclose(read_planes(path).pixels, stretch(np.moveaxis(rgb, 0, -1)), atol=1e-6)


def test_white_is_zero_in_stretched_and_projected_images(tmp_path, grey):
    deep = grey.astype(np.uint16) * 200
    path = write(tmp_path / "a.tif", 60000 - deep, photometric="miniswhite")
    np.testing.assert_allclose(read_image(path).pixels, stretch(deep), atol=1e-5)
    path = write(tmp_path / "b.tif", 255 - np.stack((grey, grey[::-1])), photometric="miniswhite")
    brightest = np.maximum(grey, grey[::-1]) / 255
    np.testing.assert_allclose(read_image(path, projection="max").pixels, brightest, atol=1e-6)


@pytest.mark.parametrize("layout", [{"tile": (32, 32)}, {"rowsperstrip": 16}])
def test_jpeg_in_tiff(tmp_path, grey, layout):
    colour = np.stack((grey, 200 - grey // 2, grey[::-1]), -1)
    options = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 97}, **layout}
    path = write(tmp_path / "a.tif", colour, **options)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR  # as scanners write it
    found = read_image(path).pixels
    assert np.abs(found - colour @ LUMA / 255).mean() < 0.02
    one = write(tmp_path / "b.tif", grey, compression="jpeg", compressionargs={"level": 97}, **layout)
    assert np.abs(read_image(one).pixels - grey / 255).mean() < 0.02
    raw = tiff(tmp_path / "c.tif", page_tags(64, 48, [8] * 3, 6) | {530: (SHORT, [1, 1])}, colour.tobytes())
    with pytest.raises(ImageError, match="YCBCR is read in JPEG only"):
        read_image(raw)


@pytest.mark.parametrize("ome", [True, False])
@pytest.mark.parametrize("bigtiff", [True, False])
def test_of_a_pyramid_the_largest_image_is_read(tmp_path, grey, ome, bigtiff):
    large = np.kron(grey, np.ones((4, 4), np.uint8))
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    metadata = {"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm"} if ome else None
    with tifffile.TiffWriter(path, ome=ome, bigtiff=bigtiff) as file:
        options = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack"}
        file.write(large, subifds=2, metadata=metadata, **options)
        file.write(large[::2, ::2], subfiletype=1, **options)
        file.write(large[::4, ::4], subfiletype=1, **options)
    image = read_image(path)
    np.testing.assert_allclose(image.pixels, large / 255.0, atol=1e-6)
    assert image.um_per_px == (pytest.approx(0.1) if ome else None)
    with pytest.raises(ParameterError, match="one page"):
        read_image(path, page=1)


def test_of_a_slide_the_base_is_read(tmp_path, grey):
    base = np.kron(np.stack((grey, 255 - grey, grey[::-1]), -1), np.ones((4, 4, 1), np.uint8))
    about = "Aperio Image Library v11.2.1\n{} [0,0 256x192] (64x64) JPEG/RGB Q=90{}"
    options = {"photometric": "rgb", "metadata": None, "compression": "jpeg", "compressionargs": {"level": 97}}
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        file.write(base, description=about.format("256x192", "|AppMag = 20|MPP = 0.4990"), tile=(64, 64), **options)
        file.write(base[::8, ::8], description=about.format("256x192 -> 32x24 - ", "|MPP = 0.4990"), **options)
        text = about.format("256x192 -> 64x48", "|AppMag = 20|MPP = 0.4990")
        file.write(base[::4, ::4], description=text, tile=(64, 64), **options)
        file.write(base[:30, :40], description="Aperio Image Library v11.2.1\nlabel 40x30", subfiletype=1, **options)
    image = read_image(tmp_path / "a.svs")
    assert image.pixels.shape == (192, 256) and image.um_per_px == pytest.approx(0.499)
    assert np.abs(image.pixels - base @ LUMA / 255).mean() < 0.02
    thumbnail = read_image(tmp_path / "a.svs", page=1)
    assert thumbnail.pixels.shape == (24, 32) and thumbnail.um_per_px is None


def test_black_and_white_meanings(tmp_path, grey):
    inverted = write(tmp_path / "w.tif", 255 - grey, photometric="miniswhite")
    np.testing.assert_allclose(read_image(inverted).pixels, grey / 255.0, atol=1e-6)
    bits = np.eye(16, dtype=bool)
    ones_are = {"minisblack": bits, "miniswhite": ~bits}
    for photometric, expected in ones_are.items():
        path = write(tmp_path / "b.tif", bits, photometric=photometric)
        assert np.array_equal(read_image(path).pixels, expected.astype(np.float32))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_layouts(tmp_path, grey, planar):
    rgb = np.stack((grey, 255 - grey, grey[::-1]), -1)
    pixels = rgb if planar == "contig" else np.moveaxis(rgb, -1, 0)
    path = write(tmp_path / "a.tif", np.ascontiguousarray(pixels), photometric="rgb", planarconfig=planar)
    np.testing.assert_allclose(read_image(path).pixels, rgb @ LUMA / 255, atol=1e-6)
    np.testing.assert_allclose(read_image(path, channel=2).pixels, grey[::-1] / 255.0, atol=1e-6)
    with pytest.raises(ParameterError, match="numbered 0 to 2"):
        read_image(path, channel=3)


def test_alpha_is_dropped_and_16_bit_colours_share_their_limits(tmp_path, grey):
    rgba = np.stack((grey, grey // 2, grey // 4, 255 - grey), -1)
    path = write(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_allclose(read_image(path).pixels, rgba[:, :, :3] @ LUMA / 255, atol=1e-6)
    grey_alpha = np.stack((grey, 255 - grey), -1)
    path = write(tmp_path / "la.tif", grey_alpha, photometric="minisblack", extrasamples=["unassalpha"])
    np.testing.assert_allclose(read_image(path).pixels, grey / 255.0, atol=1e-6)
    deep = rgba[:, :, :3].astype(np.uint16) * 200
    planes = read_planes(write(tmp_path / "rgb16.tif", deep, photometric="rgb")).pixels
    middle = (planes[:, :, 0] > 0.1) & (planes[:, :, 0] < 0.99)
    assert planes[:, :, 1].max() < 0.55 and middle.any()  # half as bright stays half as bright


def test_palette_is_looked_up_but_imagej_tables_only_tint(tmp_path):
    index = np.arange(64, dtype=np.uint8).reshape(8, 8)
    table = np.zeros((3, 256), np.uint16)
    table[1] = np.arange(256)[::-1] * 257
    path = write(tmp_path / "a.tif", index, photometric="palette", colormap=table)
    np.testing.assert_allclose(read_image(path).pixels, (255 - index) * LUMA[1] / 255, atol=1e-6)
    path = write(tmp_path / "ij.tif", index, imagej=True, photometric="palette", colormap=table)
    np.testing.assert_allclose(read_image(path).pixels, index / 255.0, atol=1e-6)


@pytest.mark.parametrize("kind", ["ome", "ome-zlib", "imagej"])
def test_every_plane_of_a_hyperstack_is_found(tmp_path, stack, kind):
    options = {"imagej": {"imagej": True}, "ome-zlib": {"ome": True, "compression": "zlib"}}.get(kind, {"ome": True})
    path = write(tmp_path / "a.ome.tif", stack, metadata={"axes": "TZCYX"}, photometric="minisblack", **options)
    for page in range(6):
        for channel in range(2):
            expected = stretch(stack[page // 3, page % 3, channel])
            assert np.array_equal(read_image(path, page=page, channel=channel).pixels, expected), (page, channel)
    assert np.array_equal(read_image(path).pixels, stretch(stack[0, 0, 0])) and read_image(path).name == "a"
    for bad in ({"page": 6}, {"channel": 2}):
        with pytest.raises(ParameterError, match=f"{next(iter(bad))}s are numbered 0 to"):
            read_image(path, **bad)


def test_projections(tmp_path, stack):
    path = write(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TZCYX"})
    planes = stack[:, :, 1].reshape(6, 24, 32)
    highest = read_image(path, channel=1, projection="max").pixels
    assert np.array_equal(highest, stretch(planes.max(0)))
    mean = read_image(path, channel=1, projection="mean").pixels
    np.testing.assert_allclose(mean, stretch(np.rint(planes.mean(0)).astype(np.uint16)), atol=1e-6)
    holes = planes[:2].astype(np.float32)
    holes[0, :2], holes[:, 5] = np.nan, np.nan
    path = write(tmp_path / "f.tif", holes, photometric="minisblack")
    expected = holes[1].copy()
    expected[2:] = np.fmax(holes[0], holes[1])[2:]
    assert np.array_equal(read_image(path, projection="max").pixels, stretch(expected))
    expected[2:] = holes.mean(0)[2:]
    np.testing.assert_allclose(read_image(path, projection="mean").pixels, stretch(expected), atol=1e-6)


def test_pages_of_two_sizes_are_counted_on(tmp_path, grey):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.stack((grey, grey.T.reshape(grey.shape))), photometric="minisblack")
        file.write(grey[:20, :30])
    assert np.array_equal(read_image(tmp_path / "a.tif", page=2).pixels, grey[:20, :30].astype(np.float32) / 255)
    assert read_image(tmp_path / "a.tif").pixels.shape == grey.shape
    with pytest.raises(ParameterError, match="page is 3; pages are numbered 0 to 2"):
        read_image(tmp_path / "a.tif", page=3)


def patched(path, tag, value):
    """Overwrite the value (or its place) that a tag holds in the first page of a little-endian TIFF."""
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[tag]
    with open(path, "r+b") as file:
        file.seek(entry.offset + 8)
        file.write(struct.pack("<H" if entry.dtype == tifffile.DATATYPE.SHORT else "<I", value))
    return path


def test_declared_size_and_missing_data_are_refused(tmp_path, grey):
    path = write(tmp_path / "huge.tif", np.zeros((8, 70000), np.uint8))
    with pytest.raises(ImageError, match="70000×300000"):
        read_image(patched(path, "ImageLength", 300000))
    for compression in (None, "zlib"):
        path = write(tmp_path / "cut.tif", grey, compression=compression)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(ImageError, match=r"cut\.tif cannot be read.*(cut off|missing)"):
            read_image(path)
    path = write(tmp_path / "stack.tif", np.zeros((4, 48, 64), np.uint16), imagej=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes()[:-8000])
    with pytest.raises(ImageError, match="cut off: images of its stack are missing"):
        read_image(path)
    path = write(tmp_path / "pages.tif", np.zeros((4, 48, 64), np.uint16), photometric="minisblack", metadata=None)
    patched(path, "StripOffsets", path.stat().st_size - 64)  # data of the first page would end beyond the file
    with pytest.raises(ImageError, match="cut off: pixel data are missing"):
        read_image(path)
    assert not read_image(path, page=1).pixels.any()  # what is there can be read


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(("start", "back"), [(0, 0), (2, 0), (2, 1), (2, 2)])
def test_pages_that_go_round_in_a_circle_are_refused(tmp_path, grey, bigtiff, start, back):
    """Page `start`, the last one, names page `back` as the next."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        for _ in range(start + 1):
            file.write(grey, contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as file:
        last, target = file.pages[start], file.pages[back].offset
        place = last.offset + (8 + 20 * len(last.tags) if bigtiff else 2 + 12 * len(last.tags))
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(struct.pack("<Q" if bigtiff else "<I", target))
    with pytest.raises(ImageError, match="go round in a circle"):
        read_image(path)


def test_unknown_colour_models_and_numbers_are_refused(tmp_path, grey):
    path = write(tmp_path / "a.tif", np.dstack([grey] * 4), photometric="separated")
    with pytest.raises(ImageError, match="SEPARATED is not read"):
        read_image(path)
    with pytest.raises(ImageError, match="complex64"):
        read_image(write(tmp_path / "c.tif", grey.astype(np.complex64)))


def test_tifffile_is_silent_for_us_and_only_for_us(tmp_path, grey, caplog, capfd):
    path = write(tmp_path / "a.tif", grey, description="x" * 100, metadata=None)
    patched(path, "ImageDescription", 2**31)
    with caplog.at_level(logging.DEBUG):
        tifffile.imread(path)
        assert caplog.records  # the fault is loud by itself
        caplog.clear()
        np.testing.assert_allclose(read_image(path).pixels, grey / 255.0, atol=1e-6)
        assert not caplog.records
        tifffile.imread(path)
        assert caplog.records
    assert capfd.readouterr() == ("", "")
