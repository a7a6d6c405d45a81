"""The committed form: the same for every run, whatever ran before and wherever."""

import nbformat
import papermill
import pytest
from nbformat.v4 import new_output

from admm_lib import notebook_form, notebooks

PANEL = """import ipywidgets
spare = ipywidgets.Button()  # never shown
slider = ipywidgets.IntSlider(description="ratio")
ipywidgets.VBox([slider, ipywidgets.HTML("no picture")])"""
NOISE = """import sys
print("one"); sys.stdout.flush(); print("noise", file=sys.stderr); print("two")"""


@pytest.fixture
def executed(tiny, tmp_path):
    """A function: runs the same notebook again and returns what papermill made of it."""
    path = tiny("00_panel.ipynb", NOISE, PANEL, "seed", "seed", "# The same\n\ntext", "# The same\n\ntext")

    def run(**given: object) -> nbformat.NotebookNode:
        papermill.execute_notebook(
            path, tmp_path / "out.ipynb", given, progress_bar=False,
            kernel_name="python3", language="python",
        )  # fmt: skip
        return notebooks.read(tmp_path / "out.ipynb")

    return run


def test_two_runs_give_the_same_bytes(executed, tmp_path):
    first, second = executed(), executed(seed=0)  # the second with papermill's injected cell
    assert nbformat.writes(first) != nbformat.writes(second)
    one, two = notebooks.normalise(first), notebooks.normalise(second)
    assert nbformat.writes(one) == nbformat.writes(two)
    assert notebooks.normalise(one) == one
    nbformat.validate(one)

    assert [cell.execution_count for cell in one.cells if cell.cell_type == "code"] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert len({cell.id for cell in one.cells}) == len(one.cells)
    assert {frozenset(cell.metadata) for cell in one.cells} == {frozenset(), frozenset({"tags"})}
    noise = next(cell for cell in one.cells if cell.source == NOISE)
    assert [output.text for output in noise.outputs] == ["one\ntwo\n"]
    assert set(one.metadata) == {"kernelspec", "language_info", "widgets"}
    assert "version" not in one.metadata.language_info

    notebooks.write(first, tmp_path / "committed.ipynb")
    assert notebooks.read(tmp_path / "committed.ipynb") == one


def test_widgets_are_renamed_everywhere_and_unused_ones_go(executed):
    normal = notebooks.normalise(executed())
    state = normal.metadata.widgets[notebook_form.WIDGET_STATE].state
    names = [model.model_name for model in state.values()]
    assert "ButtonModel" not in names
    assert sorted(name for name in names if not name.endswith(("StyleModel", "LayoutModel"))) == [
        "HTMLModel",
        "IntSliderModel",
        "VBoxModel",
    ]
    views = [
        output.data[notebook_form.WIDGET_VIEW].model_id
        for cell in normal.cells
        for output in cell.get("outputs", [])
        if notebook_form.WIDGET_VIEW in output.get("data", {})
    ]
    assert views == [f"{1:032x}"]
    box = state[views[0]].state
    children = [child.removeprefix(notebook_form.REFERENCE) for child in box.children]
    assert [state[child].model_name for child in children] == ["IntSliderModel", "HTMLModel"]


def test_an_error_is_not_hidden(tiny):
    notebook = notebooks.read(tiny("00_a.ipynb", "1 / 0"))
    error = new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])
    notebook.cells[-1].outputs = [error]
    assert notebooks.normalise(notebook).cells[-1].outputs == [error]
    assert notebooks.normalise(notebook).cells[-1].execution_count is None
    assert "widgets" not in notebooks.normalise(notebook).metadata
