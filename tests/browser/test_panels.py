"""Notebooks as their reader meets them: opened in JupyterLab in a real Chromium, run, played with."""

import nbformat
import pytest
from browser import jupyter

import admm_lib as al
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
        pytest.param("05_joint_compression", "pruning ratio", marks=pytest.mark.full),
        pytest.param("06_structured_vs_nonstructured", "ratio", marks=pytest.mark.full),
        pytest.param("07_opq_allocation", "ratio", marks=pytest.mark.full),
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


@pytest.mark.full
@pytest.mark.parametrize("small", ["05_joint_compression"], indirect=True)
def test_a_file_is_offered_retrained_and_a_drawn_digit_is_read(page, lab, small):
    jupyter.open_notebook(page, lab(small), small.name)
    jupyter.run_all(page, timeout=300)
    link = page.locator("a[download]").first
    link.scroll_into_view_if_needed()
    assert link.get_attribute("download") == "lenet5-40x-3bit-levels.admm"
    with page.expect_download() as download:
        link.click()
    network = al.load(download.value.path())
    assert len(network.conv2.weight.unique()) <= 9

    page.get_by_role("button", name="Retrain").first.click()
    retrained = page.locator("a[download$='-retrained.admm']")
    retrained.wait_for(timeout=120_000)
    with page.expect_download() as download:
        retrained.click()
    assert al.load(download.value.path()).conv2.weight.count_nonzero() < 25_000 / 10

    canvas = page.locator("canvas").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 112, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 112, box["y"] + 200, steps=5)
    page.mouse.up()
    page.get_by_text("This is a 1, says the network").wait_for(timeout=30_000)
    assert jupyter.errors(page) == []
