"""read_image, as_image and resize: every value, size and error is checked on files made here."""

import io
import struct
import tracemalloc
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from microloftr.errors import ImageError, ParameterError
from microloftr.images import Image, as_image, read_image, read_planes, resize
from microloftr.pixels import PIXEL_LIMIT, stretch

LUMA = (0.299, 0.587, 0.114)


@pytest.fixture
def grey():
    y, x = np.mgrid[:40, :56]
    return (100 + 60 * np.sin(x / 5.0) + 40 * np.cos(y / 7.0 + x / 11.0)).astype(np.uint8)


@pytest.fixture
def colour(grey):
    return np.stack((grey, 255 - grey, np.roll(grey, 9, axis=1)), axis=-1)


def luma(pixels):
    return pixels.astype(np.float64) @ LUMA / 255


def save(pixels, path, **options):
    PillowImage.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "pgm", "gif", "webp", "jp2"])
def test_eight_bits_are_divided_by_255(tmp_path, grey, suffix):
    options = {"webp": {"lossless": True}, "jp2": {"irreversible": False}}.get(suffix, {})
    image = read_image(save(grey, tmp_path / f"a.{suffix}", **options))
    assert image.pixels.dtype == np.float32 and image.pixels.flags.c_contiguous and image.name == "a"
    np.testing.assert_allclose(image.pixels, grey / 255.0, atol=1e-6)


def test_dark_eight_bit_image_is_not_stretched(tmp_path):
    assert read_image(save(np.full((9, 9), 12, np.uint8), tmp_path / "a.png")).pixels.max() == pytest.approx(12 / 255)


def test_jpeg_is_close_to_what_was_written(tmp_path, colour):
    image = read_image(save(colour, tmp_path / "a.JPG", format="JPEG", quality=95, subsampling=0))
    assert np.abs(image.pixels - luma(colour)).mean() < 0.02


def test_colour_becomes_luma_and_alpha_is_dropped(tmp_path, grey, colour):
    alpha = np.roll(grey, 3, axis=0)
    rgba = save(np.dstack((colour, alpha)), tmp_path / "rgba.png")
    grey_alpha = tmp_path / "la.png"
    PillowImage.merge("LA", [PillowImage.fromarray(grey), PillowImage.fromarray(alpha)]).save(grey_alpha)
    np.testing.assert_allclose(read_image(rgba).pixels, luma(colour), atol=1e-6)
    np.testing.assert_allclose(read_image(grey_alpha).pixels, grey / 255.0, atol=1e-6)


def test_palette_is_looked_up(tmp_path):
    picture = PillowImage.new("P", (2, 2))
    picture.putdata([0, 1, 2, 1])
    picture.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png")
    expected = luma(np.array([[[255, 0, 0], [0, 255, 0]], [[10, 20, 30], [0, 255, 0]]]))
    np.testing.assert_allclose(read_image(tmp_path / "a.png").pixels, expected, atol=1e-6)


def test_two_valued_png_is_black_and_white(tmp_path):
    bits = np.eye(12, dtype=bool)
    PillowImage.fromarray(bits).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, bits.astype(np.float32))


def test_channel_picks_a_colour_and_read_planes_keeps_all(tmp_path, colour):
    path = save(colour, tmp_path / "a.png")
    for channel in range(3):
        expected = colour[:, :, channel] / 255.0
        np.testing.assert_allclose(read_image(path, channel=channel).pixels, expected, atol=1e-6)
    np.testing.assert_allclose(read_planes(path).pixels, colour / 255.0, atol=1e-6)


def test_invert_swaps_black_and_white(tmp_path, grey):
    path = save(grey, tmp_path / "a.png")
    np.testing.assert_allclose(read_image(path, invert=True).pixels, 1 - grey / 255.0, atol=1e-6)


def test_sixteen_bit_png_keeps_its_bits(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1000
    colour = np.dstack((ramp, ramp[::-1], ramp.T))
    (tmp_path / "colour.png").write_bytes(imagecodecs.png_encode(colour))
    grey = read_image(save(ramp, tmp_path / "grey.png")).pixels
    assert len(np.unique(grey)) > 4000
    red = read_image(tmp_path / "colour.png", channel=0).pixels
    assert np.array_equal(red, grey) and len(np.unique(red)) > 4000


def test_stretch_maps_the_percentiles_and_is_linear_between():
    values = np.random.default_rng(0).normal(1000, 100, (200, 200))
    for pixels in (values, values.astype(np.float32), values - 5000):
        limits = np.percentile(pixels, (0.1, 99.9))
        result = stretch(pixels)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, np.clip((pixels - limits[0]) / (limits[1] - limits[0]), 0, 1), atol=1e-5)
    clipped = np.mean((stretch(values) == 0) | (stretch(values) == 1))
    assert clipped == pytest.approx(0.002, abs=2e-4)


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_constant_image_becomes_zero(value):
    assert not stretch(np.full((20, 20), value, np.uint16)).any()


def test_not_a_number_and_infinity_do_not_spread():
    pixels = np.linspace(-0.3, 0.7, 400, dtype=np.float32).reshape(20, 20)
    clean = stretch(pixels)
    broken = pixels.copy()
    broken[3:5, 4:8], broken[0, 0], broken[19, 19] = np.nan, -np.inf, np.inf
    result = stretch(broken)
    assert np.isfinite(result).all() and result[0, 0] == 0 and result[19, 19] == 1
    assert 0.3 < result[4, 5] < 0.7  # the median
    untouched = np.isfinite(broken)
    assert np.abs(result - clean)[untouched].max() < 0.02
    assert not stretch(np.full((5, 5), np.nan)).any()


def test_few_bright_pixels_on_black_survive():
    sky = np.zeros((100, 100), np.uint16)
    sky[50, 50:53] = 900
    assert stretch(sky)[50, 51] == 1 and stretch(sky).sum() == 3


def test_pixel_size_from_png_and_by_the_user(tmp_path, grey):
    fine = save(grey, tmp_path / "fine.png", dpi=(50800, 50800))
    screen = save(grey, tmp_path / "screen.png", dpi=(72, 72))
    assert read_image(fine).um_per_px == pytest.approx(0.5, rel=1e-3)
    assert read_image(screen).um_per_px is None  # 353 µm per pixel is a default, no microscope
    assert read_image(fine, um_per_px=0.2).um_per_px == 0.2


def broken_files(folder):
    good = io.BytesIO()
    PillowImage.fromarray(np.random.default_rng(1).integers(0, 255, (99, 99), np.uint8)).save(good, "PNG")
    jpeg = io.BytesIO()
    PillowImage.fromarray(np.random.default_rng(1).integers(0, 255, (99, 99), np.uint8)).save(jpeg, "JPEG")
    (folder / "folder.png").mkdir()
    contents = {
        "text.png": b"x,y\n1,2\n", "empty.png": b"", "cut.png": good.getvalue()[:3000],
        "head.png": good.getvalue()[:20], "cut.jpg": jpeg.getvalue()[:3000],
        "text.tif": b"II*\0 no TIFF at all", "short.tif": b"II*\0",
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [*contents, "folder.png", "missing.png", "a\0b.png"]


def test_each_broken_file_gives_one_line_that_names_it(tmp_path, capfd, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in broken_files(tmp_path):
            with pytest.raises(ImageError) as caught:
                read_image(tmp_path / name)
            message = str(caught.value)
            assert message.startswith(str(tmp_path / name)) and "\n" not in message, name
    assert capfd.readouterr() == ("", "") and not caplog.records


def test_declared_size_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 1000)
    assert read_image(save(np.zeros((50, 50), np.uint8), tmp_path / "a.png")).pixels.shape == (50, 50)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 200000, 200000, 8, 0, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)))
    tracemalloc.start()
    with pytest.raises(ImageError, match=f"200000×200000.*{PIXEL_LIMIT}"):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24 and PillowImage.MAX_IMAGE_PIXELS == 1000  # Pillow's own limit is back


def test_too_little_memory_is_an_error_that_names_the_file(tmp_path, grey, monkeypatch):
    def greedy(plane):
        raise MemoryError

    monkeypatch.setattr("microloftr.images.normalise", greedy)
    with pytest.raises(ImageError, match=r"a\.png cannot be read: it needs more memory than there is"):
        read_image(save(grey, tmp_path / "a.png"))


def test_images_do_not_share_memory_with_what_they_were_made_from(grey):
    array = (grey / 255).astype(np.float32)
    image = as_image(array)
    again = as_image(image)
    array[:] = 0
    image.pixels[:] = 1
    np.testing.assert_allclose(again.pixels, grey / 255, atol=1e-6)


def test_a_large_plane_is_stretched_without_copies_of_it():
    plane = np.arange(2**24, dtype=np.uint16).reshape(4096, 4096)
    tracemalloc.start()
    result = stretch(plane)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.dtype == np.float32 and peak < 2.5 * result.nbytes  # the percentiles' sample, then block by block


def declares(name, path):
    """A file of a few bytes whose header says 60000 × 50000 pixels."""
    small = np.zeros((8, 8), np.uint8)
    if name == "a.pgm":
        path.write_bytes(b"P5 60000 50000 255\n" + bytes(64))
        return path
    content = bytearray(save(small, path).read_bytes())
    if name == "a.bmp":
        content[18:26] = struct.pack("<ii", 60000, 50000)
    elif name == "a.gif":
        content[6:10] = struct.pack("<HH", 60000, 50000)
    elif name == "a.jpg":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", 50000, 60000)
    else:
        at = content.index(b"ihdr") + 4
        content[at : at + 8] = struct.pack(">II", 50000, 60000)
        at = content.index(b"\xff\x51") + 6
        content[at : at + 8] = struct.pack(">II", 60000, 50000)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.pgm", "a.bmp", "a.gif", "a.jpg", "a.jp2"])
def test_each_header_that_declares_too_much_is_refused(tmp_path, name):
    path = declares(name, tmp_path / name)
    tracemalloc.start()
    with pytest.raises(ImageError, match="declares 60000×50000"):
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel": 3}, "channel is 3; channels are numbered 0 to 2"),
        ({"channel": -1}, "channel is -1"),
        ({"channel": True}, "channel is True"),
        ({"page": 1}, "page is 1; the image has one page, number 0"),
        ({"page": 0.0}, "page is 0.0"),
        ({"projection": "sum"}, "projection is 'sum'"),
        ({"page": 0, "projection": "max"}, "exclude each other"),
        ({"um_per_px": 0}, "um_per_px is 0"),
        ({"um_per_px": float("nan")}, "um_per_px is nan"),
        ({"invert": 1}, "invert is 1"),
    ],
)
def test_bad_options_name_what_is_wrong(tmp_path, colour, options, message):
    path = save(colour, tmp_path / "a.png")
    with pytest.raises(ParameterError, match=message):
        read_image(path, **options)


def test_as_image_takes_paths_arrays_and_images(tmp_path, grey, colour):
    image = as_image(save(grey, tmp_path / "a.png"), um_per_px=0.3)
    assert image.name == "a" and image.um_per_px == 0.3
    assert as_image(image).pixels is not None and as_image(image, um_per_px=0.1).um_per_px == 0.1
    np.testing.assert_allclose(as_image(image, invert=True).pixels, 1 - image.pixels)
    assert as_image(grey).name == "array"
    np.testing.assert_allclose(as_image(grey).pixels, image.pixels)
    np.testing.assert_allclose(as_image(colour).pixels, luma(colour), atol=1e-6)
    np.testing.assert_allclose(as_image(colour, channel=1).pixels, colour[:, :, 1] / 255.0, atol=1e-6)
    narrow = np.full((4, 4), 0.5)
    narrow[0] = 0.25
    assert np.array_equal(as_image(narrow).pixels, narrow.astype(np.float32))  # in 0..1 already: no stretch
    assert as_image(narrow * 100).pixels.max() == 1
    assert isinstance(as_image(narrow), Image) and as_image(np.eye(3, dtype=bool)).pixels[1, 1] == 1


@pytest.mark.parametrize(
    "array", [np.zeros(5), np.zeros((3, 8, 8)), np.zeros((2, 2), complex), np.array([["a"]]), np.zeros((0, 4)), None]
)
def test_as_image_refuses_what_is_no_image(array):
    with pytest.raises(ImageError, match="array of shape"):
        as_image(array)


def test_as_image_refuses_options_that_do_not_apply(grey):
    with pytest.raises(ParameterError, match="page is no option"):
        as_image(grey, page=1)
    with pytest.raises(ParameterError, match="channel is 1"):
        as_image(grey, channel=1)


@pytest.mark.parametrize("shape", [(48, 200), (31, 77), (190, 260), (96, 128)])
def test_resize_keeps_the_frame(shape):
    """A blob moves to x_out = (x_in + .5) · s − .5, to a hundredth of a pixel."""
    y, x = np.mgrid[:96, :128]
    centre = np.array([70.3, 41.8])
    blob = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 8.0**2)).astype(np.float32)
    result = resize(blob, shape).astype(np.float64)
    assert result.shape == shape and result.min() >= 0
    y, x = np.mgrid[: shape[0], : shape[1]]
    found = np.array([(x * result).sum(), (y * result).sum()]) / result.sum()
    scale = np.array([shape[1] / 128, shape[0] / 96])
    np.testing.assert_allclose(found, (centre + 0.5) * scale - 0.5, atol=0.01)


def test_resize_does_not_alias():
    stripes = np.tile(0.5 + 0.5 * np.sin(2 * np.pi * 0.37 * np.arange(256)), (256, 1)).astype(np.float32)
    assert resize(stripes, (64, 64))[:, 4:-4].std() < 0.01 < stripes[:, ::4].std()


def test_resize_checks_its_arguments(grey):
    with pytest.raises(ParameterError, match="shape is"):
        resize(grey / 255.0, (0, 5))
    with pytest.raises(ParameterError, match="only a grey image"):
        resize(np.zeros((4, 4, 3)), (2, 2))
