"""The library's reference: a page for each module, written from its docstrings, to read without a network."""

import pkgutil
from pathlib import Path

import admm_lib

from . import files


def write(out: Path) -> Path:
    """Write the pages to `out`, with a search over all of them; returns the library's own page.

    The docstrings are read as Markdown by pdoc, types and defaults from the signatures. Every module is
    imported; none is run.
    """
    from pdoc import render
    from pdoc.doc import Module

    render.configure(
        show_source=False, docformat="markdown", footer_text=f"admm_lib {admm_lib.__version__}"
    )
    names = ["admm_lib", *(each.name for each in pkgutil.walk_packages(admm_lib.__path__, "admm_lib."))]
    found = {name: Module.from_name(name) for name in names if "._" not in name}
    for name, module in found.items():  # pdoc lists only those that __all__ has, which is for users' names
        module.submodules = [each for each in found.values() if each.fullname.rpartition(".")[0] == name]
        path = (out / name.replace(".", "/")).with_suffix(".html")
        files.write_text(path, render.html_module(module, found))
    files.write_text(out / "search.js", render.search_index(found))
    return out / "admm_lib.html"
