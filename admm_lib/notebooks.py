"""The numbered notebooks: found, checked, and executed headless, with a page for each."""

import ast
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from . import files, notebook_html
from .notebook_form import KERNEL, added, normalise, write
from .recipes import PROFILES

__all__ = [
    "NotebookError", "Outcome", "check", "normalise", "parameters", "read", "run", "sequence",
    "write",
]  # fmt: skip

HOME = Path(__file__).resolve().parent.parent / "notebooks"
QUIET_KERNEL = ["--IPKernelApp.log_level=50"]  # what matters comes back with the cell


class NotebookError(ValueError):
    """A notebook, or what was asked of it, is not in order; found before anything is run."""


@dataclass(frozen=True)
class Outcome:
    """How one notebook ended: its executed copy, wall-clock seconds, and the problem, if any."""

    notebook: Path
    page: Path
    seconds: float
    problem: str | None = None


def sequence(folder: Path = HOME, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks `NN_name.ipynb` of `folder`, in order; `only` keeps those whose name starts so.

    Raises NotebookError when there are none, or none for an entry of `only`.
    """
    paths = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise NotebookError(f"no notebooks (NN_name.ipynb) in {folder}")
    for start in only:
        if not any(path.name.startswith(start) for path in paths):
            names = ", ".join(path.stem for path in paths)
            raise NotebookError(f"no notebook starts with {start!r}; there are {names}")
    return [path for path in paths if not only or path.name.startswith(tuple(only))]


def read(path: Path) -> NotebookNode:
    """The notebook at `path`, in format 4. Raises NotebookError where it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise NotebookError(f"there is no notebook {path}") from None
    except Exception as error:  # nbformat raises many kinds
        raise NotebookError(f"{path.name} is not a readable notebook: {error}") from None


def parameters(notebook: NotebookNode, name: str = "the notebook") -> dict[str, Any]:
    """Names and values of the cell tagged `parameters`, which holds literal assignments only.

    Raises NotebookError when there is no such cell, more than one, or anything else in it.
    """
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise NotebookError(f"{name} needs exactly one cell tagged `parameters`, and has {len(cells)}")
    values = {}
    try:
        for statement in ast.parse(cells[0].source).body:
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                raise ValueError(ast.unparse(statement))
            values[statement.targets[0].id] = ast.literal_eval(statement.value)
    except (AttributeError, SyntaxError, ValueError) as error:
        raise NotebookError(
            f"the parameters cell of {name} may hold only `name = literal` lines: {error}"
        ) from None
    return values


def check(path: Path, given: Mapping[str, Any]) -> None:
    """Raises NotebookError unless the notebook takes every given parameter, with such a value.

    papermill itself only warns about an unknown name, ends well, and has computed something else.
    """
    known = parameters(read(path), path.name)
    for name, value in given.items():
        if name not in known:
            nearest = get_close_matches(name, known, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(known)}"
            raise NotebookError(f"{path.name} has no parameter {name!r}; {hint}")
        wanted = type(known[name])
        if known[name] is not None and type(value) not in (wanted, *[int] * (wanted is float)):
            raise NotebookError(
                f"parameter {name!r} of {path.name} is a value like {known[name]!r}, not {value!r}"
            )
    profile = given.get("profile", known.get("profile", PROFILES[1]))
    if profile not in PROFILES:
        raise NotebookError(f"unknown profile {profile!r}; choose {', '.join(PROFILES)}")


def run(
    paths: Sequence[Path],
    out: Path,
    given: Mapping[str, Any] | None = None,
    *,
    timeout: int = 600,
    report: Callable[[str], object] = lambda text: None,
) -> list[Outcome]:
    """Execute the notebooks one after the other; executed copies and offline HTML go to `out`.

    Every notebook runs in its own folder with the parameters `given`; all are tried, also after a
    failure. `timeout` is in seconds and per cell. `report` gets pieces of text, as `write` would.
    Raises NotebookError, before anything runs, for a parameter that one of them does not take.
    """
    given = dict(given or {})
    for path in paths:
        check(path, given)
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for number, path in enumerate(paths, 1):
        report(f"[{number}/{len(paths)}] {path.stem} … ")
        outcome = _run_one(path.resolve(), out.resolve() / path.name, given, timeout)
        report(f"{outcome.seconds:.0f} s\n")
        if outcome.problem:
            report(f"  FAILED: {outcome.problem}\n")
        outcomes.append(outcome)
    return outcomes


def _run_one(path: Path, target: Path, given: dict[str, Any], timeout: int) -> Outcome:
    start, problem = time.perf_counter(), None
    target.unlink(missing_ok=True)
    with _headless():
        try:
            papermill.execute_notebook(
                path,
                target,
                given,
                kernel_name=KERNEL["name"],
                language=KERNEL["language"],
                extra_arguments=QUIET_KERNEL,
                progress_bar=False,
                cwd=path.parent,
                execution_timeout=timeout,
            )
        except Exception as error:  # whatever ends a notebook is its failure, not that of the run
            problem = _describe(error, target, timeout)
    seconds = time.perf_counter() - start
    page = target.with_suffix(".html")
    if target.exists():
        files.write_text(page, notebook_html.page(read(target), path))
    return Outcome(target, page, seconds, problem)


@contextmanager
def _headless() -> Iterator[None]:
    """Kernels inherit the environment: no progress bars while it is told so."""
    before = os.environ.get("ADMM_PROGRESS")
    os.environ["ADMM_PROGRESS"] = "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ["ADMM_PROGRESS"]
        else:
            os.environ["ADMM_PROGRESS"] = before


def _describe(error: Exception, target: Path, timeout: int) -> str:
    """One line: which cell, its first line, and the error."""
    match error:
        case PapermillExecutionError():
            reason = f"{error.ename}: {error.evalue}"
        case CellTimeoutError():
            reason = f"took longer than {timeout} s (--timeout allows more)"
        case DeadKernelError():
            reason = "the kernel died (out of memory?)"
        case _:
            reason = f"{type(error).__name__}: {error}"
    reason = (reason.strip().splitlines() or ["unknown error"])[0]
    cells = [] if not target.exists() else _code_cells(read(target))
    begun = [cell for cell in cells if cell.metadata.papermill.start_time]
    if not begun:
        return reason
    # After a timeout papermill calls every cell completed; it is then the last one that was begun.
    failed = next((cell for cell in begun if _is_error(cell)), begun[-1])
    first = next((line for line in failed.source.splitlines() if line.strip()), "")
    return f"code cell {cells.index(failed) + 1} ({first.strip()}): {reason}"


def _is_error(cell: NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The notebook's own code cells, without what papermill put in."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and not added(cell)]
