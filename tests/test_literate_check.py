"""Each check of a notebook pair fails on a fault planted for it, and on nothing else."""

import nbformat
import pytest

from literate import check
from literate.__main__ import main
from literate.build import build
from literate.compare import differences, same_text
from literate.kernel import finish
from literate.pairs import all_pairs, notebook_text, read_notebook, read_script, script_text
from tests.literate_project import SCRIPT, make_project

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="  # one pixel


@pytest.fixture
def project(tmp_path):
    """A project as building leaves it; the outputs are set by hand, which takes no kernel."""
    project = make_project(tmp_path)
    (pair,) = all_pairs(project)
    notebook = read_script(pair.script)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
    code[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="cell: 0.60\nNone [1, 2]\n")]
    code[3].outputs = [nbformat.v4.new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"})]
    pair.notebook.write_text(notebook_text(finish(notebook)))
    from literate.attachments import write_attachments

    assert write_attachments(read_notebook(pair.notebook), project) == ["bar.png"]
    assert write_attachments(read_notebook(pair.notebook), project) == []
    return project


def faults(project) -> list[str]:
    return [line for pair in all_pairs(project) for line in check.check_pair(pair, project)] + check.check_all(project)


def change(project, edit, *, rebuild: bool = False) -> None:
    """Apply `edit` to the notebook; with `rebuild` as if the script had been so and was built."""
    (pair,) = all_pairs(project)
    notebook = read_notebook(pair.notebook)
    edit(notebook)
    if rebuild:
        notebook = finish(notebook)
        pair.script.write_text(script_text(notebook))
    pair.notebook.write_text(nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n")


def test_a_built_pair_is_in_order(project, capsys):
    assert faults(project) == []
    assert main(["check", f"--root={project.root}"]) == 0
    assert capsys.readouterr().out == "Notebooks in order: 1.\n"


def test_a_missing_half_is_named(project):
    (pair,) = all_pairs(project)
    pair.script.rename(project.root / "kept.py")
    assert faults(project) == ["00_small.py is missing beside 00_small.ipynb"]
    (project.root / "kept.py").rename(pair.script)
    pair.notebook.unlink()
    assert faults(project) == ["00_small.ipynb is missing beside 00_small.py"]


def test_the_stale_half_is_named(project, capsys):
    (pair,) = all_pairs(project)
    pair.script.write_text(SCRIPT.replace("Yes.", "No."))
    assert faults(project) == ["00_small.ipynb is stale: it lacks edits of 00_small.py"]
    assert main(["check", f"--root={project.root}"]) == 2
    assert capsys.readouterr().err == "error: Faults in notebooks: 1.\n"
    pair.script.write_text(SCRIPT)
    change(project, lambda notebook: notebook.cells[-1].update(source="No."))
    assert faults(project) == ["00_small.py is stale: it lacks edits of 00_small.ipynb"]


def test_a_damaged_notebook_is_told(project):
    (pair,) = all_pairs(project)
    pair.notebook.write_text("{")
    assert faults(project)[0].startswith("00_small.ipynb is not a readable notebook")


def test_a_script_that_jupyterlab_would_save_otherwise(project):
    (pair,) = all_pairs(project)
    pair.script.write_text(SCRIPT + "\n\n")
    assert faults(project) == ["00_small.py: JupyterLab would save it otherwise"]


def cell(notebook, number: int):
    """Code cell `number` from 1."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"][number - 1]


def output(kind: str, **content):
    return nbformat.v4.new_output(kind, **content)


WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "4f3a"}}
PLANTED = {
    "code cell 3 stopped with ValueError": lambda nb: cell(nb, 3).outputs.append(
        output("error", ename="ValueError", evalue="no", traceback=[])
    ),
    "code cell 4 has execution count 9, not 4": lambda nb: cell(nb, 4).update(execution_count=9),
    "code cell 2 has execution count None, not 2": lambda nb: cell(nb, 2).update(execution_count=None),
    "code cell 3 was changed after it was run": lambda nb: cell(nb, 3).metadata.literate.update(source_hash="0"),
    "code cell 5 was changed after it was run": lambda nb: cell(nb, 5).metadata.pop("literate"),
    "cell 0 has an id that building did not give": lambda nb: nb.cells[0].update(id="abc"),
    "cell 2 has metadata execution": lambda nb: nb.cells[2].metadata.update(execution={"iopub.status.idle": "now"}),
    "it holds widget state": lambda nb: nb.metadata.update(widgets={"state": {}}),
    "code cell 3 shows a widget, which is blank without a kernel": lambda nb: cell(nb, 3).outputs.append(
        output("display_data", data=WIDGET)
    ),
    "code cell 3 prints an address in memory": lambda nb: cell(nb, 3).outputs.append(
        output("stream", name="stdout", text="<object object at 0x7f5a3c0>")
    ),
    "docs_obsidian/attachments/bar.png is not the picture of its cell": lambda nb: (
        cell(nb, 4).outputs[0].data.update({"image/png": PNG[:-8] + "AAAAAAAA"})
    ),
    "The cell tagged figure:bar shows 0 pictures; it must show exactly one.": lambda nb: cell(nb, 4).outputs.clear(),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_in_the_notebook_is_found(project, fault):
    change(project, PLANTED[fault])
    assert faults(project) == [f"00_small.ipynb: {fault}"]


STRUCTURE = {
    "0 cells are tagged parameters, not one": lambda nb: cell(nb, 1).metadata.pop("tags"),
    "2 cells are tagged parameters, not one": lambda nb: cell(nb, 3).metadata.update(tags=["parameters"]),
    "cell 3 has the unknown tag timer": lambda nb: cell(nb, 3).metadata.update(tags=["timer"]),
    'the code cell after the parameters must call check_parameters("00_small", globals())': lambda nb: cell(
        nb, 2
    ).update(source='check_parameters("00_other", globals())'),
    "The parameters cell of 00_small may hold only `name = plain value`, not `x = open('a')`.": lambda nb: cell(
        nb, 1
    ).update(source="x = open('a')"),
}


@pytest.mark.parametrize("fault", STRUCTURE)
def test_a_fault_in_the_script_is_found(project, fault):
    change(project, STRUCTURE[fault], rebuild=True)
    assert faults(project) == [f"00_small.py: {fault}"]


def test_a_path_of_this_machine_is_found(project):
    text = f"saved {project.root}/x\n"
    change(project, lambda nb: cell(nb, 3).outputs.append(output("stream", name="stdout", text=text)))
    assert faults(project) == ["00_small.ipynb: code cell 3 prints a path of this machine"]


def test_sizes_are_kept(project, monkeypatch):
    size = (project.notebooks / "00_small.ipynb").stat().st_size
    monkeypatch.setattr(check, "LARGEST", size - 1)
    assert len(faults(project)) == 1 and "it takes" in faults(project)[0]
    monkeypatch.setattr(check, "LARGEST", size)
    monkeypatch.setattr(check, "LARGEST_SUM", size - 1)
    assert len(faults(project)) == 1 and "all notebooks together take" in faults(project)[0]
    assert size - 1 == check.LARGEST_SUM


def test_limits_are_those_of_the_budget():
    assert check.LARGEST == 1.5 * 1024**2 and check.LARGEST_SUM == 15 * 1024**2


def test_two_notebooks_may_not_share_a_picture(project):
    for half in (".py", ".ipynb"):
        text = (project.notebooks / f"00_small{half}").read_text().replace("00_small", "01_more")
        (project.notebooks / f"01_more{half}").write_text(text)
    build(all_pairs(project)[1], project, run=False)
    assert "01_more.py: 00_small.py has a cell tagged figure:bar too" in faults(project)


def test_what_a_run_printed_is_compared(project):
    (pair,) = all_pairs(project)
    before, after = read_notebook(pair.notebook), read_notebook(pair.notebook)
    cell(after, 5).outputs = [output("stream", name="stdout", text="9.9\n")]
    cell(after, 4).outputs = []
    assert differences(before, after) == []
    cell(after, 3).outputs[0].text = "cell: 0.63\nNone [1, 2]\n"
    assert differences(before, after) == ["cell [3] printed 'cell: 0.60', now 'cell: 0.63'"]
    cell(after, 3).outputs[0].text = "cell: 0.60\n"
    assert differences(before, after) == ["cell [3] printed 'None [1, 2]', now ''"]
    after.cells.pop(1)
    assert differences(before, after) == ["cell [1] is not the same cell in both"]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("812 matches", "813 matches", True),
        ("812 matches", "850 matches", False),
        ("812 matches", "812 pairs", False),
        ("0.61 px", "0.62 px", True),
        ("0.61 px", "0.64 px", False),
        ("0.61 px", "-0.61 px", False),
        ("1.0e-05", "1.01e-05", True),
        ("1.0e-05", "2.0e-05", False),
        ("(1, 64, 80)", "(1, 64, 80)", True),
        ("a  b", "a b", True),
        ("cell_3 of 4", "cell_9 of 4", False),
    ],
)
def test_numbers_agree_as_far_as_they_were_printed(before, after, same):
    assert same_text(before, after) is same
