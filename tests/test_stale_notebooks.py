"""Notebooks, their figures and answers, and numbers in prose are told as stale once a record has changed."""

import json
from pathlib import Path

import pytest

from literate.build import build
from literate.pairs import all_pairs
from literate.records import command
from microloftr.evaluation import report
from microloftr.evaluation.stale_notebooks import stale_notebooks, stale_numbers
from tests.literate_project import make_project

SCRIPT = """# %% tags=["figure:bar"]
import matplotlib.pyplot as plt
from pathlib import Path

from microloftr.results import read_result

auc = read_result("evaluate", Path("../results").resolve())["values"]["levels"]["easy"]["auc"]
figure = plt.figure(figsize=(1, 1))
figure.gca().plot([0, auc]);
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose notebook shows a record and answers a question."""
    project = make_project(tmp_path_factory.mktemp("made"), SCRIPT)
    build(all_pairs(project)[0], project)
    project.questions.mkdir()
    for name in ("00_small", "01_other"):
        record = {"id": f"Q{name[:2]}", "command": command(name)}
        (project.questions / f"{record['id']}.json").write_text(json.dumps(record))
    return project


@pytest.fixture
def root(made, tmp_path) -> Path:
    for path in (path for path in made.root.rglob("*") if path.is_file()):
        place = tmp_path / path.relative_to(made.root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path


def change(root: Path) -> None:
    path = root / "results" / "evaluate.json"
    path.write_text(path.read_text().replace("0.6123", "0.7123"))


def test_a_built_notebook_is_fresh_until_a_record_that_it_read_changes(root):
    assert stale_notebooks(root) == ([], [])
    (root / "results" / "unread.json").write_text("{}")
    assert stale_notebooks(root) == ([], [])
    change(root)
    (line,), silent = stale_notebooks(root)
    assert line == (
        "notebooks/00_small.ipynb, and with it bar.png, Q00: results/evaluate.json changed since it was built. "
        "Again: python -m literate build 00_small"
    )
    assert silent == []


def test_a_record_that_is_gone_makes_its_notebook_stale(root):
    (root / "results" / "evaluate.json").unlink()
    assert len(stale_notebooks(root)[0]) == 1


def test_a_notebook_that_does_not_tell_is_named_and_no_more(root):
    path = root / "notebooks" / "00_small.ipynb"
    notebook = json.loads(path.read_text())
    del notebook["metadata"]["literate"]
    path.write_text(json.dumps(notebook))
    change(root)
    assert stale_notebooks(root) == ([], ["00_small"])


def test_a_stale_number_in_prose_is_told_as_numbers_check_tells_it(root):
    (root / "README.md").write_text("AUC <!--n:evaluate:levels.easy.auc|.2f-->0.61<!--/n-->\n")
    assert stale_numbers(root) == []
    change(root)
    (line,) = stale_numbers(root)
    assert line.startswith("README.md:1: n:evaluate:levels.easy.auc|.2f says '0.61', its source 0.71")
    assert stale_numbers(root / "results") == []  # no project, no numbers


def test_the_report_tells_both_with_what_mends_them_and_its_check_fails(root, monkeypatch, capsys):
    monkeypatch.setattr(report, "report", lambda root, write: [])
    (root / "README.md").write_text("AUC <!--n:evaluate:levels.easy.auc|.2f-->0.61<!--/n-->\n")
    assert report.main(["--root", str(root), "--check"]) == 0
    change(root)
    capsys.readouterr()
    assert report.main(["--root", str(root), "--check"]) == 1
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stale: ")]
    assert "bar.png" in told[0] and told[1].endswith("Again: python -m literate vault")
    assert report.main(["--root", str(root)]) == 0  # without --check it tells, and fails for nothing
