"""notebooks, site, table: what the Makefile calls on the project itself."""

import argparse
import sys
from pathlib import Path

from .values import value

TIMEOUTS = {"smoke": 300, "quick": 600, "paper": 86_400}  # seconds per cell


def add(commands: argparse._SubParsersAction) -> None:
    """notebooks, site and table."""
    each = commands.add_parser("notebooks", help="execute the notebooks, with HTML and an index")
    each.add_argument("--profile", help="smoke (seconds), quick (default) or paper (hours)")
    each.add_argument("--only", action="append", default=[], metavar="NN", help="may be repeated")
    each.add_argument("--out", type=Path, default=Path("build/run"), help="default: %(default)s")
    each.add_argument("-p", dest="given", nargs=2, action="append", default=[],
                      metavar=("NAME", "VALUE"), help="a parameter; may be repeated")  # fmt: skip
    each.add_argument("--timeout", type=int, help="seconds a cell may take (default: by profile)")
    each.add_argument("--folder", type=Path, help="the notebooks' folder (default: the project's)")
    each.add_argument("--in-place", action="store_true", help="then write them back, normalised")
    each.set_defaults(command=_notebooks)

    site = commands.add_parser("site", help="the executed notebooks as a site to read without a network")
    site.add_argument("--out", type=Path, default=Path("build/site"), help="default: %(default)s")
    site.add_argument("--folder", type=Path, help="of executed notebooks, such as build/run (default: the "
                                                  "project's, as committed)")  # fmt: skip
    site.set_defaults(command=_site)

    table = commands.add_parser("table", help="print the results table made from the records")
    table.add_argument("--readme", action="store_true", help="write it into README.md, and the figure")
    table.set_defaults(command=_table)


def _notebooks(options: argparse.Namespace) -> int:
    from .. import files, notebook_html, notebooks, results

    given = {name: value(text) for name, text in options.given}
    if options.profile:
        given["profile"] = options.profile
    if options.in_place and given:
        raise ValueError("--in-place runs the notebooks as they stand: without --profile and -p")
    profile = given.get("profile", "quick")
    timeout = options.timeout or TIMEOUTS.get(profile, TIMEOUTS["quick"])
    paths = notebooks.sequence(options.folder or notebooks.HOME, options.only)
    for path in paths:  # all is in order before a data set is looked for
        notebooks.check(path, given)
    used = _data_set(given.get("dataset", "auto"))
    print(f"data set: {used}", flush=True)
    outcomes = notebooks.run(paths, options.out, given, timeout=timeout, report=_write)
    table = results.table()
    index = options.out / "index.html"
    note = f"Data set: {used}. Profile {profile}"
    files.write_text(index, notebook_html.index(outcomes, table, note))
    failed = [outcome for outcome in outcomes if outcome.problem]
    if options.in_place:
        for path, outcome in zip(paths, outcomes, strict=True):
            if outcome.problem is None:
                notebooks.write(notebooks.read(outcome.notebook), path)
    print(f"\n{table}\n" if table else "")
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} notebooks ran; read them in {index}")
    for outcome in failed:
        print(f"FAILED {outcome.notebook.stem}: {outcome.problem}", file=sys.stderr)
    return 1 if failed else 0


def _data_set(name: str) -> str:
    """What the notebooks will find; not every one of them needs it."""
    from .. import data

    try:
        return data.load(name).note
    except (ValueError, data.DataError) as error:
        return f"none, {error}"


def _site(options: argparse.Namespace) -> int:
    from .. import notebooks, site

    print(f"read it in {site.build(options.out, options.folder or notebooks.HOME)}")
    return 0


def _table(options: argparse.Namespace) -> int:
    from .. import files, results

    if options.readme:
        from ..figures import leaderboard, style

        results.update()
        content = style.png(leaderboard.of_readme())
        with files.replaced(results.HOME / "errors.png") as file:
            file.write(content)
    print(results.table())
    return 0


def _write(text: str) -> None:
    print(text, end="", flush=True)
