"""Parameters: read from the cell, parsed from the command line, refused with one sentence when they do not fit."""

import pytest

from literate import parameters as module
from literate.errors import LiterateError
from literate.parameters import (
    check_parameters,
    check_values,
    parameters_cell,
    parse_assignments,
    parse_cell,
    read_parameters,
)
from microloftr.errors import MicroLoFTRError, ParameterError
from tests.literate_project import SCRIPT

SMALL = parse_cell(parameters_cell(SCRIPT, "00_small"), "00_small")


def test_cell_gives_names_defaults_and_types():
    assert {name: (p.default, p.kind, p.item, p.optional) for name, p in SMALL.items()} == {
        "threshold": (0.2, "float", None, False),
        "count": (3, "int", None, False),
        "word": ("cell", "str", None, False),
        "sizes": ([1, 2], "list", "int", False),
        "um_per_px": (None, "float", None, True),
    }


def test_command_line_texts_become_values_of_the_default_type():
    texts = ["threshold=1", "count=-4", "word=a = b", "sizes=[3]", "um_per_px=none"]
    values = parse_assignments(texts, SMALL, "00_small")
    assert values == {"threshold": 1.0, "count": -4, "word": "a = b", "sizes": [3], "um_per_px": None}
    assert type(values["threshold"]) is float
    flags = parse_cell("flag = False\nangles = [0.5]\nnames: list[str] = []\nleft: int | None = 3", "x")
    assert parse_assignments(["flag=Yes", "angles=1, 2.5", "names=a,b", "left="], flags, "x") == {
        "flag": True,
        "angles": [1.0, 2.5],
        "names": ["a", "b"],
        "left": None,
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("treshold=1", "Notebook 00_small has no parameter 'treshold'; did you mean 'threshold'?"),
        ("zzz=1", "no parameter 'zzz'; its parameters are: threshold, count, word, sizes, um_per_px."),
        ("threshold=high", "Parameter threshold must be a float such as 0.2, not 'high'."),
        ("threshold=nan", "Parameter threshold must be a float such as 0.2, not 'nan'."),
        ("count=2.5", "Parameter count must be an int such as 3, not '2.5'."),
        ("sizes=[1, 'a']", "Parameter sizes must be a list of int such as [1, 2], not '[1, 'a']'."),
        ("sizes=[1, ", "Parameter sizes must be a list of int such as [1, 2], not '[1, '."),
        ("um_per_px=x", "Parameter um_per_px must be a float or None such as 0.5, not 'x'."),
        ("count", "A parameter is given as NAME=VALUE, not 'count'."),
    ],
)
def test_what_does_not_fit_is_one_sentence(text, sentence):
    with pytest.raises(ParameterError) as caught:
        parse_assignments([text], SMALL, "00_small")
    assert str(caught.value).endswith(sentence)


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(ParameterError, match="count is given twice"):
        parse_assignments(["count=1", "count=2"], SMALL, "00_small")


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", True), ("count", 2.0), ("threshold", "1"), ("word", None), ("sizes", (1, 2)), ("threshold", 1e999)],
)
def test_values_of_a_wrong_type_are_refused(name, value):
    with pytest.raises(ParameterError, match=f"Parameter {name} must be"):
        check_values({name: value}, SMALL, "00_small")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1 + len('a')", "only `name = plain value`, not `x = 1 \\+ len"),
        ("import os", "not `import os`"),
        ("x, y = 1, 2", "only `name = plain value`"),
        ("x = None", "written `x: float | None = None`"),
        ("x: dict = {}", "must be of one type"),
    ],
)
def test_a_cell_with_more_than_plain_values_is_refused(source, complaint):
    with pytest.raises(LiterateError, match=complaint):
        parse_cell(source, "00_small")


def test_exactly_one_cell_is_tagged_parameters():
    with pytest.raises(LiterateError, match="has 0 cells"):
        parameters_cell("# %%\nx = 1\n", "00_small")
    with pytest.raises(LiterateError, match="has 2 cells"):
        parameters_cell('# %% tags=["parameters"]\nx = 1\n# %% tags=["parameters"]\ny = 1\n', "00_small")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A namespace as a kernel keeps it: `In` lists the cells run so far, the last one being the one that checks."""
    (tmp_path / "00_small.py").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.setenv(module.FOLDER_VARIABLE, str(tmp_path))

    def run(*cells: str) -> dict:
        namespace: dict = {"In": ["", *cells, "check_parameters(…)"]}
        for cell in cells:
            exec(cell, namespace)
        check_parameters("00_small", namespace)
        return namespace

    return run


CELL = parameters_cell(SCRIPT, "00_small")


def test_the_checking_cell_accepts_what_fits(kernel):
    assert kernel(CELL)["count"] == 3
    namespace = kernel("import math\nlimit = 5", CELL, "# Parameters\nthreshold = 1\n")
    assert type(namespace["threshold"]) is float


def test_the_checking_cell_refuses_what_papermill_injects_silently(kernel):
    with pytest.raises(ParameterError, match="did you mean 'threshold'"):
        kernel(CELL, "# Parameters\ntreshold = 0.5\n")
    with pytest.raises(ParameterError, match="count must be an int"):
        kernel(CELL, "# Parameters\ncount = 'many'\n")
    with pytest.raises(ParameterError, match="threshold must be a float"):
        kernel(CELL, "# Parameters\nthreshold = float('nan')\nword = 'a'\n")


def test_the_checking_cell_lets_the_rest_of_the_notebook_be(kernel):
    kernel("limit = 5", CELL)
    kernel(CELL, "import math\nmatches = [1]")
    with pytest.raises(ParameterError, match="run the parameters cell first"):
        kernel("limit = 5")


def test_a_missing_script_is_told(tmp_path):
    with pytest.raises(MicroLoFTRError, match="There is no script 07_none"):
        read_parameters("07_none", tmp_path)
