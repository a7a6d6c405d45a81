"""Speed, as paired ratios measured in one process: `make bench`, or with ARGS=--quick in seconds.

A round runs the two sides of a ratio as A B B A, so that a busy machine slows both alike; there are
many short rounds. Shown are the median and the quartiles of the rounds' ratios, and the median time
of each side. Nothing is asserted: a time is a fact about a machine on a day.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter

import files
import kmeans1d
import numpy as np
import place
import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

import admm_lib as al
from admm_lib import codec, export, imagenet, inference, opq, records
from admm_lib._torchvision import torchvision
from admm_lib.allocation import prunable
from admm_lib.kmeans import kmeans
from admm_lib.projections import top_k

Action = Callable[[], object]
LAYERS = ("conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight")


def row(name: str, aim: str, ours: Action, theirs: Action, rounds: int) -> str:
    """One line of the table."""
    spent = inference.seconds({"ours": ours, "theirs": theirs}, rounds, torch.get_num_threads())
    mine, other = (statistics.median(each) for each in spent.values())
    ratios = [a / b for a, b in zip(*spent.values(), strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return (
        f"| {name} | {middle:.3f} | {low:.3f} – {high:.3f} | {aim} "
        f"| {1e3 * mine:.2f} ms | {1e3 * other:.2f} ms | {rounds} |"
    )


def steps(rounds: int) -> Iterator[str]:
    """An ADMM step of LeNet-5, batch 128, against a plain one; the penalty in both its forms."""
    model = al.models.create("lenet5", seed=0)  # one for all, so that memory is laid out alike
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    admm = al.ADMM(model, {name: al.Sparse(ratio=20) for name in LAYERS})
    inputs, targets = torch.randn(128, 1, 28, 28), torch.randint(10, (128,))

    def step(penalty: str | None = None) -> None:
        loss = F.cross_entropy(model(inputs), targets)
        (loss + admm.penalty() if penalty == "loss" else loss).backward()
        if penalty == "gradient":
            admm.add_penalty_gradient()
        optimizer.step()
        optimizer.zero_grad()

    gradient, loss = partial(step, "gradient"), partial(step, "loss")
    yield row("ADMM step / plain step", "≤ 1.02", gradient, step, rounds)
    yield row("ADMM step / step with the penalty in the loss", "", gradient, loss, rounds)
    yield row("step with the penalty in the loss / plain step", "", loss, step, rounds)
    F.cross_entropy(model(inputs), targets).backward()
    alone = {p: p.grad.clone() for p in model.parameters()}

    def plain() -> None:
        step()
        for parameter, grad in alone.items():
            parameter.grad = grad

    only = admm.add_penalty_gradient
    yield row("penalty gradient alone / plain step", "≤ 0.02", only, plain, rounds)


class Images(Dataset):
    """Digits as torchvision's data sets give them: an image, transformed one by one."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: nn.Module) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torchvision().transforms.functional.to_pil_image(self.images[index])
        return self.transform(image), int(self.labels[index])


def per_image(data: al.data.Data, size: int) -> Dataset:
    """The same training images through torchvision, with the same shifts and normalisation."""
    transforms = torchvision().transforms
    transform = transforms.Compose(
        [
            transforms.RandomCrop(28, padding=2),
            transforms.ToTensor(),
            transforms.Normalize((al.data.MEAN,), (al.data.STD,)),
        ]
    )
    if data.name == "mnist":
        root = al.data._find_mnist(None)
        return Subset(torchvision().datasets.MNIST(root, transform=transform), range(size))
    part = data.train.subset(size)
    pixels = ((part.inputs * al.data.STD + al.data.MEAN) * 255).round().clamp(0, 255).byte()
    return Images(pixels, part.targets, transform)


def epochs(data: al.data.Data, rounds: int, size: int) -> Iterator[str]:
    """An epoch through `Split.batches` against a DataLoader: training LeNet-5, and data alone."""
    part, generator = data.train.subset(size), torch.Generator().manual_seed(0)
    model = al.models.create("lenet5", seed=0)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    images = per_image(data, size)

    def ours() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return part.batches(128, generator, al.data.Shifts(2))

    def train(batches: Callable[[], object]) -> None:
        for inputs, targets in batches():
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()

    def read(batches: Callable[[], object]) -> None:
        for _ in batches():
            pass

    for workers in (0, 2):
        kept = {"num_workers": workers, "persistent_workers": workers > 0}
        theirs = DataLoader(images, 128, shuffle=True, **kept).__iter__
        for name, aim, use in (("training epoch", "≤ 0.6", train), ("data alone", "", read)):
            label = f"{name} / same through DataLoader, num_workers={workers}"
            yield row(label, aim, partial(use, ours), partial(use, theirs), rounds)


def retraining(data: al.data.Data, rounds: int) -> Iterator[str]:
    """A step of masked retraining: of LeNet-5, of what `shrink` leaves of it, and both in bf16."""
    inputs, targets = data.train.inputs[:128], data.train.targets[:128]

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def steps_of(model: nn.Module) -> list[Action]:
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        return [partial(step, model, optimizer, bf16) for bf16 in (False, True)]

    sizes = dict(zip(LAYERS, (8, 16, 40), strict=False))
    filters = {name: al.Sparse(keep=keep, by="filter") for name, keep in sizes.items()}
    for name, sets in {"71.2x": 71.2, "167x": 167, "350x": 350, "8-16-40 filters": filters}.items():
        model = al.models.pretrained("lenet5", data.name)
        al.ADMM(model, sets if isinstance(sets, dict) else al.suggest(model, sets)).finalize()
        (small, small_bf16), (whole, whole_bf16) = steps_of(al.shrink(model)), steps_of(model)
        yield row(f"retraining step at {name}: shrunk / masked", "", small, whole, rounds)
        yield row(f"retraining step at {name}: shrunk / masked, bf16", "", small_bf16, whole_bf16, rounds)
        yield row(f"retraining step at {name}: shrunk bf16 / float32", "", small_bf16, small, rounds)


def shrunk(rounds: int) -> Iterator[str]:
    """LeNet-5 with 5-10-20 of its filters, physically small, and with 1 in 90 of its weights, in CSR, against
    the dense network: the forward pass.
    """
    file = records.read("lenet5-filters-88x")["runs"][0]["file"]
    small, dense = al.shrink(al.load(al.data.HOME.parent / file)).eval(), al.models.create("lenet5", 0).eval()
    single = al.load(al.data.HOME.parent / records.read("structured-lenet5-element-90x")["runs"][0]["file"])
    exported = [export.content(model, torch.zeros(2, 1, 28, 28)) for model in (small, dense)]
    for batch in (1, 256):
        inputs = torch.randn(batch, 1, 28, 28)
        eager = [inference.eager(model, inputs) for model in (small, dense)]
        onnx = [inference.onnx_runtime(each, inputs, torch.get_num_threads()) for each in exported]
        aim = "≤ 0.2" if batch == 256 else ""
        yield row(f"forward pass of lenet5-filters-88x, batch {batch}: shrunk / dense", aim, *eager, rounds)
        yield row(f"the same, batch {batch}, both in ONNX Runtime", aim, *onnx, rounds)
        yield row(f"the same, batch {batch}: ONNX Runtime / dense in torch", "", onnx[0], eager[1], rounds)
        csr = inference.eager(inference.sparse(single), inputs)
        yield row(f"forward pass at 90x by weights, batch {batch}: CSR / dense", "", csr, eager[1], rounds)


def solution(rounds: int) -> Iterator[str]:
    """OPQ's thresholds and steps of all 61 million weights of AlexNet, against one sum of each layer."""
    with contextlib.redirect_stdout(sys.stderr):  # torch says that it downloads
        model, _ = imagenet.network("alexnet")
    layers = list(prunable(model).values())
    solve = partial(opq.solve, model, 10, 4.0)
    yield row(
        "OPQ's solution of AlexNet / a sum of its weights", "≤ 10", solve,
        lambda: [weight.sum() for weight in layers], rounds,
    )  # fmt: skip


def projection(rounds: int, quick: bool) -> Iterator[str]:
    """top_k against what torch has for it, at fc1 of LeNet-5 and at fc6 of AlexNet, 37.7 million weights."""
    small, large = torch.randn(500, 800), torch.randn(96, 96) if quick else torch.randn(4_096, 9_216)
    for weight, keep in ((small, 4_000), (small, 100_000), (large, large.numel() // 20)):

        def by_topk(weight: torch.Tensor = weight, keep: int = keep) -> torch.Tensor:
            flat = weight.flatten()
            kept = flat.abs().topk(keep, sorted=False).indices
            return torch.zeros_like(flat).index_copy_(0, kept, flat[kept]).reshape(weight.shape)

        def by_kthvalue(weight: torch.Tensor = weight, keep: int = keep) -> torch.Tensor:
            """Keeps more than it should where there are ties."""
            sizes = weight.abs()
            least = sizes.flatten().kthvalue(weight.numel() - keep + 1).values
            return torch.where(sizes >= least, weight, 0)

        for peer, theirs in (("torch.topk", by_topk), ("torch.kthvalue", by_kthvalue)):
            name = f"top_k / {peer}, {keep:,} of {weight.numel():,}"
            times = rounds if weight is small else min(rounds, 4)
            yield row(name, "", partial(top_k, weight, keep), theirs, times)


def writing(rounds: int, nncodec: bool) -> Iterator[str]:
    """Writing a pruned and quantized LeNet-5, against general compressors on its safetensors, and against the
    NNR coder, whose whole numbers are made outside the clock, where there is `nncodec`.
    """
    model = al.load(al.data.HOME.parent / records.read("lenet5-file-3102")["runs"][0]["file"])
    tensors, whole, steps = files.plain(model)
    peers = {name: write for name, (write, _) in files.general(tensors).items() if name != "safetensors"}
    size = len(codec.encode(model))
    with files.nncodec(whole) if nncodec else contextlib.nullcontext() as peer:
        for name, theirs in (peers if peer is None else peers | {"nncodec": peer[0]}).items():
            others = len(theirs()) + 4 * steps * (name == "nncodec")
            label = f"writing LeNet-5 / {name} ({size:,} bytes, {size / others:.2f} of theirs)"
            yield row(label, "", partial(codec.encode, model), theirs, rounds)


def clustering(data: al.data.Data, rounds: int, quick: bool) -> Iterator[str]:
    """The optimal 16 clusters of fc1's weights, against libraries that find them, or nearly."""
    weights = al.models.pretrained("lenet5", data.name).fc1.weight.detach().reshape(-1)
    weights = weights[:4_000] if quick else weights
    values = weights.double().numpy()

    def lloyd() -> float:
        return KMeans(16, n_init=1, random_state=0).fit(values[:, None]).inertia_

    def optimum() -> float:
        labels, centroids = kmeans1d.cluster(values, 16)
        return float(((values - np.array(centroids)[labels]) ** 2).sum())

    ours = partial(kmeans, weights, 16)
    for peer, theirs, aim in (("kmeans1d", optimum, "≤ 0.1"), ("scikit-learn's KMeans", lloyd, "")):
        more = ours().error / theirs() - 1
        label = f"{len(weights):,} weights to 16 values / {peer} (squared error {more:+.0e} of theirs)"
        yield row(label, aim, ours, theirs, rounds)


def main(arguments: list[str] | None = None) -> None:
    """Print the table; `--quick` is a few rounds, to see that it runs."""
    parser = argparse.ArgumentParser(description="Paired speed ratios.")
    parser.add_argument("--quick", action="store_true", help="a few rounds on little data")
    parser.add_argument("--data", default="auto", help="auto (default), mnist or digits")
    parser.add_argument("--threads", type=int, help="torch threads (default: as torch chooses)")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = al.data.load(options.data)
    short, long, size = (2, 2, 128) if options.quick else (100, 10, 1_280)
    size = min(size, len(data.train))
    missing = "it takes long" if options.quick else files.without_nncodec()
    if missing:
        print(f"nncodec is left out: {missing}", file=sys.stderr)
    print(f"{place.line()}; {data.name}, {size:,} images an epoch, shifted by up to 2\n")
    print("| ours / theirs | ratio | quartiles | aim | ours | theirs | rounds |")
    print("|---|---|---|---|---|---|---|")
    tables = (
        steps(short), epochs(data, long, size), retraining(data, short), shrunk(short),
        projection(short, options.quick), writing(long, not missing), solution(long),
        clustering(data, min(long, 4), options.quick),
    )  # fmt: skip
    for rows in tables:
        for line in rows:
            print(line, flush=True)
    if not options.quick:
        started = perf_counter()
        subprocess.run([sys.executable, "-m", "admm_lib", "notebooks"], check=True, stdout=subprocess.DEVNULL)
        spent = perf_counter() - started
        print(f"\nAll notebooks, one after the other, profile quick: {spent:.0f} s")


if __name__ == "__main__":
    main()
