"""Overlay: pixels land where the transform says, and the picture shows what is there and nothing else."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from microloftr import Transform, overlay
from microloftr.errors import ImageError, ParameterError, TransformError
from microloftr.registration import overlay as module
from microloftr.registration.overlay import COLOUR_0, COLOUR_1, OUTSIDE, warp_back

SHAPE = (90, 120)


def texture(points: np.ndarray) -> np.ndarray:
    """A smooth specimen: grey values 0.1..0.9 at points (..., 2), known everywhere, without any resampling."""
    x, y = points[..., 0], points[..., 1]
    return 0.5 + 0.2 * np.sin(0.21 * x + 0.05 * y) + 0.2 * np.cos(0.17 * y - 0.09 * x + 1)


def grid(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.stack([x, y], axis=-1).astype(float)


def seen_through(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """image_1 of the specimen that image_0 shows as it is: its pixel q shows the point inverse(matrix) q."""
    points = grid(shape) @ np.linalg.inv(matrix)[:, :2].T + np.linalg.inv(matrix)[:, 2]
    return texture(points[..., :2] / points[..., 2:]).astype(np.float32)


def turn(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array(
        [
            [scale * np.cos(angle), -scale * np.sin(angle), shift[0]],
            [scale * np.sin(angle), scale * np.cos(angle), shift[1]],
            [0, 0, 1],
        ]
    )


PLACES = {
    "sub-pixel shift": (turn(0, 1, (-10.37, 6.62)), SHAPE),
    "a quarter turn": (turn(90, 1, (89.0, 0.0)), (120, 90)),
    "half a turn": (turn(180, 1, (119.25, 88.6)), SHAPE),
    "turned and smaller": (turn(-19, 0.8, (3.3, 20.1)), SHAPE),
    "twice as fine": (turn(0, 2, (0.5, 0.5)), (180, 240)),  # (x + .5) · 2 − .5: the edges of both images agree
    "turned, 3.3 times as fine": (turn(30, 3.3, (180.4, -30.7)), (440, 560)),
    "with perspective": (np.array([[1.0, 0.1, -8.0], [-0.05, 1.1, 3.0], [4e-4, -3e-4, 1.0]]), SHAPE),
}


@pytest.mark.parametrize("place", PLACES)
def test_image_1_lands_on_image_0(place):
    matrix, shape_1 = PLACES[place]
    warped, covered = warp_back(seen_through(matrix, shape_1), matrix, SHAPE)
    expected = texture(grid(SHAPE))
    inner = covered & (grid(SHAPE) > 3).all(-1)
    assert covered.mean() > 0.4
    right = np.abs(warped - expected)[inner].mean()
    # Half a pixel off, as in another frame, is seen.
    off = turn(0, 1, (0.5, 0.5)) @ matrix
    wrong = np.abs(warp_back(seen_through(matrix, shape_1), off, SHAPE)[0] - expected)[inner].mean()
    assert right < 0.004 and wrong > 2.5 * right


def test_a_known_shift_is_met_to_a_hundredth_of_a_pixel():
    """The gradient tells by how much the warped image is displaced against the specimen (least squares)."""
    for place in ("sub-pixel shift", "a quarter turn", "half a turn", "twice as fine", "turned, 3.3 times as fine"):
        matrix, shape_1 = PLACES[place]
        warped, covered = warp_back(seen_through(matrix, shape_1), matrix, SHAPE)
        expected = texture(grid(SHAPE))
        gradient_y, gradient_x = np.gradient(expected)
        edge = np.ones(SHAPE, dtype=bool)
        edge[5:-5, 5:-5] = False
        inner = covered & ~edge
        for shift in range(1, 5):  # Lanczos shrinking looks beyond the edge of image_1
            inner &= np.roll(covered, shift, 0) & np.roll(covered, -shift, 0)
            inner &= np.roll(covered, shift, 1) & np.roll(covered, -shift, 1)
        slopes = np.stack([gradient_x[inner], gradient_y[inner]], axis=1)
        displacement, *_ = np.linalg.lstsq(slopes, (warped - expected)[inner], rcond=None)
        assert np.abs(displacement).max() < 0.01, place


def test_blocks_of_rows_leave_no_seam(monkeypatch):
    matrix, shape_1 = PLACES["with perspective"]
    image_1 = seen_through(matrix, shape_1)
    whole = warp_back(image_1, matrix, SHAPE)
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    for one, other in zip(whole, warp_back(image_1, matrix, SHAPE), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_image_1_does_not_show_is_image_0_alone():
    matrix = turn(0, 1, (-40.0, 0.0))  # image_1 begins at x = 40 of image_0
    image_0 = seen_through(np.eye(3), SHAPE)
    laid = overlay(image_0, seen_through(matrix, SHAPE), Transform(matrix, "translation", SHAPE[::-1], SHAPE[::-1]))
    assert laid.pixels.shape == (*SHAPE, 3) and laid.pixels.dtype == np.uint8
    assert not laid.covered[:, :40].any() and laid.covered[:, 40:].all()
    alone = laid.pixels[:, :40] / 255
    assert (alone[..., COLOUR_0 == 0] == 0).all() and alone[..., 0].max() == pytest.approx(OUTSIDE, abs=0.01)
    together = laid.pixels[:, 40:].astype(int)
    assert np.abs(together - together.mean(axis=-1, keepdims=True)).max() <= 6  # grey, since both agree
    assert not laid.inverted
    negative = overlay(image_0, 1 - seen_through(matrix, SHAPE), matrix)
    assert negative.inverted and (negative.pixels[:, :40, COLOUR_0 == 0] == 0).all()


def test_disagreement_is_coloured():
    image_0, image_1 = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    image_0[20:40, 20:60] = image_1[20:40, 40:80] = 1
    pixels = overlay(image_0, image_1, np.eye(3)).pixels
    assert pixels[30, 30].tolist() == (COLOUR_0 * 255).tolist()
    assert pixels[30, 70].tolist() == (COLOUR_1 * 255).tolist()
    assert pixels[30, 50].tolist() == [255, 255, 255] and pixels[60, 60].tolist() == [0, 0, 0]


def test_a_negative_is_shown_inverted_and_said_so():
    image = seen_through(np.eye(3), SHAPE)
    same, negative = overlay(image, 0.2 + 0.3 * image, np.eye(3)), overlay(image, 0.9 - 0.3 * image, np.eye(3))
    assert negative.inverted and not same.inverted
    assert np.abs(negative.pixels.astype(int) - same.pixels).max() <= 2


def test_the_checkerboard_takes_squares_in_turn():
    image_0, image_1 = seen_through(np.eye(3), (64, 64)), seen_through(turn(0, 1, (9.0, 4.0)), (64, 64))
    pixels = overlay(image_0, image_1, np.eye(3), mode="checkerboard").pixels.astype(int)
    grey = (pixels[..., 0] == pixels[..., 1]) & (pixels[..., 1] == pixels[..., 2])
    row, column = np.indices((64, 64)) // 8
    even = (row + column) % 2 == 0
    assert grey[even].all() and not grey[~even & (pixels[..., 1] > 30)].any()
    for squares, image in ((even, image_0), (~even, image_1)):
        assert np.corrcoef(pixels[..., 1][squares], image[squares])[0, 1] > 0.99


def test_constant_images_survive():
    for mode in ("colour", "checkerboard"):
        assert overlay(np.full(SHAPE, 7, np.uint8), np.full(SHAPE, 9, np.uint8), np.eye(3), mode=mode).covered.all()


def test_images_that_share_nothing_show_image_0_alone():
    laid = overlay(seen_through(np.eye(3), SHAPE), seen_through(np.eye(3), SHAPE), turn(0, 1, (500.0, 0.0)))
    assert not laid.covered.any() and (laid.pixels[..., COLOUR_0 == 0] == 0).all() and laid.pixels.max() > 150


def test_saves_a_png_whole_or_not_at_all(tmp_path, monkeypatch):
    source = tmp_path / "with space é.png"
    PillowImage.fromarray((seen_through(np.eye(3), SHAPE) * 255).astype(np.uint8)).save(source)
    laid = overlay(source, str(source), np.eye(3))
    target = tmp_path / "new" / "overlay.png"
    laid.save(target)
    np.testing.assert_array_equal(np.asarray(PillowImage.open(target)), laid.pixels)
    before = target.read_bytes()
    laid.save(target)
    assert target.read_bytes() == before
    with pytest.raises(ParameterError, match=r"must end in \.png"):
        laid.save(tmp_path / "overlay.jpg")

    def full_disk(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(PillowImage.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        laid.save(target)
    assert target.read_bytes() == before and [file.name for file in target.parent.iterdir()] == ["overlay.png"]


def test_wrong_input_is_named(tmp_path):
    image = np.zeros(SHAPE, np.uint8)
    with pytest.raises(TransformError, match="no transform"):
        overlay(image, image, None)
    with pytest.raises(TransformError, match=r"for image_1 of \(99, 90\), but it has \(120, 90\)"):
        overlay(image, image, Transform(np.eye(3), "translation", (120, 90), (99, 90)))
    with pytest.raises(TransformError, match="3 × 3"):
        overlay(image, image, np.eye(2))
    with pytest.raises(ParameterError, match="mode must be one of colour, checkerboard"):
        overlay(image, image, np.eye(3), mode="blink")
    with pytest.raises(ImageError, match="does not exist"):
        overlay(tmp_path / "none.png", image, np.eye(3))
