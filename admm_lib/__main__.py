"""The command line: what the Makefile, the notebooks and README call, a command for each."""

import argparse
import sys
from collections.abc import Sequence

from .commands import compress, measures, of_files, project, runs


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
    for kind in (project, runs, compress, of_files, measures):
        kind.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
