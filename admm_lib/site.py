"""The executed notebooks as a static site, which a browser reads from the file system with no network."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from nbformat import NotebookNode
from PIL import Image

from . import api_reference, files, notebook_html, notebooks, results

WIDTH = 352  # pixels of a thumbnail: two for each of the page's


def build(out: Path, folder: Path = notebooks.HOME, only: Sequence[str] = ()) -> Path:
    """Write a page for each executed notebook of `folder`, the API reference and an index to `out`; returns
    the index.

    Nothing is run. In place of panels stand the still figures below them. Raises NotebookError for a notebook
    that has not been run, since its page would show no results.
    """
    found = {path: notebooks.read(path) for path in notebooks.sequence(folder, only)}
    for path, notebook in found.items():
        if not any(cell.get("outputs") for cell in notebook.cells):
            raise notebooks.NotebookError(f"{path.name} has not been run: `make run`, or `make notebooks`")
    for path, notebook in found.items():
        page = notebook_html.page(notebook, path)
        files.write_text(out / path.with_suffix(".html").name, page)
    rows = [_row(path, notebook) for path, notebook in found.items()]
    reference = api_reference.write(out / "api").relative_to(out)
    index = out / "index.html"
    note = "Compressing neural networks with ADMM: the notebooks as they ran, to read without a kernel."
    files.write_text(index, notebook_html.first_page(note, rows, results.table(), reference))
    return index


def _row(path: Path, notebook: NotebookNode) -> str:
    title, sentence = notebook_html.summary(notebook)
    link = notebook_html.heading(path.with_suffix(".html"), title)
    return f"<li>{link}<p>{escape(sentence)}</p>{_thumbnail(notebook)}</li>"


def _thumbnail(notebook: NotebookNode) -> str:
    """The notebook's first picture, small, inside the page; nothing where it has none."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
                image.thumbnail((WIDTH, WIDTH))
                image.quantize(64).save(small := io.BytesIO(), "png", optimize=True)
                content = base64.b64encode(small.getvalue()).decode()
                alt = escape(output.metadata.get("image/png", {}).get("alt", ""), quote=True)
                return f'<img alt="{alt}" src="data:image/png;base64,{content}">'
    return ""
