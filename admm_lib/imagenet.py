"""torchvision's networks for ImageNet: the shares of their weights that papers keep, and their compression.

Their trained weights are downloaded where that is possible. Where it is not, weights are random: time and
memory are then as good, and accuracies, thresholds and steps mean nothing.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from . import claims
from ._torchvision import torchvision
from .admm import ADMM
from .allocation import prunable
from .constraints import Sparse
from .evaluation import Batches
from .schedules import geometric
from .training import Epoch, fit

NETWORKS = ("alexnet", "vgg16", "resnet50", "mobilenet_v2")
PUBLISHED = {  # whose tables give a share for each layer of AlexNet, by arXiv number: the rows' method
    "1811.01907": "pruning + quantization",
    "1510.00149": "P+Q",
}
RHO = 1.5e-3  # of 1811.01907, for AlexNet


def network(name: str) -> tuple[nn.Module, str]:
    """A network, and which weights it has: "ImageNet", or "random" where these cannot be had.

    Raises ValueError for a name that is not one of NETWORKS.
    """
    try:
        return _made(name, "DEFAULT"), "ImageNet"
    except (URLError, TimeoutError, ConnectionError):  # no way out, or a host that does not answer
        return _made(name, None), "random"


def untrained(name: str) -> nn.Module:
    """A network with random weights. Raises ValueError for a name that is not one of NETWORKS."""
    return _made(name, None)


def _made(name: str, weights: str | None) -> nn.Module:
    if name not in NETWORKS:
        raise ValueError(f"the networks are {', '.join(NETWORKS)}, and not {name!r}")
    return torchvision().models.get_model(name, weights=weights)


def published(model: nn.Module, work: str = "1811.01907") -> dict[str, Sparse]:
    """The share of each layer that a paper keeps, as budgets for `model`: five convolutions, three linear.

    keep_i = round(share_i n_i). AlexNet in Caffe, of which the papers speak, has other widths and groups than
    torchvision's, so that shares are taken over, and not counts. Raises ValueError for a work without such a
    table, and a network with another number of layers. Sources: 1811.01907, Table 4; 1510.00149, Table 4.
    """
    if work not in PUBLISHED:
        raise ValueError(f"shares by layer were read in {' and '.join(PUBLISHED)}, not in {work!r}")
    shares = [
        float(row["kept_percent"]) / 100
        for row in claims.published("layers")
        if (row["arxiv"], row["model"], row["method"]) == (work, "AlexNet", PUBLISHED[work])
        and row["layer"] != "all"
    ]
    layers = prunable(model)
    if len(layers) != len(shares):
        raise ValueError(
            f"the paper's table has {len(shares)} layers and the network {len(layers)}: it is for alexnet"
        )
    return {
        name: Sparse(keep=round(share * weight.numel()))
        for (name, weight), share in zip(layers.items(), shares, strict=True)
    }


def compress(
    model: nn.Module,
    train: Batches,
    sets: dict[str, Sparse],
    *,
    validate: Batches | None = None,
    epochs: int = 30,
    retrain: int = 20,
    lr: float = 1e-3,
    rho: float = RHO,
    seed: int = 0,
    folder: Path | None = None,
    progress: Callable[[str, Epoch], None] = lambda stage, epoch: None,
    **fabric: str,
) -> list[Epoch]:
    """ADMM for `epochs`, with rho growing tenfold, then masked retraining; the history of both.

    All that is random is drawn by `seed`; `progress(stage, epoch)` is called after each epoch.

    SGD with a momentum of 0.9 and weight decay of 1e-4, at `lr` under ADMM, then in one cycle up to it.
    `folder` keeps the state after each epoch, and the same call on the same network goes on from there.
    `fabric` are `accelerator` and `precision` of `fit`, whose errors it raises.
    """
    common = {"validate": validate, **fabric}
    kept = {name: folder and folder / f"{name}.ckpt" for name in ("admm", "retrain")}

    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)

    admm = ADMM(model, sets, rho=rho, schedule=geometric(1, 10, max(1, epochs - 1)))
    history = fit(
        model, train, epochs, admm=admm, optimizer=optimizer(), seed=seed, resume=kept["admm"],
        progress=partial(progress, "ADMM"), **common,
    )  # fmt: skip
    admm.finalize()
    return history + fit(
        model, train, retrain, optimizer=optimizer(), seed=seed + epochs, resume=kept["retrain"],
        progress=partial(progress, "retraining"), **common,
    )  # fmt: skip
