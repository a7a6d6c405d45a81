"""Notebook 00 as its reader meets it: opened in JupyterLab in a real Chromium, run, played with."""

import nbformat
import pytest
from browser import jupyter

from admm_lib import notebooks

pytestmark = pytest.mark.browser


@pytest.fixture
def quickstart(tmp_path):
    """Notebook 00 in its smallest profile: what is tested here is the panel, not the training."""
    notebook = notebooks.read(notebooks.HOME / "00_quickstart.ipynb")
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'profile = "quick"' in cell.source
    cell.source = cell.source.replace('profile = "quick"', 'profile = "smoke"')
    path = tmp_path / "00_quickstart.ipynb"
    nbformat.write(notebook, path)
    return path


def test_slider_moves_the_picture_and_back(page, lab, quickstart):
    jupyter.open_notebook(page, lab(quickstart), quickstart.name)
    jupyter.run_all(page, timeout=300)
    assert jupyter.errors(page) == []

    ratio = jupyter.slider(page, "pruning ratio")
    picture = jupyter.images(ratio).first
    before, position = jupyter.digest(picture), ratio.get_attribute("aria-valuenow")

    jupyter.press(ratio, "ArrowRight")
    assert ratio.get_attribute("aria-valuenow") != position
    after = jupyter.wait_for_other(picture, before)

    jupyter.press(ratio, "ArrowLeft")
    assert ratio.get_attribute("aria-valuenow") == position
    assert jupyter.wait_for_other(picture, after) == before
    assert jupyter.errors(page) == []
