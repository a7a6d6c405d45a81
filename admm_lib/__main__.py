"""The command line: what the Makefile, the notebooks and README call, a command for each."""

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUTS = {"smoke": 300, "quick": 600, "paper": 86_400}  # seconds per cell


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0: all went well, 1: something failed, 2: it could not be done as asked."""
    options = _parser().parse_args(argv)
    try:
        return options.command(options)
    except (ValueError, OSError, RuntimeError) as error:  # what the library says of wrong input
        if type(error) is RuntimeError:
            raise  # torch's: a mistake in here, to be seen with its traceback
        if isinstance(error, FileNotFoundError) and error.filename:
            error = f"there is no file {error.filename}"
        print(f"admm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nadmm: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="admm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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

    runs = commands.add_parser("run", help="run recipes and write their records")
    runs.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    runs.add_argument("--seed", dest="seeds", action="append", type=int,
                      help="only this one of the recipe's seeds; may be repeated")  # fmt: skip
    runs.add_argument("--home", type=Path, metavar="FOLDER",
                      help="write records, files and cache here, not into the project: everything "
                           "is trained again, and a second call goes on where one stopped")  # fmt: skip
    runs.set_defaults(command=_run)

    study = commands.add_parser("study", help="run studies of k-means and write their records")
    study.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    study.add_argument("--seed", dest="seeds", action="append", type=int,
                       help="instead of the study's seeds; may be repeated")  # fmt: skip
    study.set_defaults(command=_study)

    times = commands.add_parser("times", help="time pruned networks on this machine, and record that")
    times.add_argument("networks", nargs="+", metavar="NETWORK", help="lenet300, lenet5 or resnet20")
    times.add_argument("--rounds", type=int, default=15, help="of each measurement (default: %(default)s)")
    times.set_defaults(command=_times)

    imagenet = commands.add_parser("imagenet", help="time OPQ's solution on torchvision's networks")
    imagenet.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    imagenet.set_defaults(command=_imagenet)

    general = commands.add_parser("generalization", help="robustness and transfer of records, recorded")
    general.add_argument("networks", nargs="+", metavar="NETWORK", help="lenet5 or resnet20")
    general.set_defaults(command=_generalization)

    again = commands.add_parser("reencode", help="write the records' files in today's format, if smaller")
    again.add_argument("names", nargs="*", metavar="RECORD", help="default: all")
    again.set_defaults(command=_reencode)

    table = commands.add_parser("table", help="print the results table made from the records")
    table.add_argument("--readme", action="store_true", help="write it into README.md, and the figure")
    table.set_defaults(command=_table)
    return parser


def _notebooks(options: argparse.Namespace) -> int:
    from . import notebook_html, notebooks, results

    given = {name: _value(text) for name, text in options.given}
    if options.profile:
        given["profile"] = options.profile
    if options.in_place and given:
        raise ValueError("--in-place runs the notebooks as they stand: without --profile and -p")
    profile = given.get("profile", "quick")
    timeout = options.timeout or TIMEOUTS.get(profile, TIMEOUTS["quick"])
    paths = notebooks.sequence(options.folder or notebooks.HOME, options.only)
    outcomes = notebooks.run(paths, options.out, given, timeout=timeout, report=_write)
    table = results.table()
    index = options.out / "index.html"
    index.write_text(notebook_html.index(outcomes, table, f"profile {profile}"), encoding="utf-8")
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


def _site(options: argparse.Namespace) -> int:
    from . import notebooks, site

    print(f"read it in {site.build(options.out, options.folder or notebooks.HOME)}")
    return 0


def _run(options: argparse.Namespace) -> int:
    from . import pipelines

    pipelines.run_recipes(options.recipes, options.seeds, report=print, home=options.home)
    return 0


def _study(options: argparse.Namespace) -> int:
    from . import studies

    for path in options.studies:
        studies.run(path, options.seeds, report=print)
    return 0


def _times(options: argparse.Namespace) -> int:
    from . import times

    for network in options.networks:
        print(times.record(network, report=print, rounds=options.rounds))
    return 0


def _imagenet(options: argparse.Namespace) -> int:
    from . import imagenet

    print(imagenet.record(options.rounds, report=print))
    return 0


def _generalization(options: argparse.Namespace) -> int:
    from . import generalization

    for network in options.networks:
        print(generalization.record(network, report=print))
    return 0


def _reencode(options: argparse.Namespace) -> int:
    from . import pipelines

    pipelines.reencode(options.names, report=print)
    return 0


def _table(options: argparse.Namespace) -> int:
    from . import results

    if options.readme:
        from .figures import leaderboard, style

        results.update()
        content = style.png(leaderboard.of_readme())
        (results.HOME / "errors.png").write_bytes(content)
    print(results.table())
    return 0


def _value(text: str) -> Any:
    """A Python literal, or else the text itself: 3, 0.5, [1, 2], smoke."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _write(text: str) -> None:
    print(text, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
