"""Runs with one's own parameters, and the main job around notebook 00: whole results or none, one line per fault."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest

from literate import match, run
from literate.__main__ import main, usage
from literate.errors import LiterateError, NotebookFailed
from literate.match import NOTEBOOK
from literate.parameters import FOLDER_VARIABLE
from tests.literate_project import make_project

SCRIPT = f'''# %% tags=["parameters"]
image_0 = ""
image_1 = ""
out = ""
um_per_px_0: float | None = None
um_per_px_1: float | None = None
limit = 0.5
matcher = "micro"

# %%
from literate.parameters import check_parameters

check_parameters("{NOTEBOOK}", globals())

# %%
import json
from pathlib import Path

from microloftr.errors import ImageError

if Path(image_1).name == "noise.png":
    raise ImageError(f"{{Path(image_1).name}} is no image.")
if limit > 1:
    1 / 0
Path(out, "matches.csv").write_text("x_0")
summary = {{"image_0": "bundled a", "image_1": "bundled b", "given": image_0}}
Path(out, "summary.json").write_text(json.dumps(summary))
print(f"{{int(812 * limit)}} matches, {{um_per_px_0}} µm")
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    project = make_project(tmp_path / "clone", SCRIPT, NOTEBOOK)
    monkeypatch.chdir(tmp_path)
    for name in ("a b.ome.tif", "ü.png", "noise.png"):
        Path(name).write_bytes(b"II*")
    Path("empty.png").touch()
    return project


@pytest.fixture
def no_kernel(monkeypatch):
    """The notebook's work without its kernel, which takes seconds: for tests of what stands around it."""

    def stand_in(project, name, values, *, cwd):
        if values.get("image_1", "").endswith("noise.png"):
            raise NotebookFailed("noise.png is no image.", status=2)
        summary = {"image_0": "bundled a", "image_1": "bundled b", "values": values}
        (cwd / "summary.json").write_text(json.dumps(summary))
        return nbformat.v4.new_notebook()

    monkeypatch.setattr(run, "run_notebook", stand_in)


def call(project, *arguments: str) -> int:
    return main(["match", f"--root={project.root}", *arguments])


def files(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_images_of_ones_own_end_to_end(project, capfd):
    assert call(project, "--um-per-px-0=0.5", "--um-per-px-1=", "--out=", "--", "a b.ome.tif", "ü.png") == 0
    folder = Path("matches/a b__ü")
    assert files(folder) == [f"{NOTEBOOK}.ipynb", "matches.csv", "summary.json"] and files("matches") == ["a b__ü"]
    assert capfd.readouterr().out.splitlines() == [
        "406 matches, 0.5 µm",
        "",
        f"The result lies in {folder}{os.sep}",
        f"  {NOTEBOOK}.ipynb  the executed notebook: every step with its pictures",
        "  matches.csv                     the matching points in both images, with their confidence",
        "  summary.json                    the numbers above, for programs",
    ]
    assert json.loads((folder / "summary.json").read_text())["given"] == str(Path("a b.ome.tif").resolve())
    notebook = nbformat.read(folder / f"{NOTEBOOK}.ipynb", 4)
    assert "jupytext" not in notebook.metadata  # saved in JupyterLab it must not grow a script beside it
    assert 'out = "."' in notebook.cells[1].source and notebook.cells[1].metadata.tags == ["injected-parameters"]


def test_a_cell_that_refuses_or_stops_leaves_nothing(project, capfd):
    assert call(project, "a b.ome.tif", "noise.png") == 2
    assert capfd.readouterr() == ("", "error: noise.png is no image.\n")
    assert not Path("matches").exists()
    assert call(project, "-p", "limit=2") == 1
    assert capfd.readouterr().err == (
        f"error: {NOTEBOOK}: Cell [4] of the notebook stopped with ZeroDivisionError: division by zero\n"
    )
    assert not Path("matches").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.tif", "ü.png"], "There is no image file absent.tif."),
        (["ü.png", "."], ". is a folder, not an image file."),
        (["ü.png", "empty.png"], "The image file empty.png is empty."),
        (["ü.png"], "Give two images, IMAGE_0 and IMAGE_1, or none for the bundled pair; not 1."),
        (["", "ü.png"], "Give two images, IMAGE_0 and IMAGE_1, or none for the bundled pair; not 1."),
        (["-p", "limt=1"], f"Notebook {NOTEBOOK} has no parameter 'limt'; did you mean 'limit'?"),
        (["-p", "limit=a"], "Parameter limit must be a float such as 0.5, not 'a'."),
        (["--um-per-px-1=0"], "The pixel size um_per_px_1 must be a number of µm above 0 such as 0.5, not '0'."),
        (["--um-per-px-0=-1"], "The pixel size um_per_px_0 must be a number of µm above 0 such as 0.5, not '-1'."),
        (["--um-per-px-0=x"], "Parameter um_per_px_0 must be a float or None such as 0.5, not 'x'."),
        (["-p", "image_0=ü.png"], "The two images are given as they are, IMAGE_0 IMAGE_1, not by -p."),
        (["-p", "out=x"], "The folder of the result is given by --out DIR, not by -p out=…."),
    ],
)
def test_bad_input_is_told_before_a_kernel_starts(project, monkeypatch, capfd, arguments, sentence):
    monkeypatch.setattr(run, "run_notebook", None)
    assert call(project, *arguments) == 2
    assert capfd.readouterr() == ("", f"error: {sentence}\n")
    assert not Path("matches").exists()


def test_an_unreadable_image_is_told(project, monkeypatch, capfd):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(match, "open", refuse, raising=False)
    assert call(project, "a b.ome.tif", "ü.png") == 2
    assert "The image file a b.ome.tif cannot be read: permission denied." in capfd.readouterr().err


def test_an_earlier_result_is_kept(project, no_kernel, capsys):
    assert call(project) == 0
    Path("matches/bundled a__bundled b/mine.txt").touch()
    assert call(project) == call(project) == 0
    assert files("matches") == ["bundled a__bundled b", "bundled a__bundled b-2", "bundled a__bundled b-3"]
    assert capsys.readouterr().out.endswith(
        "The earlier result in bundled a__bundled b was kept; --overwrite would replace it.\n"
    )
    assert call(project, "--overwrite") == 0
    assert len(files("matches")) == 3 and "mine.txt" not in files("matches/bundled a__bundled b")


def test_a_failed_run_keeps_the_result_it_was_to_replace(project, no_kernel):
    assert call(project, "ü.png", "a b.ome.tif", "--out=x") == 0
    before = Path("x/summary.json").read_bytes()
    assert call(project, "ü.png", "noise.png", "--out=x", "--overwrite") == 2
    assert Path("x/summary.json").read_bytes() == before and files("x") == [f"{NOTEBOOK}.ipynb", "summary.json"]
    assert not any(name.startswith(".match") for name in files("."))


def test_a_named_folder_is_used_as_it_is_or_refused(project, no_kernel, capsys):
    Path("new").mkdir()
    inode = Path("new").stat().st_ino
    assert call(project, "--out=new") == 0
    assert Path("new").stat().st_ino == inode and "summary.json" in files("new")
    assert call(project, "--out=deep/er/one") == 0 and "summary.json" in files("deep/er/one")
    capsys.readouterr()
    assert call(project, "--out=new") == 2
    assert "exists and is not empty; name another folder or add --overwrite." in capsys.readouterr().err
    assert call(project, "--out=new", "--overwrite") == 0
    assert call(project, "--out=ü.png") == 2
    assert "is a file; the result needs a folder of its own." in capsys.readouterr().err
    assert call(project, "--out=clone", "--overwrite") == 2
    assert "holds files that are no earlier result, so it is not replaced" in capsys.readouterr().err
    assert files("clone") == ["README.md", "docs_obsidian", "notebooks", "results"]


def test_a_place_taken_meanwhile_is_not_overwritten(project):
    work = Path("work")
    work.mkdir()
    (work / "summary.json").touch()
    taken = Path("matches/a__b").absolute()
    taken.mkdir(parents=True)
    (taken / "theirs").touch()
    assert match.put(work, taken, Path("old"), named=False, overwrite=False) == taken.with_name("a__b-2")
    work.mkdir()
    with pytest.raises(LiterateError, match="is not empty"):
        match.put(work, taken, Path("old"), named=True, overwrite=False)
    assert files(taken) == ["theirs"]


def test_a_notebook_without_a_summary_is_told(tmp_path):
    with pytest.raises(LiterateError, match=r"wrote no readable summary\.json"):
        match.read_summary(tmp_path)


def test_a_file_given_as_a_parameter_is_found_from_the_folder_of_the_run(project, no_kernel):
    assert call(project, "-p", "matcher=ü.png", "--out=x") == 0
    assert json.loads(Path("x/summary.json").read_text())["values"]["matcher"] == str(Path("ü.png").resolve())


def test_long_names_fit_into_a_folder_name():
    values = {"image_0": "/x/" + "ü" * 120 + ".png", "image_1": "b.ome.tif"}
    assert match.default_name(values, {}) == "ü" * 50 + "__b"


def test_run_writes_the_executed_notebook(project, capsys):
    output = Path("out put.ipynb")
    out = project.root / "results"
    arguments = [f"--root={project.root}", "-p", f"out={out}", "-p", "image_0=x", "--output", str(output)]
    assert main(["run", "00", *arguments]) == 0
    assert capsys.readouterr().out == "Executed notebook: out put.ipynb\n"
    assert nbformat.read(output, 4).cells[1].source.endswith('image_0 = "x"\n')
    assert json.loads((out / "summary.json").read_text())["given"] == "x"


def test_run_checks_before_it_starts(project, monkeypatch, capsys):
    monkeypatch.setattr(run, "run_notebook", None)
    assert main(["run", "00", f"--root={project.root}", "-p", "limt=2"]) == 2
    assert "did you mean 'limit'?" in capsys.readouterr().err
    assert main(["run", "07", f"--root={project.root}"]) == 2
    assert "'07' names no notebook" in capsys.readouterr().err


def test_plain_papermill_is_refused_in_the_notebook(project, monkeypatch):
    """papermill itself injects anything; the cell after the parameters refuses an unknown name."""
    from literate.pairs import notebook_text, read_script

    monkeypatch.setenv(FOLDER_VARIABLE, str(project.notebooks))
    Path("plain.ipynb").write_text(notebook_text(read_script(project.notebooks / f"{NOTEBOOK}.py")))
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook("plain.ipynb", None, {"limt": 3}, progress_bar=False, kernel_name="python3")
    assert caught.value.ename == "ParameterError" and "did you mean 'limit'?" in caught.value.evalue


def test_commands_are_listed_and_a_misspelt_one_is_told(capsys):
    assert main([]) == main(["--help"]) == 0
    assert capsys.readouterr().out == 2 * (usage() + "\n")
    assert main(["mtch"]) == 2
    assert capsys.readouterr().err == "error: There is no command 'mtch': did you mean 'match'?\n"
    done = subprocess.run([sys.executable, "-m", "literate", "xyzzy"], capture_output=True, text=True)
    assert done.returncode == 2 and "choose from: match, build" in done.stderr


def test_a_folder_that_cannot_be_made_is_one_line(project, no_kernel, capsys):
    assert call(project, "--out=ü.png/x/y") == 2
    assert capsys.readouterr().err.startswith("error: Cannot use ")


@pytest.mark.long
@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_nothing(project, sign, status):
    script = project.notebooks / f"{NOTEBOOK}.py"
    script.write_text(script.read_text() + '\n# %%\nimport time\n\nPath("../../reached").touch()\ntime.sleep(300)\n')
    Path("matches").mkdir()
    command = [sys.executable, "-m", "literate", "match", f"--root={project.root}"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not Path("matches/reached").exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.2)
    Path("matches/reached").unlink()
    running.send_signal(sign)
    assert running.communicate(timeout=60) == ("", "") and running.returncode == status
    assert files("matches") == []
