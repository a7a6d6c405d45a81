"""Shared fixtures: small notebooks; a home for one test; one thread; a real Chromium; a JupyterLab."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import torch
from browser import jupyter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from admm_lib import data, records

PARAMETERS = 'profile = "quick"\nseed = 0\ndataset = "auto"'


if count := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # the workers share the processors
    torch.set_num_threads(max(1, torch.get_num_threads() // int(count)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """torch draws the same whichever tests ran before: in a test, and in what is set up for it."""
    torch.manual_seed(0)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """A function: writes notebook `name` of these code cells (markdown where one starts with "#")
    after a heading and a parameters cell (None: without one), and returns its path."""

    def write(name: str, *sources: str, parameters: str | None = PARAMETERS) -> Path:
        title = name[3:].removesuffix(".ipynb").replace("_", " ").capitalize()
        cells = [new_markdown_cell(f"# {name[:2]} · {title}\n\nDoes **this** run? About 1 s.")]
        if parameters is not None:
            cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        for source in sources:
            make = new_markdown_cell if source.startswith("#") else new_code_cell
            cells.append(make(source))
        path = tmp_path / "sources" / name
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records, files and cache in a temporary folder."""
    monkeypatch.setattr(records, "FOLDER", tmp_path / "data" / "records")
    monkeypatch.setattr(data, "HOME", tmp_path / "data")
    monkeypatch.setenv("ADMM_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads add in another order: for results that are compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the test is skipped, or fails under REQUIRE_BROWSER=1."""
    path = jupyter.chromium()
    if path is None:
        reason = f"no browser: none of {', '.join(jupyter.CHROMIUM)} is installed"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def page(chromium: str) -> Iterator["Page"]:  # noqa: F821
    """A fresh browser page (playwright's synchronous Page), 1300 by 1000 pixels."""
    from playwright.sync_api import sync_playwright

    # Started and stopped for each test: while it runs, asyncio thinks its loop is running here, and
    # the tests that execute notebooks in this process would notice.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=jupyter.OPTIONS)
        yield browser.new_page(viewport={"width": 1300, "height": 1000})
        browser.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A function: copies the given notebooks to a temporary folder, starts JupyterLab there, and
    returns the address of its /lab page with the token. The server ends with the test."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(*notebooks: Path) -> str:
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        for notebook in notebooks:
            shutil.copy(notebook, folder)
        server, address = jupyter.start_lab(folder, tmp_path)
        servers.append(server)
        return address

    yield start
    for server in servers:
        jupyter.stop_lab(server)
