"""compress: a network on a folder of images, by one process or, under torchrun, by several."""

import argparse
from pathlib import Path

from .. import files
from .values import examples, side

EXAMPLES = """
  admm compress /data/imagenet --network alexnet --paper 1811.01907 --out alexnet.admm
  admm compress photos --network resnet50 --ratio 8 --epochs 10 --retrain 10 --batch-size 64 --out mine.admm
  admm compress photos --network mynet:MyNet --weights trained.pt --size 64 --ratio 10 --out mine.admm
  torchrun --standalone --nproc-per-node 8 -m admm_lib compress /data/imagenet --network alexnet \\
      --paper 1811.01907 --precision bf16-mixed --batch-size 1024 --lr 0.004 --out alexnet.admm
"""

OTHERWISE = ("command", "out", "workers", "accelerator", "untrained")  # options that change no result


def add(commands: argparse._SubParsersAction) -> None:
    """compress."""
    one = commands.add_parser("compress", help="prune a network on a folder of images, as ImageNet, by ADMM",
                              **examples(EXAMPLES))  # fmt: skip
    one.add_argument("folder", type=Path, help="with train/CLASS/IMAGE and val/CLASS/IMAGE")
    one.add_argument("--network", required=True, metavar="NAME",
                     help="alexnet, vgg16, resnet50 or mobilenet_v2, with torchvision's trained weights "
                          "where they can be had; or your own, MODULE:CALLABLE")  # fmt: skip
    one.add_argument("--weights", type=Path, metavar="FILE",
                     help="its trained weights: a state dict, as safetensors or by torch.save; default: "
                          "those it is made with")  # fmt: skip
    budget = one.add_mutually_exclusive_group(required=True)
    budget.add_argument("--paper", choices=("1811.01907", "1510.00149"),
                        help="the shares of each layer of AlexNet that a paper keeps")  # fmt: skip
    budget.add_argument("--ratio", type=float,
                        help="of all weights over nonzero ones, as `suggest` divides it")  # fmt: skip
    one.add_argument("--out", type=Path, required=True, metavar="FILE",
                     help="the .admm file to write; beside it FILE.state, on a disk that all machines see, "
                          "keeps each epoch, from where a killed call goes on")  # fmt: skip
    for name, kind, default, told in (
        ("epochs", int, 30, "of ADMM"),
        ("retrain", int, 20, "epochs of retraining what is left"),
        ("lr", float, 1e-3, "the learning rate of SGD"),
        ("rho", float, 1.5e-3, "ADMM's penalty at first; it grows tenfold"),
        ("batch-size", int, 256, "images a step, of all processes together"),
        ("workers", int, None, "processes that read images, for each that trains; default: a core each"),
        ("size", int, 224, "pixels of an image's side"),
        ("seed", int, 0, "of all that is random"),
    ):
        more = "" if default is None else f" (default: {default:g})"
        one.add_argument(f"--{name}", type=kind, default=default, help=told + more)
    one.add_argument("--untrained", action="store_true", help="begin with random weights where trained ones "
                     "cannot be had")  # fmt: skip
    one.add_argument("--precision", default="32-true", help="or bf16-mixed")
    one.add_argument("--accelerator", default="auto", help="auto (default), cpu, cuda, ...")
    one.set_defaults(command=_compress)


def _compress(options: argparse.Namespace) -> int:
    import torch

    from .. import allocation, codec, distributed, image_folder, imagenet, storage, weight_files
    from ..evaluation import evaluate
    from ..holding import bake
    from ..inspection import check_images, named
    from ..training import training_device

    if not options.out.parent.is_dir():
        raise FileNotFoundError(f"the folder {options.out.parent} does not exist: create it first")
    if options.epochs < 1 or options.retrain < 1:
        raise ValueError(f"--epochs and --retrain are 1 or more, not {options.epochs} and {options.retrain}")
    if options.precision not in ("32-true", "bf16-mixed"):
        raise ValueError(f"--precision is 32-true or bf16-mixed under ADMM, not {options.precision!r}")
    side(options.size)
    device = training_device(options.accelerator)
    images = image_folder.loaders(
        options.folder, options.batch_size, options.workers, options.size, options.seed
    )
    own = ":" in options.network
    torch.manual_seed(options.seed)  # a killed call goes on from the same network
    if options.weights:
        model = named(options.network)
        weight_files.load(model, options.weights)
        weights = f"{options.weights.name}'s"
    else:
        model, weights = (named(options.network), "its") if own else imagenet.network(options.network)
    if weights == "random" and not options.untrained:
        raise ValueError(
            f"trained weights of {options.network} cannot be had here; --untrained begins with random ones"
        )
    if options.paper:
        sets = imagenet.published(model, options.paper)
    else:
        sets = allocation.suggest(model, options.ratio)
    check_images(model, options.size, len(images.classes))
    if not _kept(options).exists():  # before any work; a call that goes on has read them
        image_folder.check(images)
    model.to(device)
    first = distributed.rank() == 0
    right = evaluate(model, images.val).accuracy  # by all, so that none waits for another
    if first:
        print(f"{options.network} with {weights} weights: {right:.2f}% of val right", flush=True)
    state = _state(options, images, first)
    imagenet.compress(
        model, images.train, sets, validate=images.val, epochs=options.epochs, retrain=options.retrain,
        lr=options.lr, rho=options.rho, seed=options.seed, folder=state, progress=_told if first else _silent,
        accelerator=options.accelerator, precision=options.precision,
    )  # fmt: skip
    right = evaluate(model, images.val).accuracy
    if first:
        model = bake(model.cpu())
        codec.save(model, options.out)
        ladder = storage.ladder(model)
        print(
            f"{right:.2f}% of val right with {ladder.nonzero_weights:,} of "
            f"{ladder.weights:,} weights, {options.out.stat().st_size:,} bytes: {options.out}"
        )
    return 0


def _kept(options: argparse.Namespace) -> Path:
    return Path(f"{options.out}.state")


def _state(options: argparse.Namespace, images: object, first: bool) -> Path:
    """The folder that keeps each epoch. ValueError where it is that of another call."""
    kept = _kept(options)
    told = {name: str(each) for name, each in vars(options).items() if name not in OTHERWISE}
    told["folder"] = str(options.folder.resolve())
    told["weights"] = str(options.weights and options.weights.resolve())
    told["images"] = f"{len(images.train.dataset)} and {len(images.val.dataset)}"
    file = kept / "options.json"
    if file.exists():
        before = files.read_json(file, {})
        for name, each in told.items():
            if before.get(name, "None") != each:  # options that are younger than the call
                raise ValueError(
                    f"{kept} is of a call with {name} {before.get(name)}, here {each}: "
                    "give another --out, or delete that folder to begin anew"
                )
        if first:
            print(f"going on from {kept}", flush=True)
    elif first:
        files.write_json(file, told)
    return kept


def _silent(stage: str, epoch: object) -> None:
    """One process tells for all."""


def _told(stage: str, epoch: object) -> None:
    print(f"{stage}, epoch {epoch.number}: loss {epoch.loss:.4f}, {epoch.val_accuracy:.2f}% of val right, "
          f"{epoch.seconds:.0f} s", flush=True)  # fmt: skip
