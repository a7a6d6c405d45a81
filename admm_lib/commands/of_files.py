"""inspect, evaluate, export: what is asked of an `.admm` file."""

import argparse
from pathlib import Path

from .values import examples, side

EXAMPLES = """
  admm inspect data/models/lenet5-file-1551-seed110.admm
  admm evaluate data/models/lenet5-file-1551-seed110.admm --split test
  admm evaluate mine.admm --network resnet50 --data photos
  admm export mine.admm --network mynet:MyNet --shape 3,32,32 --onnx mine.onnx
"""


def add(commands: argparse._SubParsersAction) -> None:
    """inspect, evaluate and export."""
    look = commands.add_parser("inspect", help="what is in an .admm file: layers, kinds of values, sizes",
                               **examples(EXAMPLES))  # fmt: skip
    look.add_argument("file", type=Path)
    _of_network(look)
    look.set_defaults(command=_inspect)

    measure = commands.add_parser("evaluate", help="loss and accuracy of the network in an .admm file",
                                  **examples(EXAMPLES))  # fmt: skip
    measure.add_argument("file", type=Path)
    measure.add_argument("--data", default="auto", metavar="NAME",
                         help="mnist, digits, cifar10, cifar10-jpeg, or a folder with val/CLASS/IMAGE; "
                              "default: what the network takes")  # fmt: skip
    measure.add_argument("--split", choices=("train", "val", "test"), default="val",
                         help="val (default), to choose by; test, once, at the end; train")  # fmt: skip
    measure.add_argument("--size", type=int, default=224,
                         help="pixels of the side of a folder's images (default: %(default)s)")  # fmt: skip
    _of_network(measure)
    measure.set_defaults(command=_evaluate)

    export = commands.add_parser("export", help="an .admm file as ONNX, checked in ONNX Runtime",
                                 **examples(EXAMPLES))  # fmt: skip
    export.add_argument("file", type=Path)
    export.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the file to write")
    export.add_argument("--shape", type=_shape, metavar="N,N,...",
                        help="of one example, where the network is your own: 3,32,32")  # fmt: skip
    _of_network(export)
    export.set_defaults(command=_export)


def _of_network(command: argparse.ArgumentParser) -> None:
    command.add_argument("--network", metavar="MODULE:NAME",
                         help="what makes the network, where the file names none: mynet:MyNet, for MyNet in "
                              "mynet.py of this folder; or alexnet, vgg16, resnet50 or "
                              "mobilenet_v2")  # fmt: skip


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _inspect(options: argparse.Namespace) -> int:
    from .. import inspection

    print(inspection.describe(options.file, options.network and inspection.named(options.network)))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from .. import data, inspection

    on_folder = options.data not in data.NAMES
    if on_folder and not Path(options.data).is_dir():
        names = ", ".join(data.NAMES)
        raise ValueError(f"--data {options.data} is no folder and none of {names}: name what there is")
    if on_folder and options.split != "val":
        raise ValueError(
            f"of a folder the validation images are taken, val/CLASS/IMAGE: without --split {options.split}"
        )
    side(options.size)
    network = options.network and inspection.named(options.network)
    if on_folder:
        found, what = inspection.measure_on_folder(options.file, options.data, options.size, network)
    else:
        found, what = inspection.measure(options.file, options.data, options.split, network)
    print(f"{options.file.name}: {found.accuracy:.2f}% right, loss {found.loss:.4f}; {what}")
    return 0


def _export(options: argparse.Namespace) -> int:
    from .. import inspection

    network = options.network and inspection.named(options.network)
    written = inspection.to_onnx(options.file, options.onnx, options.shape, network)
    print(f"{written}: {written.stat().st_size:,} bytes, zeros included; the same outputs in ONNX Runtime")
    return 0
