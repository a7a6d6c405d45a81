"""The committed form of an executed notebook: the same bytes whoever ran it, and whenever."""

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from . import files

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
LANGUAGE = {  # without the version, which differs from machine to machine
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "codemirror_mode": {"name": "ipython", "version": 3},
}
PAPERMILL_CELLS = {"injected-parameters", "papermill-error-cell-tag"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
REFERENCE = "IPY_MODEL_"  # how one widget's state names another


def added(cell: NotebookNode) -> bool:
    """Whether papermill put this cell in: injected parameters, or the marks of an error."""
    return bool(PAPERMILL_CELLS & set(cell.metadata.get("tags", [])))


def normalise(notebook: NotebookNode) -> NotebookNode:
    """The notebook in its committed form, as a new notebook. Idempotent.

    Keeps sources, tags and outputs; counts cells 1, 2, …, names cells by their content and widgets
    by their order, and drops time stamps, papermill's additions, stderr and unused widget state.
    """
    nb = copy.deepcopy(notebook)
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.cells = [cell for cell in nb.cells if not added(cell)]
    seen: dict[str, int] = {}
    count = 0
    for cell in nb.cells:
        kept = {"tags": cell.metadata.get("tags"), "jupyter": cell.metadata.get("jupyter")}
        cell.metadata = nbformat.from_dict({key: value for key, value in kept.items() if value})
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[name] = seen.get(name, 0) + 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        if cell.cell_type == "code":
            count += cell.execution_count is not None
            cell.execution_count = None if cell.execution_count is None else count
            cell.outputs = _outputs(cell)
    state = nb.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    state = _rename_widgets(nb, state)
    if state:
        widgets = {"state": state, "version_major": 2, "version_minor": 0}
        nb.metadata.widgets = nbformat.from_dict({WIDGET_STATE: widgets})
    return nb


def _outputs(cell: NotebookNode) -> list[NotebookNode]:
    """The cell's outputs without stderr, with neighbouring pieces of stdout joined."""
    outputs: list[NotebookNode] = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name != "stdout":
            continue
        if output.output_type == "stream" and outputs and outputs[-1].output_type == "stream":
            outputs[-1].text += output.text
            continue
        if output.output_type == "execute_result":
            output.execution_count = cell.execution_count
        outputs.append(output)
    return outputs


def _rename_widgets(nb: NotebookNode, state: Mapping[str, Any]) -> dict[str, Any]:
    """Name widgets by the order in which the outputs reach them; the state of those, renamed."""
    names: dict[str, str] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Mapping):
            for key in sorted(value):
                visit(value[key])
        elif isinstance(value, list):
            for item in value:
                visit(item)
        elif isinstance(value, str) and value.startswith(REFERENCE):
            model = value.removeprefix(REFERENCE)
            if model not in names:
                names[model] = f"{len(names) + 1:032x}"
                visit(state.get(model, {}))

    def renamed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if isinstance(value, str) and value.startswith(REFERENCE):
            return REFERENCE + names[value.removeprefix(REFERENCE)]
        return value

    for cell in nb.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(WIDGET_VIEW)
            if view:
                visit(REFERENCE + view["model_id"])
                view["model_id"] = names[view["model_id"]]
    return {names[model]: renamed(state[model]) for model in names if model in state}


def write(notebook: NotebookNode, path: Path) -> None:
    """Write the committed form of `notebook`, where it differs from what is there."""
    text = nbformat.writes(normalise(notebook)) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with files.replaced(path) as file:
            file.write(text.encode())
