"""times, imagenet, generalization, reencode: records measured or written again."""

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    """times, imagenet, generalization and reencode."""
    times = commands.add_parser("times", help="time pruned networks on this machine, and record that")
    times.add_argument("networks", nargs="+", metavar="NETWORK", help="lenet300, lenet5 or resnet20")
    times.add_argument("--rounds", type=int, help="of each measurement (default: 15)")
    times.set_defaults(command=_times)

    imagenet = commands.add_parser("imagenet", help="time OPQ's solution, or ADMM, on torchvision's networks")
    imagenet.add_argument("--rounds", type=int, help="of each measurement (default: 7, with --admm 3)")
    imagenet.add_argument("--admm", action="store_true", help="what ADMM costs beside training (15 minutes)")
    imagenet.set_defaults(command=_imagenet)

    general = commands.add_parser("generalization", help="robustness and transfer of records, recorded")
    general.add_argument("networks", nargs="+", metavar="NETWORK", help="lenet5 or resnet20")
    general.set_defaults(command=_generalization)

    again = commands.add_parser("reencode", help="write the records' files in today's format, if smaller")
    again.add_argument("names", nargs="*", metavar="RECORD", help="default: all")
    again.set_defaults(command=_reencode)


def _times(options: argparse.Namespace) -> int:
    from .. import times

    for network in options.networks:
        print(times.record(network, report=print, **_rounds(options)))
    return 0


def _imagenet(options: argparse.Namespace) -> int:
    from .. import imagenet_cost

    record = imagenet_cost.record_admm if options.admm else imagenet_cost.record
    print(record(report=print, **_rounds(options)))
    return 0


def _rounds(options: argparse.Namespace) -> dict[str, int]:
    """The rounds that were asked for; each measurement has a default of its own."""
    return {} if options.rounds is None else {"rounds": options.rounds}


def _generalization(options: argparse.Namespace) -> int:
    from .. import generalization

    for network in options.networks:
        print(generalization.record(network, report=print))
    return 0


def _reencode(options: argparse.Namespace) -> int:
    from .. import pipelines

    pipelines.reencode(options.names, report=print)
    return 0
