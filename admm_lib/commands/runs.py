"""run, sweep, study, compare: recipes, tried out or recorded; studies and comparisons, recorded."""

import argparse
from pathlib import Path
from typing import Any

from .values import examples, value

RUN = """
  admm run data/recipes/lenet5-71x.yaml --home build/records      the recipe, all its seeds, recorded there
  admm run data/recipes/lenet5-71x.yaml --profile smoke           a trial in seconds
  admm run data/recipes/lenet5-71x.yaml --set admm.rho=0.003 --set keep.fc1.weight=2000 --seed 1
"""
SWEEP = """
  admm sweep data/recipes/lenet5-71x.yaml --profile quick --set admm.rho=0.0003,0.001,0.003 --seed 0 --seed 1
  admm sweep data/recipes/lenet5-71x.yaml --set admm.epochs=5,10 --jobs 2
  admm sweep data/recipes/lenet5-71x.yaml --set admm.epochs=5,10 --scheduler tcp://head:8786
"""


def add(commands: argparse._SubParsersAction) -> None:
    """run, sweep, study and compare."""
    _add_run(commands)
    _add_sweep(commands)

    study = commands.add_parser("study", help="run studies of k-means and write their records")
    study.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    study.add_argument("--seed", dest="seeds", action="append", type=int,
                       help="instead of the study's seeds; may be repeated")  # fmt: skip
    study.set_defaults(command=_study)

    compare = commands.add_parser("compare", help="compare ways of pruning under one protocol, and write the "
                                  "record; several calls at once share the work")  # fmt: skip
    compare.add_argument("comparisons", nargs="+", type=Path, metavar="COMPARISON",
                         help="data/comparison/NAME.yaml")  # fmt: skip
    compare.add_argument("--seed", dest="seeds", action="append", type=int,
                         help="instead of all final seeds; may be repeated")  # fmt: skip
    compare.set_defaults(command=_compare)


def _add_run(commands: argparse._SubParsersAction) -> None:
    runs = commands.add_parser("run", help="run recipes and write their records; or try one out, changed",
                               **examples(RUN))  # fmt: skip
    runs.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="data/recipes/NAME.yaml")
    runs.add_argument("--seed", dest="seeds", action="append", type=int,
                      help="only this one of the recipe's seeds; of a trial any (default: 0). May be "
                           "repeated")  # fmt: skip
    runs.add_argument("--home", type=Path, metavar="FOLDER",
                      help="write records, files and cache here, not into the project: everything "
                           "is trained again, and a second call goes on where one stopped")  # fmt: skip
    runs.add_argument("--set", dest="changes", action="append", default=[], metavar="PATH=VALUE",
                      help="a trial with another value, as admm.rho=0.01, in build/trials: no record, no "
                           "test images. May be repeated")  # fmt: skip
    runs.add_argument("--profile", default="paper", help="paper (default); quick, with a fifth of the "
                      "epochs, and smoke, with the fewest, are trials too")  # fmt: skip
    runs.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True,
                      help="go on where an earlier call stopped (default); --no-resume trains a trial "
                           "anew")  # fmt: skip
    runs.set_defaults(command=_run)


def _add_sweep(commands: argparse._SubParsersAction) -> None:
    sweep = commands.add_parser("sweep", help="trials of a recipe over a grid of values, resumed when killed",
                                **examples(SWEEP))  # fmt: skip
    sweep.add_argument("recipe", type=Path, metavar="RECIPE", help="data/recipes/NAME.yaml")
    sweep.add_argument("--set", dest="axes", action="append", required=True, metavar="PATH=VALUE,...",
                       help="the values of a field, as admm.rho=0.001,0.01; repeated: every "
                            "combination")  # fmt: skip
    sweep.add_argument("--seed", dest="seeds", action="append", type=int, help="default: 0; may be repeated")
    sweep.add_argument("--profile", default="paper", help="paper (default), quick or smoke")
    sweep.add_argument("--home", type=Path, metavar="FOLDER", help="default: build/trials")
    sweep.add_argument("--jobs", type=int, default=1, help="trials at once (default: %(default)s)")
    sweep.add_argument("--scheduler", metavar="ADDRESS", help="of Dask, as tcp://host:8786; its workers take "
                       "the place of --jobs, with a thread each (--nthreads 1)")  # fmt: skip
    sweep.set_defaults(command=_sweep)


def _run(options: argparse.Namespace) -> int:
    from .. import pipelines, recipes, sweep

    changes = _changes(options.changes)
    if not changes and options.profile == "paper":
        if not options.resume:
            raise ValueError("records are never made again over their old ones: give --home another folder")
        pipelines.run_recipes(options.recipes, options.seeds, report=print, home=options.home)
        return 0
    home = options.home or sweep.FOLDER
    for path in options.recipes:  # all are checked before the first is run
        recipes.read(path, changes, options.profile)
    for path in options.recipes:
        for seed in options.seeds or [0]:
            row = sweep.trial(path, seed, changes, options.profile, home, print, options.resume)
            print(f"{row['recipe']}: {sweep.said(row)} in {row['file']}")
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from .. import sweep

    axes = {}
    for path, given in _changes(options.axes).items():
        values = tuple(given.split(",")) if isinstance(given, str) else given
        axes[path] = list(values) if isinstance(values, tuple) else [values]
    home = options.home or sweep.FOLDER
    rows = sweep.run(
        options.recipe, axes, options.seeds or [0], profile=options.profile, home=home,
        jobs=options.jobs, scheduler=options.scheduler, report=print,
    )  # fmt: skip
    print(f"\n{sweep.table(rows)}\n\n{sweep.log(home, options.recipe)}")
    return 1 if any("error" in row for row in rows) else 0


def _changes(texts: list[str]) -> dict[str, Any]:
    """The value given for each path. Raises ValueError for a path without one, or with two."""
    found = {}
    for text in texts:
        path, equals, given = text.partition("=")
        if not equals:
            raise ValueError(f"--set takes PATH=VALUE, as admm.rho=0.01, not {text!r}")
        if path in found:
            raise ValueError(f"--set {path} is given twice: give it once")
        found[path] = value(given)
    return found


def _study(options: argparse.Namespace) -> int:
    from .. import studies

    for path in options.studies:
        studies.run(path, options.seeds, report=print)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from .. import comparison

    for path in options.comparisons:
        comparison.run(path, options.seeds, report=print)
    return 0
