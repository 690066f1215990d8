"""The command that packs micrographs into the package, and the demo pair."""

import csv
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microloftr.data import bundle, demo
from microloftr.data.micrographs import load_micrographs
from microloftr.errors import ImageError, ParameterError

SHIPPED = Path(str(files("microloftr.micrographs"))) / "demo"


def write_manifest(folder, lines, header):
    (folder / "manifest.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


@pytest.fixture
def sources(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir(), out.mkdir()
    lines = []
    licences = ["MIT (repository)", "CC0-1.0", "GPL-3.0", "CC-BY-NC-4.0", "BSD-3-Clause (package)"]
    for number, licence in enumerate(licences):
        y, x = np.mgrid[:96, :128]
        wave = 128 + 90 * np.sin(x / (3 + number)) * np.cos(y / 5) + np.random.default_rng(number).normal(0, 6, x.shape)
        Image.fromarray(wave.clip(0, 255).astype(np.uint8)).save(folder / f"p{number}.png")
        split = "test" if number == 1 else "train"
        lines.append(f"p{number}.png,{split},s{number},sem,somewhere,{licence},,128,96,1,")
    write_manifest(folder, lines, ",".join(bundle.COLUMNS[:-1]))
    (out / "left_out.csv").write_text("file,reason\np4,origin not stated\n")
    return folder, out


def test_bundling(sources, capsys):
    folder, out = sources
    (out / "old.jp2").write_bytes(b"")
    low, high = bundle.bundle(folder, out, 0.006), None
    assert {path.name for path in out.glob("*.jp2")} == {"p0.jp2", "p1.jp2"}  # no GPL, no NC, none that is left out
    assert sum(path.stat().st_size for path in out.glob("*.jp2")) <= 0.006 * 2**20
    before = (out / "p0.jp2").read_bytes()
    assert bundle.bundle(folder, out, 0.006) == low and (out / "p0.jp2").read_bytes() == before
    high = bundle.bundle(folder, out, 0.05)
    assert high > low
    with open(out / "manifest.csv", newline="") as file:
        written = list(csv.DictReader(file))
    for row in written:
        original = np.asarray(Image.open(folder / row["file"].replace("jp2", "png")), dtype=float)
        error = np.asarray(Image.open(out / row["file"]), dtype=float) - original
        assert float(row["psnr_db"]) == pytest.approx(10 * np.log10(255**2 / (error**2).mean()), abs=0.06)
    assert [micrograph.name for micrograph in load_micrographs("test", out)] == ["p1"]
    with pytest.raises(ParameterError, match="do not fit"):
        bundle.bundle(folder, out, 0.0001)
    assert bundle.main([str(out / "nowhere"), "--out", str(out)]) == 2
    assert "has no manifest.csv" in capsys.readouterr().err


def test_bundling_refuses_what_is_not_8_bit(sources):
    folder, out = sources
    Image.fromarray(np.zeros((96, 128), np.uint16)).save(folder / "p0.png")
    with pytest.raises(ImageError, match=r"p0\.png has mode I;16"):
        bundle.bundle(folder, out)


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_the_demo_pair_is_what_its_command_makes(tmp_path):
    source = next(micrograph for micrograph in load_micrographs("validation") if micrograph.name == demo.SOURCE)
    truth = demo.make_demo(source, tmp_path)
    committed = json.loads((SHIPPED / "truth.json").read_text())
    np.testing.assert_allclose(truth.pop("homography"), committed.pop("homography"), rtol=1e-9)
    assert truth == committed
    for name in ("field_0.png", "field_1.png"):
        made, kept = (np.asarray(Image.open(folder / name), dtype=float) for folder in (tmp_path, SHIPPED))
        assert np.abs(made - kept).mean() < 0.1, name
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 400 * 1024
    with pytest.raises(ParameterError, match="too small"):
        demo.make_demo(load_micrographs("lattice", side_limit=300)[0], tmp_path)


def test_the_demo_pair_lies_as_its_truth_says():
    """Field 0 moved by the true homography fits field 1 better than moved a pixel beside it."""
    pictures = [np.asarray(Image.open(SHIPPED / f"field_{n}.png"), dtype=np.float64) for n in (0, 1)]
    truth = json.loads((SHIPPED / "truth.json").read_text())
    assert 10 < abs(truth["rotation_deg"]) < 30 and 1.05 < truth["scale"] < 1.2 and 0.5 < truth["overlap"] < 0.7
    y, x = np.mgrid[:400:1, :480:1]

    def score(shift):
        moved = np.linalg.inv(np.array(truth["homography"])) @ np.stack(
            (x.ravel() + shift[0], y.ravel() + shift[1], np.ones(x.size))
        )
        column, row = np.rint(moved[:2] / moved[2]).astype(int)
        inside = (column >= 0) & (column < 480) & (row >= 0) & (row < 400)
        return correlation(pictures[0][row[inside], column[inside]], pictures[1].ravel()[inside])

    best = score((0, 0))
    assert best > 0.5
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1), (3, 3)):
        assert score(shift) < best, shift
