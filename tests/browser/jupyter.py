"""JupyterLab, started, and what a reader does in it: open a notebook, run it, move a slider, look.

The latter work on a page of playwright and the address that `start_lab` returns.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SETTINGS = {  # a JupyterLab that asks nothing, fetches nothing and keeps every cell in the page
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
QUIET = ("background-networking", "sync", "component-update", "gpu")
OPTIONS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]

READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.isReady && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
RUN_ALL = """() => {
    window.endOfRun = null;  // the command is not waited for here: that wait could not time out
    window.jupyterapp.commands.execute('notebook:run-all-cells').then(
        () => { window.endOfRun = 'ran'; },
        reason => { window.endOfRun = 'failed: ' + reason; });
}"""
DIGEST = """async image => {
    const bytes = await (await fetch(image.src)).arrayBuffer();
    const digest = await crypto.subtle.digest('SHA-256', bytes);
    return Array.from(new Uint8Array(digest), byte => byte.toString(16).padStart(2, '0')).join('');
}"""


def open_notebook(page: Page, address: str, name: str, timeout: float = 60) -> Locator:
    """Open notebook `name` and wait until its kernel is idle; returns the notebook's panel."""
    parts = urlsplit(address)
    url = f"{parts.scheme}://{parts.netloc}/lab/tree/{name}?reset&{parts.query}"
    page.goto(url, timeout=1000 * timeout)
    page.wait_for_function(READY, timeout=1000 * timeout)
    page.locator(".jp-Spinner").first.wait_for(state="hidden", timeout=1000 * timeout)
    return page.locator(".jp-NotebookPanel")


def run_all(page: Page, timeout: float = 120) -> None:
    """Run all cells and wait for the last one, at most `timeout` seconds."""
    page.evaluate(RUN_ALL)
    page.wait_for_function("() => window.endOfRun", timeout=1000 * timeout)
    page.wait_for_function(READY, timeout=1000 * timeout)
    assert page.evaluate("() => window.endOfRun") == "ran"


def errors(page: Page) -> list[str]:
    """What went wrong in the open notebook: error outputs, and panels that could not be drawn."""
    outputs = page.locator(
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error'],"
        ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"
    ).all_inner_texts()
    broken = page.get_by_text("Error displaying widget").all_inner_texts()
    for widget in page.locator(".jupyter-widgets-error-widget").all():
        widget.click()  # shows the browser's own error
        broken.append(widget.inner_text())
    return outputs + broken


def digest(image: Locator) -> str:
    """SHA-256 of the picture shown; its address alone is a new one after every update."""
    return image.evaluate(DIGEST)


def panels(page: Page) -> list[Locator]:
    """The output of each panel of the open notebook, from top to bottom."""
    areas = page.locator(".jp-OutputArea-child").filter(has=page.locator("img.widget-image"))
    areas.first.wait_for()
    return areas.all()


def picture(panel: Locator) -> Locator:
    """The panel's picture."""
    return panel.locator("img.widget-image").first


def controls(panel: Locator) -> list[Locator]:
    """The panel's sliders and menus, in the order in which the Tab key visits them."""
    return panel.locator("[role=slider], select").all()


def button(place: Page | Locator, name: str) -> Locator:
    """A panel's button by its text alone: its accessible name begins with its icon."""
    return place.locator("button.widget-button").filter(has_text=re.compile(f"^{re.escape(name)}$"))


def panel_of(control: Locator) -> Locator:
    """The output that a control is in."""
    return control.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-child')][1]")


def label(control: Locator) -> str:
    """The text beside a control."""
    box = control.locator("xpath=ancestor::*[contains(@class, 'widget-inline-hbox')][1]")
    return box.locator(".widget-label").first.inner_text()


def value(control: Locator) -> str:
    """Where a slider stands, or what a menu shows."""
    now = control.get_attribute("aria-valuenow")
    return control.input_value() if now is None else now


def move(control: Locator) -> str:
    """Move a control by one place with the keyboard; returns the key that moves it back.

    Up and down are JupyterLab's own, they go from cell to cell; menus take left and right, too.
    """
    before = value(control)
    for key, back in (("ArrowRight", "ArrowLeft"), ("ArrowLeft", "ArrowRight")):  # it may stand at its end
        press(control, key)
        if value(control) != before:
            return back
    raise AssertionError(f"{label(control)} does not move by an arrow key")


def press(control: Locator, key: str) -> None:
    """Focus the control and press a key on it, as a reader without a mouse would."""
    control.scroll_into_view_if_needed()
    control.focus()
    control.press(key)


def wait_for_other(image: Locator, before: str, timeout: float = 30) -> str:
    """Wait until the picture is another than `before`; returns its digest."""
    for _ in range(int(timeout * 10)):
        now = digest(image)
        if now != before:
            return now
        image.page.wait_for_timeout(100)
    raise AssertionError(f"the picture did not change within {timeout} s")


def chromium() -> str | None:
    """The path of a Chromium; None where none is installed."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def start_lab(folder: Path, home: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A JupyterLab in `folder`, with settings of its own in `home`, and the address of its page."""
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
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop_lab(server: "subprocess.Popen[bytes]") -> None:
    """End it, by force where it does not end by itself."""
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
