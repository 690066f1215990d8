"""Sources of micrographs, and the bundle as it stands in the package."""

import csv
import io
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from microloftr.data import bundle
from microloftr.data.micrographs import (
    SPLITS,
    estimate_noise,
    load_micrographs,
    specimen_of,
    split_of,
)
from microloftr.errors import MicroLoFTRError, ParameterError

BUNDLED = Path(str(files("microloftr.micrographs")))


@pytest.fixture(scope="module")
def rows():
    with open(BUNDLED / "manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def validation():
    return load_micrographs("validation")


def texture(seed=0, shape=(64, 80)):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def write_manifest(folder, lines, header="file,split,specimen"):
    (folder / "manifest.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def test_bundle_and_manifest_agree(rows):
    assert {row["file"] for row in rows} == {path.name for path in BUNDLED.glob("*.jp2")}
    assert tuple(rows[0]) == bundle.COLUMNS
    for row in rows:
        with Image.open(BUNDLED / row["file"]) as picture:
            assert picture.size == (int(row["width"]), int(row["height"])), row["file"]
            assert len(picture.getbands()) == int(row["channels"]) and picture.mode in ("L", "RGB")
        assert float(row["psnr_db"]) > 29, row["file"]
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) < 20 * 2**20
    with open(BUNDLED / "left_out.csv", newline="", encoding="utf-8") as file:
        assert not {row["file"] for row in csv.DictReader(file)} & {Path(row["file"]).stem for row in rows}


def test_bundle_splits(rows):
    counts = {split: sum(row["split"] == split for row in rows) for split in SPLITS}
    assert counts == {"train": 91, "validation": 27, "test": 25, "lattice": 4}
    splits = {}
    for row in rows:
        assert splits.setdefault(row["specimen"], row["split"]) == row["split"], row["specimen"]


def test_every_source_and_licence_is_named(rows):
    licences = (BUNDLED / "LICENCES.md").read_text(encoding="utf-8")
    table = [line for line in licences.splitlines() if line.startswith("| ")]
    counted = {line.split("|")[1].strip().split(" ")[0]: 0 for line in table[1:]}
    for row in rows:
        assert bundle.LICENCES.match(row["licence"]) and "GPL" not in row["licence"], row["file"]
        counted[row["source"].split()[1]] += 1  # a KeyError: a source that the table does not name
    stated = {name: sum(int(line.split("|")[2]) for line in table[1:] if f"| {name} " in line) for name in counted}
    assert counted == stated
    assert "credit **Argonne National Laboratory**" in licences


def blockiness(pixels):
    """Steps across the borders of 8×8 blocks, over all other steps between neighbouring columns."""
    steps = np.abs(np.diff(pixels.astype(np.float64), axis=1)).mean(0)
    border = np.arange(1, len(steps) + 1) % 8 == 0
    return steps[border].mean() / steps[~border].mean()


def test_the_compression_leaves_no_blocks(validation):
    chosen = [micrograph for micrograph in validation if micrograph.modality.startswith(("confocal", "sem", "tem"))]
    ratios = [blockiness(micrograph.pixels) for micrograph in chosen]
    assert len(chosen) >= 8 and np.abs(np.median(ratios) - 1) < 0.02
    buffer = io.BytesIO()
    Image.fromarray(chosen[0].pixels).save(buffer, "JPEG", quality=30)
    assert blockiness(np.asarray(Image.open(buffer))) > 1.05  # the measure sees blocks where there are some


def test_bundled_micrographs_are_loaded_in_order(validation, rows):
    names = [micrograph.name for micrograph in validation]
    assert names == sorted(names) and len(set(names)) == 27
    assert all(m.pixels.dtype == np.uint8 and m.pixels.flags.c_contiguous for m in validation)
    stated = {Path(row["file"]).stem: row for row in rows}
    for micrograph in validation:
        row = stated[micrograph.name]
        assert micrograph.pixels.shape[:2] == (int(row["height"]), int(row["width"]))
        assert (micrograph.specimen, micrograph.modality) == (row["specimen"], row["modality"])
        assert micrograph.um_per_px == (float(row["um_per_px"]) if row["um_per_px"] else None)
    assert {micrograph.pixels.ndim for micrograph in validation} == {2, 3}


def test_side_limit_cuts_to_the_centre():
    whole, cut = load_micrographs("lattice"), load_micrographs("lattice", side_limit=600)
    for before, after in zip(whole, cut, strict=True):
        height, width = before.pixels.shape
        top, left = max(0, (height - 600) // 2), max(0, (width - 600) // 2)
        assert np.array_equal(after.pixels, before.pixels[top : top + 600, left : left + 600])


def test_bundled_micrographs_need_pillow_and_numpy_only():
    code = (
        "import sys; from microloftr.data.micrographs import load_micrographs; load_micrographs('lattice'); "
        "print(sorted({'tifffile', 'kornia', 'hydra', 'pandas', 'cv2', 'skimage', 'lightning'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_plain_folder_is_split_by_specimen(tmp_path):
    grey = texture()
    colour = np.dstack((grey, 255 - grey, grey))
    for number in range(30):
        Image.fromarray(colour if number % 2 else grey).save(tmp_path / f"liver_{number % 3}_s{number // 3:02d}_1.png")
    tifffile.imwrite(tmp_path / "deep.tif", grey.astype(np.uint16) * 100)
    (tmp_path / "notes.txt").write_text("not an image")
    found = {}
    for split in ("train", "validation", "test"):
        try:
            found |= {micrograph.name: micrograph for micrograph in load_micrographs(split, tmp_path)}
        except ParameterError:
            continue
    assert len(found) == 31
    assert all(micrograph.split == split_of(micrograph.specimen) for micrograph in found.values())
    assert found["deep"].pixels.dtype == np.uint8 and found["deep"].pixels.max() == 255
    assert {micrograph.pixels.ndim for micrograph in found.values()} == {2, 3}
    assert found["liver_1_s00_1"].specimen == "liver_1_s00"


def test_specimens_and_shares_of_a_plain_folder():
    assert [specimen_of(stem) for stem in ("liver_01", "liver-2", "liver 003", "a1b", "12", "k.7")] == [
        "liver", "liver", "liver", "a1b", "12", "k",
    ]  # fmt: skip
    assert [split_of(name) for name in ("liver", "kidney", "spleen")] == ["test", "train", "train"]  # for ever
    splits = [split_of(f"specimen {number}") for number in range(4000)]
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert splits.count(split) / 4000 == pytest.approx(share, abs=0.02)


def test_a_manifest_gives_the_split_itself(tmp_path):
    for name in ("b.png", "a.png", "c.png"):
        Image.fromarray(texture()).save(tmp_path / name)
    lines = ["b.png,train,s1,0.5", "a.png,train,s1,", "c.png,test,s2,2"]
    manifest = write_manifest(tmp_path, lines, "file,split,specimen,um_per_px")
    for source in (manifest, tmp_path, str(tmp_path)):
        found = load_micrographs("train", source)
        assert [(m.name, m.um_per_px, m.modality) for m in found] == [("a", None, "unknown"), ("b", 0.5, "unknown")]


def test_a_specimen_in_two_splits_is_named(tmp_path):
    manifest = write_manifest(tmp_path, ["a.png,train,spleen 4", "b.png,test,spleen 4"])
    with pytest.raises(ParameterError, match=r"specimen spleen 4 .* in the splits train and test"):
        load_micrographs("train", manifest)


@pytest.mark.parametrize(
    ("header", "lines", "split", "message"),
    [
        ("file,split", ["a.png,train"], "train", "lacks the column specimen"),
        ("file,split,specimen", [], "train", "names no micrograph"),
        ("file,split,specimen", ["a.png,training,s"], "train", "line 2 .* has split 'training'"),
        ("file,split,specimen", ["a.png,train"], "train", "line 2 .* has no specimen"),
        ("file,split,specimen", ["a.png,train,s"], "train", r"a\.png is missing"),
        ("file,split,specimen", ["bad.png,train,s"], "train", r"bad\.png cannot be read"),
        ("file,split,specimen", ["a.png,train,s"], "test", "no micrograph in the split test, only in train"),
        ("file,split,specimen", ["a.png,train,s"], "trian", "split is 'trian'; it must be one of train"),
        ("file,split,specimen,um_per_px", ["a.png,train,s,-1"], "train", "um_per_px '-1'"),
    ],
)
def test_bad_manifests_are_named(tmp_path, header, lines, split, message):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(MicroLoFTRError, match=message) as caught:
        load_micrographs(split, write_manifest(tmp_path, lines, header))
    assert "\n" not in str(caught.value)


def test_bad_sources_are_named(tmp_path):
    with pytest.raises(ParameterError, match="holds no image"):
        load_micrographs("train", tmp_path)
    Image.fromarray(texture()).save(tmp_path / "liver_1.png")
    with pytest.raises(ParameterError, match=r"in the split train, only in test; .* a manifest\.csv"):
        load_micrographs("train", tmp_path)
    with pytest.raises(ParameterError, match="neither a folder nor a manifest"):
        load_micrographs("train", tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="side_limit is 0"):
        load_micrographs("train", side_limit=0)


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.1])
def test_noise_is_measured(sigma):
    y, x = np.mgrid[:300, :300]
    smooth = 0.5 + 0.1 * np.sin(x / 40) * np.cos(y / 30)
    noisy = smooth + np.random.default_rng(3).normal(0, sigma, smooth.shape)
    assert estimate_noise(noisy) == pytest.approx(sigma, rel=0.05)
    assert estimate_noise((noisy.clip(0, 1) * 255).round().astype(np.uint8)) == pytest.approx(sigma, rel=0.08)
    assert estimate_noise(np.dstack([noisy] * 3)) == pytest.approx(sigma, rel=0.05)
    assert estimate_noise(smooth) < 1e-3
    with pytest.raises(ParameterError, match="at least 3×3"):
        estimate_noise(np.zeros((2, 9)))
