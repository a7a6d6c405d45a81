"""From slider to picture, in a browser: `make bench`, or with ARGS=--quick notebook 00 alone.

Every notebook is run in JupyterLab in a real Chromium. Then each control of each panel is moved by keyboard,
one place at a time, up to its end; a move counts from the key to the moment at which the browser has the new
picture. The first moves of a control come one right after the other, when all has to be computed, the next
ones each after a look of a second, in which the panel has drawn ahead; the very first, from where the panel
rested, does not count. Nor do moves to states seen before, which are answered from the panel's memory. The
numbers under a picture, which follow where they are slow, count from the key of the last move made at once.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import place
from browser import jupyter
from playwright.sync_api import Locator, Page, TimeoutError, sync_playwright

from admm_lib import notebooks

AT_ONCE, MOVES = range(1, 3), 9  # of a control, at most
LOOK, REST = 1_000, 6_000  # milliseconds; the second before each control
LONG_WORK = ("Retrain", "Run", "Train")
CLOCK = """image => {
    window.pressed = window.loaded = 0;
    const now = () => { window.pressed = performance.now(); };
    if (!window.listens) document.addEventListener('keydown', now, true);
    window.listens = true;
    image.addEventListener('load', () => { window.loaded = performance.now(); });
}"""


def answers(panel: Locator) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds from key to picture, of moves one right after the other and of those after a look, and to
    the numbers, of the last of the former.
    """
    page, picture, found = panel.page, jupyter.picture(panel), ([], [], [])
    line = panel.locator(".admm-line").first.element_handle()
    picture.evaluate(CLOCK)
    for control in jupyter.controls(panel):
        start = jupyter.value(control)
        page.wait_for_timeout(REST)
        for move in range(MOVES):
            page.wait_for_timeout(0 if move in AT_ONCE else LOOK)
            before = jupyter.value(control)
            jupyter.press(control, "ArrowRight")
            if jupyter.value(control) == before:
                break  # the end
            try:
                page.wait_for_function("window.loaded > window.pressed", timeout=10_000)
            except TimeoutError:
                continue  # this state has the same picture, as the first step of notebook 01 at any rho
            if move:
                found[move not in AT_ONCE].append(page.evaluate("window.loaded - window.pressed"))
            if move == max(AT_ONCE):
                page.wait_for_function("line => line.textContent.trim() != '…'", arg=line)
                found[2].append(page.evaluate("performance.now() - window.pressed"))
        while jupyter.value(control) != start:
            jupyter.press(control, "ArrowLeft")
            page.wait_for_timeout(50)
    return found


def stopping(page: Page) -> float | None:
    """Milliseconds from Stop to a panel whose work has ended; None where a notebook has no long work."""
    for name in LONG_WORK:
        start = jupyter.button(page, name)
        if not start.count():
            continue
        panel = jupyter.panel_of(start.first)
        start.first.click()
        stop = jupyter.button(panel, "Stop")
        page.wait_for_timeout(1_500)
        page.evaluate("window.began = performance.now()")
        stop.click(timeout=5_000)
        panel.get_by_text("stopped").wait_for(timeout=30_000)
        return page.evaluate("performance.now() - window.began")
    return None


def rows(page: Page, path: Path, profile: str, home: Path) -> list[str]:
    """A line for each panel of a notebook, and one for its Stop button."""
    folder = home / path.stem
    folder.mkdir()
    notebook = notebooks.read(path)
    for cell in notebook.cells:
        cell.source = cell.source.replace('profile = "quick"', f'profile = "{profile}"')
    nbformat.write(notebook, folder / path.name)
    server, address = jupyter.start_lab(folder, folder)
    lines = []
    try:
        jupyter.open_notebook(page, address, path.name)
        began = time.monotonic()
        jupyter.run_all(page, timeout=600)
        if path.name.startswith("00"):
            print(f"{path.stem}: its sliders move {time.monotonic() - began:.0f} s after Run All Cells",
                  file=sys.stderr)  # fmt: skip
        for number, panel in enumerate(jupyter.panels(page), 1):
            times = [cell for found in answers(panel) for cell in _median_and_late(found)]
            lines.append(f"| {' | '.join([path.stem, str(number), *times])} |")
        spent = stopping(page)
        if spent is not None:
            lines.append(f"| {path.stem} | Stop | 1 | {spent:.0f} | | | | | | | |")
    finally:
        jupyter.stop_lab(server)
    return lines


def _median_and_late(found: list[float]) -> list[str]:
    """How many, their median, and their 95th percentile."""
    if not found:
        return ["0", "", ""]
    late = statistics.quantiles(found, n=20, method="inclusive")[-1] if len(found) > 1 else found[0]
    return [str(len(found)), f"{statistics.median(found):.0f}", f"{late:.0f}"]


def main() -> None:
    """Print the table, a line as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="notebook 00 alone, in its smallest profile")
    parser.add_argument("--only", action="append", default=[], metavar="NN", help="may be repeated")
    options = parser.parse_args()
    profile = "smoke" if options.quick else "quick"
    home = Path(tempfile.mkdtemp())
    kinds = (f"{name} | median, ms | 95th, ms" for name in ("at once", "after a look", "with its numbers"))
    print(f"{place.line()}\n")
    print(f"| notebook | panel | {' | '.join(kinds)} |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=jupyter.chromium(), args=jupyter.OPTIONS)
        for path in notebooks.sequence(only=options.only or (["00"] if options.quick else [])):
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            print("\n".join(rows(page, path, profile, home)), flush=True)
            page.close()
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
