"""Notebooks as their reader meets them: opened in JupyterLab in a real Chromium, run, played with."""

import csv

import nbformat
import numpy as np
import onnxruntime
import pytest
from browser import jupyter
from playwright.sync_api import expect

import admm_lib as al
from admm_lib import notebooks

pytestmark = pytest.mark.browser

ALL = notebooks.sequence()
LONG_WORK = {  # the label of the button that starts it
    "02_one_shot_pruning": "Retrain", "03_progressive_pruning": "Run", "05_joint_compression": "Retrain",
    "08_binarization": "Train",
}  # fmt: skip


def full(paths):
    """All but the first in the slow tier."""
    return [path if path == ALL[0] else pytest.param(path, marks=pytest.mark.full) for path in paths]


def named(path):
    return path.stem


def smallest(path, folder):
    """A notebook in its smallest profile: what is tested here is the panels, not the training."""
    notebook = notebooks.read(path)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'profile = "quick"' in cell.source
    cell.source = cell.source.replace('profile = "quick"', 'profile = "smoke"')
    nbformat.write(notebook, folder / path.name)
    return folder / path.name


@pytest.fixture
def ran(page, lab, tmp_path, request):
    """The page of a notebook in its smallest profile, all cells run, with the errors of the page itself."""
    small = smallest(request.param, tmp_path)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    jupyter.open_notebook(page, lab(small), small.name)
    jupyter.run_all(page, timeout=300)
    assert jupyter.errors(page) == []
    yield page
    assert jupyter.errors(page) == []
    assert wrong == []


@pytest.mark.parametrize("ran", full(ALL), indirect=True, ids=named)
def test_every_control_moves_its_picture_and_back_and_long_work_stops(ran, request):
    for panel in jupyter.panels(ran):
        picture = jupyter.picture(panel)
        for button in ("Whole round", "More rounds"):  # what starts at nothing has to begin first
            if (begin := panel.get_by_role("button", name=button)).count():
                before = jupyter.digest(picture)
                jupyter.press(begin, "Enter")
                jupyter.wait_for_other(picture, before)
        assert len(picture.get_attribute("alt")) > 20
        before = jupyter.digest(picture)
        for control in jupyter.controls(panel):
            assert jupyter.label(control)
            assert control.get_attribute("role") != "slider" or (
                control.get_attribute("aria-label") == jupyter.label(control)
            )
            start = jupyter.value(control)
            back = jupyter.move(control)
            after = jupyter.wait_for_other(picture, before)
            jupyter.press(control, back)
            assert jupyter.value(control) == start
            assert jupyter.wait_for_other(picture, after) == before, jupyter.label(control)
        code = panel.get_by_role("button", name="Copy as code")
        jupyter.press(code, "Enter")
        panel.locator("pre", has_text="import").wait_for()
        jupyter.press(code, "Enter")
        panel.locator("pre").wait_for(state="detached")
        jupyter.press(panel.get_by_role("button", name="Save figure"), "Enter")
        with ran.expect_download() as download:
            panel.locator("a[download$='.png']").click()
        assert download.value.path().read_bytes().startswith(b"\x89PNG")
    if (stem := request.node.callspec.id) in LONG_WORK:
        stops(ran, LONG_WORK[stem])


def stops(page, name):
    """Long work begins, and Stop ends it and leaves the panel usable."""
    start = jupyter.button(page, name).first
    panel = jupyter.panel_of(start)
    stop = jupyter.button(panel, "Stop")
    assert stop.is_disabled()
    start.scroll_into_view_if_needed()
    start.click()
    expect(stop).to_be_enabled(timeout=60_000)
    stop.click()
    panel.get_by_text("stopped").wait_for(timeout=5_000)
    assert start.is_enabled()
    control, picture = jupyter.controls(panel)[0], jupyter.picture(panel)
    before = jupyter.digest(picture)
    jupyter.move(control)
    jupyter.wait_for_other(picture, before)


@pytest.mark.parametrize("path", full(ALL), ids=named)
def test_a_clone_that_is_not_trusted_shows_still_pictures(page, lab, path):
    """Nothing is run: what a reader sees who has just opened the notebook, or has no kernel."""
    panel = jupyter.open_notebook(page, lab(path), path.name)
    made = [
        output for cell in notebooks.read(path).cells for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    pictures = panel.locator(".jp-OutputArea-output img")
    assert pictures.count() == len(made) > 0
    for number in range(len(made)):
        pictures.nth(number).scroll_into_view_if_needed()
        assert pictures.nth(number).evaluate("image => image.complete && image.naturalWidth > 100")
    assert panel.locator("img.widget-image").count() == 0
    assert jupyter.errors(page) == []


@pytest.mark.full
@pytest.mark.parametrize("ran", [each for each in ALL if each.stem == "00_quickstart"], indirect=True)
def test_network_table_and_figure_are_offered_as_files(ran):
    found = {}
    for label, ending in (("ONNX", "onnx"), ("layers", "csv"), ("figure", "png")):
        jupyter.press(ran.get_by_role("button", name=f"Save {label}").first, "Enter")
        link = ran.locator(f"a[download$='.{ending}']")
        link.wait_for(timeout=60_000)
        with ran.expect_download() as download:
            link.click()
        found[label] = download.value.path()
    pixels = np.zeros((2, 1, 28, 28), dtype=np.float32)
    session = onnxruntime.InferenceSession(found["ONNX"])
    (answers,) = session.run(None, {session.get_inputs()[0].name: pixels})
    assert answers.shape == (2, 10)
    rows = list(csv.DictReader(found["layers"].read_text().splitlines()))
    assert [row["name"] for row in rows] == [f"{name}.weight" for name in ("conv1", "conv2", "fc1", "fc2")]
    assert sum(int(row["nonzeros"]) for row in rows) <= 430_500 / 20
    assert found["figure"].read_bytes().startswith(b"\x89PNG")


@pytest.mark.full
@pytest.mark.parametrize("ran", [each for each in ALL if each.stem == "05_joint_compression"], indirect=True)
def test_a_file_is_offered_retrained_and_a_drawn_digit_is_read(ran):
    jupyter.press(ran.get_by_role("button", name="Save .admm").first, "Enter")
    link = ran.locator("a[download='lenet5-40x-3bit-levels.admm']")
    with ran.expect_download() as download:
        link.click()
    network = al.load(download.value.path())
    assert len(network.conv2.weight.unique()) <= 9

    ran.get_by_role("button", name="Retrain").first.click()
    retrained = ran.locator("a[download$='-retrained.admm']")
    retrained.wait_for(timeout=120_000)
    with ran.expect_download() as download:
        retrained.click()
    assert al.load(download.value.path()).conv2.weight.count_nonzero() < 25_000 / 10

    canvas = ran.locator("canvas").last
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    ran.mouse.move(box["x"] + 112, box["y"] + 30)
    ran.mouse.down()
    ran.mouse.move(box["x"] + 112, box["y"] + 200, steps=5)
    ran.mouse.up()
    ran.get_by_text("This is a 1, says the network").wait_for(timeout=30_000)
