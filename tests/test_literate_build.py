"""Building: deterministic, whole or not at all, and no edit of either half is lost."""

import json
import re
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import nbformat
import pytest

from literate import build as module
from literate.__main__ import main
from literate.build import build
from literate.errors import LiterateError, NotebookFailed
from literate.outputs import strip_png, tidy_outputs
from literate.pairs import all_pairs, read_notebook, select_pairs, source_hash
from literate.project import Project, find_project
from literate.reads import digest
from tests.literate_project import SCRIPT, make_project


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Project:
    """A project whose one notebook has been built."""
    project = make_project(tmp_path_factory.mktemp("built"))
    build(all_pairs(project)[0], project)
    return project


def copy(project: Project, place: Path) -> Project:
    """The same project elsewhere, for a test that changes it."""
    fresh = make_project(place)
    for path in [*project.notebooks.iterdir(), *project.attachments.iterdir()]:
        (fresh.root / path.relative_to(project.root)).write_bytes(path.read_bytes())
    return fresh


def test_two_builds_are_identical_but_for_timings(built, tmp_path):
    again = copy(built, tmp_path)
    for half in again.notebooks.iterdir():
        if half.suffix == ".ipynb":
            half.unlink()
    build(all_pairs(again)[0], again)
    first, second = (json.loads(all_pairs(project)[0].notebook.read_text()) for project in (built, again))
    timing = [cell for cell in (*first["cells"], *second["cells"]) if "timing" in cell["metadata"].get("tags", [])]
    assert len(timing) == 2 and timing[0]["outputs"] != timing[1]["outputs"]
    for cell in timing:
        cell["outputs"] = []
    assert json.dumps(first) == json.dumps(second)
    assert (again.attachments / "bar.png").read_bytes() == (built.attachments / "bar.png").read_bytes()


def test_notebook_holds_hashes_counts_and_no_times(built):
    notebook = read_notebook(built.notebooks / "00_small.ipynb")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    assert all(cell.metadata.literate.source_hash == source_hash(cell.source) for cell in code)
    assert code[2].outputs[0].text == "cell: 0.60\nNone [1, 2]\n"
    assert all(set(cell.metadata) <= {"tags", "literate"} for cell in notebook.cells)
    assert set(notebook.metadata) == {"jupytext", "kernelspec", "language_info", "literate"}
    assert notebook.metadata.literate == {"read": {}}  # it reads no record
    assert all(re.fullmatch(r"\d\d-[0-9a-f]{8}", cell.id) for cell in notebook.cells)
    nbformat.validate(notebook)


READER = """# %%
import json
from pathlib import Path

from microloftr.results import read_result

folder = Path("../results").resolve()
assert read_result("evaluate", folder)["seed"] == 7
assert json.loads((folder / "sub" / "more.json").read_text()) == 1
with open("../results/evaluate.json") as file:
    file.read()
(folder / "mine.json").write_text("2")
print(sorted(name for name in globals() if "literate" in name))
"""


def test_a_built_notebook_tells_which_records_it_read_and_a_sync_keeps_that(tmp_path):
    project = make_project(tmp_path, READER)
    (project.results / "sub").mkdir()
    (project.results / "sub" / "more.json").write_text("1")
    (project.results / "unread.json").write_text("3")
    pair = all_pairs(project)[0]
    build(pair, project)
    notebook = read_notebook(pair.notebook)
    told = {f"results/{name}": digest(project.results / name) for name in ("evaluate.json", "sub/more.json")}
    assert notebook.metadata.literate == {"read": told}  # not what it wrote, nor what it left alone
    assert notebook.cells[0].outputs[0].text == "[]\n"  # and the cells see nothing of it
    assert "literate" not in pair.script.read_text().splitlines()[0]
    build(pair, project, run=False)
    assert read_notebook(pair.notebook).metadata.literate == {"read": told}
    build(pair, project, run=False, take="notebook")
    assert read_notebook(pair.notebook).metadata.literate == {"read": told}


def test_pictures_carry_no_remarks(built):
    png = (built.attachments / "bar.png").read_bytes()
    assert png.startswith(b"\x89PNG") and b"Software" not in png and b"tEXt" not in png
    figure = plt.figure(figsize=(1, 1), dpi=100)
    path = built.root / "remarks.png"
    figure.savefig(path, metadata={"Creation Time": "now", "Author": "someone"})
    plt.close(figure)
    assert b"Creation Time" in path.read_bytes() and b"Creation Time" not in strip_png(path.read_bytes())
    path.write_bytes(strip_png(path.read_bytes()))
    assert matplotlib.image.imread(path).shape == (100, 100, 4)
    assert strip_png(b"no picture") == b"no picture"


def test_widgets_leave_no_trace():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "4f3a"}, "text/plain": "interactive(…)"}
    outputs = [
        nbformat.v4.new_output("display_data", data=view),
        nbformat.v4.new_output("stream", name="stdout", text="kept\n"),
    ]
    assert [output.output_type for output in tidy_outputs(outputs)] == ["stream"]


def test_sync_without_running_keeps_the_outputs_that_still_fit(built, tmp_path):
    project = copy(built, tmp_path)
    (pair,) = all_pairs(project)
    before = pair.notebook.read_bytes()
    build(pair, project, run=False)
    assert pair.notebook.read_bytes() == before
    pair.script.write_text(SCRIPT.replace("Does it run?", "Did it?").replace("[0, count]", "[1, count]"))
    build(pair, project, run=False)
    notebook = read_notebook(pair.notebook)
    assert notebook.cells[0].source == "# Did it?"
    assert notebook.cells[3].outputs[0].text == "cell: 0.60\nNone [1, 2]\n"
    assert notebook.cells[4].outputs == [] and notebook.cells[4].execution_count is None


def test_script_is_written_as_jupyterlab_would(built, tmp_path):
    project = copy(built, tmp_path)
    (pair,) = all_pairs(project)
    header = "# ---\n# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     name: python3\n# ---\n\n"
    pair.script.write_text(header + SCRIPT.replace('# %% tags=["timing"]', '# %% tags=["timing"] collapsed=true'))
    build(pair, project, run=False)
    assert pair.script.read_text() == SCRIPT


def test_saving_in_jupyterlab_updates_both_halves_with_clean_diffs(built, tmp_path):
    """The contents manager that JupyterLab saves through, with the project's own jupytext.toml."""
    from jupytext import TextFileContentsManager

    project = copy(built, tmp_path)
    (project.root / "jupytext.toml").write_bytes((find_project().root / "jupytext.toml").read_bytes())
    manager = TextFileContentsManager()
    manager.root_dir = str(project.root)
    (pair,) = all_pairs(project)
    before = {path: path.read_bytes() for path in (pair.script, pair.notebook)}
    model = manager.get("notebooks/00_small.ipynb")
    manager.save(model, "notebooks/00_small.ipynb")
    assert pair.script.read_bytes() == before[pair.script]
    assert json.loads(pair.notebook.read_bytes()) == json.loads(before[pair.notebook])
    model = manager.get("notebooks/00_small.ipynb")
    model["content"]["cells"][0]["source"] = "# Is it fast?"
    manager.save(model, "notebooks/00_small.ipynb")
    assert pair.script.read_text() == SCRIPT.replace("Does it run?", "Is it fast?")
    notebook = read_notebook(pair.notebook)
    assert notebook.cells[0].source == "# Is it fast?" and notebook.cells[3].outputs
    pair.script.write_text(pair.script.read_text().replace("Yes.", "No."))
    assert manager.get("notebooks/00_small.ipynb")["content"]["cells"][-1]["source"] == "No."


def test_edits_of_the_notebook_alone_are_not_overwritten(built, tmp_path):
    project = copy(built, tmp_path)
    (pair,) = all_pairs(project)
    notebook = read_notebook(pair.notebook)
    notebook.cells[-1].source = "Perhaps."
    nbformat.write(notebook, pair.notebook)
    edited = pair.notebook.read_bytes()
    with pytest.raises(LiterateError, match=r"was edited and 00_small\.py lacks the edits; build with --take notebook"):
        build(pair, project, run=False)
    assert pair.notebook.read_bytes() == edited and pair.script.read_text() == SCRIPT
    build(pair, project, run=False, take="notebook")
    assert pair.script.read_text() == SCRIPT.replace("Yes.", "Perhaps.")
    nbformat.write(notebook, pair.notebook)
    pair.script.write_text(SCRIPT)
    build(pair, project, run=False, take="script")
    assert read_notebook(pair.notebook).cells[-1].source == "Yes."


def test_a_failing_cell_writes_nothing(tmp_path, capsys):
    project = make_project(tmp_path, SCRIPT.replace("print(um_per_px, sizes)", "print(sizes[9])"))
    assert main(["build", f"--root={tmp_path}"]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == (
        "error: 00_small: Cell [3] of the notebook stopped with IndexError: list index out of range"
    )
    assert [path.name for path in project.notebooks.iterdir()] == ["00_small.py"]
    assert not list(project.attachments.iterdir())
    assert issubclass(NotebookFailed, LiterateError)


def test_a_figure_cell_without_a_picture_writes_nothing(tmp_path, monkeypatch):
    project = make_project(tmp_path)
    monkeypatch.setattr(module, "execute", lambda notebook, **_: notebook)
    with pytest.raises(LiterateError, match="figure:bar shows 0 pictures"):
        build(all_pairs(project)[0], project)
    assert [path.name for path in project.notebooks.iterdir()] == ["00_small.py"]


def test_names_choose_notebooks(built):
    assert [pair.name for pair in select_pairs(built, ["00", "notebooks/00_small.py"])] == ["00_small"]
    with pytest.raises(LiterateError, match="'07' names no notebook; choose from: 00_small"):
        select_pairs(built, ["07"])
    with pytest.raises(LiterateError, match="There is no folder notebooks in"):
        find_project(built.results)
