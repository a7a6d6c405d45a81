"""Notebooks as their reader meets them: opened in JupyterLab in a real Chromium, run, played with."""

import nbformat
import pytest
from browser import jupyter

from admm_lib import notebooks

pytestmark = pytest.mark.browser


@pytest.fixture
def small(tmp_path, request):
    """A notebook in its smallest profile: what is tested here is the panel, not the training."""
    name = f"{request.param}.ipynb"
    notebook = notebooks.read(notebooks.HOME / name)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'profile = "quick"' in cell.source
    cell.source = cell.source.replace('profile = "quick"', 'profile = "smoke"')
    path = tmp_path / name
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize(
    ("small", "label"),
    [
        ("00_quickstart", "pruning ratio"),
        pytest.param("03_progressive_pruning", "final ratio", marks=pytest.mark.full),
        pytest.param("04_clustering_initialization", "bits", marks=pytest.mark.full),
        pytest.param("08_binarization", "values", marks=pytest.mark.full),
    ],
    indirect=["small"],
)
def test_slider_moves_the_picture_and_back(page, lab, small, label):
    jupyter.open_notebook(page, lab(small), small.name)
    jupyter.run_all(page, timeout=300)
    assert jupyter.errors(page) == []

    ratio = jupyter.slider(page, label)
    picture = jupyter.images(ratio).first
    before, position = jupyter.digest(picture), ratio.get_attribute("aria-valuenow")

    jupyter.press(ratio, "ArrowRight")
    assert ratio.get_attribute("aria-valuenow") != position
    after = jupyter.wait_for_other(picture, before)

    jupyter.press(ratio, "ArrowLeft")
    assert ratio.get_attribute("aria-valuenow") == position
    assert jupyter.wait_for_other(picture, after) == before
    assert jupyter.errors(page) == []
