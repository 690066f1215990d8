"""Run the cells of a notebook in a fresh kernel by papermill, and hand back tidy outputs or one clear error."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from literate.errors import NotebookFailed
from literate.outputs import tidy_outputs
from literate.pairs import source_hash, tidy
from literate.questions import RECORDS_VARIABLE
from literate.reads import LOG_VARIABLE, START, WATCHED_VARIABLE
from microloftr import errors

ENVIRONMENT = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # figures land in the notebook, whatever the shell says
    "PYTHONHASHSEED": "0",
    RECORDS_VARIABLE: "",  # only a build keeps answers, whatever the shell says
    LOG_VARIABLE: "",  # and what was read
    WATCHED_VARIABLE: "",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger of the kernel would write a warning to the terminal
    "SOURCE_DATE_EPOCH": "0",  # matplotlib's SVG and PDF files carry a date otherwise
    "TQDM_DISABLE": "1",
}


def execute(
    notebook: NotebookNode,
    *,
    cwd: Path,
    parameters: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    progress: bool = False,
) -> NotebookNode:
    """Run every cell in order in folder `cwd`; returns a tidy executed copy, `parameters` injected as papermill does.

    Raises NotebookFailed with one sentence when a cell raises or the kernel dies.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it does not know `x: float | None`, and says so
    try:
        with _environment({**ENVIRONMENT, **(environment or {})}):
            executed = papermill.execute_notebook(
                deepcopy(notebook),
                None,
                parameters=parameters,
                kernel_name="python3",
                cwd=str(cwd),
                progress_bar=progress,
                record_timing=False,
                store_widget_state=False,
                coalesce_streams=True,
                start_timeout=180,  # a machine under load is slow, not broken
                iopub_timeout=60,
                extra_arguments=[
                    "--log-level=50",  # the kernel's own warnings are not for the user of a notebook
                    f"--IPKernelApp.exec_lines={START}",
                ],
            )
    except papermill.PapermillExecutionError as error:
        raise _failure(error.ename, error.evalue, error.exec_count) from None
    except DeadKernelError:
        raise NotebookFailed("The kernel of the notebook died, most likely for want of memory.") from None
    except CellTimeoutError as error:
        raise NotebookFailed(f"A cell of the notebook did not answer: {str(error).splitlines()[0]}") from None
    except NoSuchKernel:
        raise NotebookFailed("There is no Jupyter kernel python3 here; install ipykernel beside the package.") from None
    return finish(executed)


def finish(executed: NotebookNode) -> NotebookNode:
    """An executed notebook made deterministic, with the hash of each code cell's source beside its outputs."""
    for cell in executed.cells:
        if cell.cell_type == "code":
            cell.outputs = tidy_outputs(cell.outputs)
            cell.metadata["literate"] = {"source_hash": source_hash(cell.source)}
    return tidy(nbformat.from_dict(executed))


def _failure(name: str, message: str, count: int | None) -> NotebookFailed:
    """One sentence for an exception in a cell; our own exceptions already are one."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.MicroLoFTRError):
        return NotebookFailed(message, status=2)
    first = message.strip().splitlines()[0] if message.strip() else "no message"
    return NotebookFailed(f"Cell [{count}] of the notebook stopped with {name}: {first}", status=1)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the kernel, which inherits ours; papermill has no argument for them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
