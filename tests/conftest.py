"""Shared fixtures: small notebooks; a home for one test; one thread; a real Chromium; a JupyterLab."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from admm_lib import data, records

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SETTINGS = {  # a JupyterLab that asks nothing, fetches nothing and keeps every cell in the page
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


PARAMETERS = 'profile = "quick"\nseed = 0\ndataset = "auto"'


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
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        reason = f"no browser: none of {', '.join(CHROMIUM)} is installed"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def page(chromium: str) -> Iterator["Page"]:  # noqa: F821
    """A fresh browser page (playwright's synchronous Page), 1300 by 1000 pixels."""
    from playwright.sync_api import sync_playwright

    quiet = ("background-networking", "sync", "component-update", "gpu")
    options = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    # Started and stopped for each test: while it runs, asyncio thinks its loop is running here, and
    # the tests that execute notebooks in this process would notice.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
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
        server, address = _start_lab(folder, tmp_path)
        servers.append(server)
        return address

    yield start
    for server in servers:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _start_lab(folder: Path, home: Path) -> tuple[subprocess.Popen[bytes], str]:
    for name, values in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    own = {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {name: str(home / value) for name, value in own.items()}
    token, port = secrets.token_hex(16), _free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser"]
    command += [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
    ]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.extension_manager=readonly"]
    command += ["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []
    log = home / "jupyterlab.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=stream)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5).close()
            return server, f"http://127.0.0.1:{port}/lab?token={token}"
        except OSError:
            time.sleep(0.2)
    server.kill()
    server.wait()
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
