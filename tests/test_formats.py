"""The format zoo, where MICROLOFTR_FORMATS points to it: each file reads as its manifest says, silently and quickly.

The checks are functions of a manifest's row; they are shown to find planted faults in a small zoo made here.
"""

import json
import os
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from microloftr.errors import ImageError
from microloftr.images import read_image
from tests.format_files import picture

FOLDER = os.environ.get("MICROLOFTR_FORMATS")
ROWS = json.loads((Path(FOLDER) / "manifest.json").read_text(encoding="utf-8")) if FOLDER else []
SAME = {"sem_bse_glass_sintered_1": "grey8.png", "brightfield_he_human_skin_1": "rgba.png"}  # one file of each source
ALSO_SAME = {
    "imagej_float32_stack.tif": "imagej_float32.tif",
    "gatan.dm3": "imagej_float32.tif",
    "bit1_g4.tif": "bit1.tif",
}
# Files whose own values are not the source's: JPEG, 64 or 256 colours.
LOSSY = {
    "grey.jpg": 0.998, "rgb.jpg": 0.997, "rgb_exif_rotated.jpg": 0.997, "jpeg_tiled.tif": 0.99,
    "palette.png": 0.995, "palette.tif": 0.997,
}  # fmt: skip
WITH_NAN = {"f32_nan.tif"}
FLAT = {"u16_constant.tif"}


def row_faults(folder: Path, row: dict) -> list[str]:
    """What reading one file gives that its row of the manifest does not say."""
    path = folder / row["file"]
    begin = time.perf_counter()
    if "expected_failure" in row:
        tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = read_image(path)
    except ImageError as error:
        if "expected_failure" not in row:
            return [f"is not read: {error}"]
        seconds, peak = time.perf_counter() - begin, tracemalloc.get_traced_memory()[1]
        faults = (
            []
            if str(path) in str(error) and "\n" not in str(error)
            else [f"its error is no line that names it: {error}"]
        )
        return faults + (
            [f"is refused after {seconds:.1f} s and {peak >> 20} MiB"] if seconds > 5 or peak > 2**26 else []
        )
    finally:
        tracemalloc.stop()
    if "expected_failure" in row:
        return ["is read, though it is broken"]
    faults, shape, um = [], row["expected_grey_shape"], row["um_per_px"]
    if shape is not None:  # null where the manifest checks neither shape nor size
        if image.pixels.shape != tuple(shape):
            faults.append(f"has the shape {image.pixels.shape}, not {tuple(shape)}")
        if (image.um_per_px is None) != (um is None) or (um and abs(image.um_per_px / um - 1) > 1e-5):
            faults.append(f"has {image.um_per_px} µm per pixel, not {um}")
    if image.pixels.dtype != np.float32 or not (image.pixels.min() >= 0 and image.pixels.max() <= 1):
        faults.append("has values that are no float32 in 0..1")
    if (image.pixels.std() == 0) != (row["file"] in FLAT):
        faults.append("shows nothing, or should")
    return faults


def reference(row: dict) -> str | None:
    """The file whose picture this row's file shows too, or a part of."""
    found = [name for source, name in SAME.items() if source in row["source"]]
    return ALSO_SAME.get(row["file"], found[0] if found else None)


def correlation(a: np.ndarray, b: np.ndarray, known: np.ndarray | None = None) -> float:
    """Of the upper left parts that both have, where neither is clipped and `known` is True.

    A picture of two values is compared with the other one cut at the grey value that leaves as much white.
    """
    height, width = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])
    a, b = a[:height, :width], b[:height, :width]
    if len(np.unique(a)) == 2:
        b = (b > np.quantile(b, 1 - (a == a.max()).mean())).astype(float)
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    inside = (a > 0) & (a < 1) & (b > 0) & (b < 1)
    inside &= True if known is None else known[:height, :width]
    return float(np.corrcoef(a[inside], b[inside])[0, 1])


def value_faults(folder: Path, row: dict) -> list[str]:
    """Whether a file shows the same values as the other file of its source, and not mirrored or turned."""
    other = reference(row)
    if other is None or row["file"] in FLAT:
        return []
    pixels, expected = read_image(folder / row["file"]).pixels, read_image(folder / other).pixels
    least = LOSSY.get(row["file"], 0.999) if row["file"] not in ALSO_SAME else 0.999
    known = np.isfinite(tifffile.imread(folder / row["file"])) if row["file"] in WITH_NAN else None
    found = correlation(pixels, expected, known)
    turned = max(
        correlation(np.ascontiguousarray(wrong), expected) for wrong in (pixels[::-1], pixels[:, ::-1], pixels.T)
    )
    faults = [] if found > least else [f"correlates with {other} by {found:.4f}, not by {least}"]
    return faults + ([f"shows {other} mirrored or transposed"] if turned > found else [])


if FOLDER:

    @pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
    def test_the_zoo_reads_as_its_manifest_says(row, capfd, caplog):
        folder = Path(FOLDER)
        assert row_faults(folder, row) == []
        if "expected_failure" not in row:
            assert value_faults(folder, row) == []
        assert not caplog.records and capfd.readouterr() == ("", "")

    def test_the_zoo_is_whole():
        assert len(ROWS) >= 76 and sum("expected_failure" in row for row in ROWS) >= 12
        assert sum(reference(row) is not None for row in ROWS if "expected_failure" not in row) > 40


@pytest.fixture
def zoo(tmp_path) -> tuple[Path, dict[str, dict]]:
    """Four sound files and a broken one, with their manifest."""
    grey, source = picture(60, 80), "pool sem_bse_glass_sintered_1.png"
    PillowImage.fromarray(grey).save(tmp_path / "grey8.png")
    tifffile.imwrite(tmp_path / "a.tif", grey, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    tifffile.imwrite(tmp_path / "deep.tif", grey[:40, :50].astype(np.uint16) * 99)
    (tmp_path / "text.tif").write_text("a,b")
    rows = [
        {"file": "grey8.png", "source": source, "expected_grey_shape": [60, 80], "um_per_px": None},
        {"file": "a.tif", "source": source, "expected_grey_shape": [60, 80], "um_per_px": 0.5},
        {"file": "deep.tif", "source": source, "expected_grey_shape": [40, 50], "um_per_px": None},
        {"file": "text.tif", "source": "", "expected_failure": "no image"},
    ]
    return tmp_path, {row["file"]: row for row in rows}


def test_a_sound_zoo_has_no_fault(zoo):
    folder, rows = zoo
    assert [row_faults(folder, row) for row in rows.values()] == [[]] * 4
    assert [value_faults(folder, rows[name]) for name in ("a.tif", "deep.tif")] == [[]] * 2


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("a.tif", {"expected_grey_shape": [80, 60]}, "has the shape"),
        ("a.tif", {"um_per_px": 0.51}, "µm per pixel"),
        ("a.tif", {"um_per_px": None}, "µm per pixel"),
        ("grey8.png", {"um_per_px": 0.5}, "µm per pixel"),
        ("a.tif", {"expected_failure": "broken"}, "is read, though"),
        ("text.tif", {"expected_failure": None}, "is not read"),
    ],
)
def test_wrong_rows_are_found(zoo, name, change, message):
    folder, rows = zoo
    row = rows[name] | change
    row = {key: value for key, value in row.items() if key != "expected_failure" or value}
    assert any(message in fault for fault in row_faults(folder, row))


@pytest.mark.parametrize("fault", ["inverted", "mirrored", "upside down", "transposed", "noisy", "shifted"])
def test_wrong_values_are_found(zoo, fault):
    folder, rows = zoo
    grey = picture(60, 80)
    wrong = {
        "inverted": 255 - grey,
        "mirrored": grey[:, ::-1],
        "upside down": grey[::-1],
        "transposed": grey.T,
        "noisy": np.clip(grey + np.random.default_rng(0).normal(0, 5, grey.shape), 0, 255).astype(np.uint8),
        "shifted": np.roll(grey, 1, 1),
    }[fault]
    tifffile.imwrite(folder / "a.tif", np.ascontiguousarray(wrong))
    assert value_faults(folder, rows["a.tif"]) != []


def test_slow_loud_or_greedy_refusals_are_found(zoo, monkeypatch):
    folder, rows = zoo

    def greedy(path):
        waste = np.ones(2**27, np.uint8)
        raise ImageError(f"{path} is refused after {len(waste)}")

    def vague(path):
        raise ImageError("two\nlines")

    def loud(path):
        warnings.warn("careful", stacklevel=1)

    monkeypatch.setattr(sys.modules[__name__], "read_image", greedy)
    assert "MiB" in row_faults(folder, rows["text.tif"])[0]
    monkeypatch.setattr(sys.modules[__name__], "read_image", vague)
    assert "no line that names it" in row_faults(folder, rows["text.tif"])[0]
    monkeypatch.setattr(sys.modules[__name__], "read_image", loud)
    with pytest.raises(UserWarning, match="careful"):
        row_faults(folder, rows["a.tif"])
