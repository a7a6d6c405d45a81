"""Ways to run a finished network here, dense, with sparse matrices or in ONNX Runtime, and their times."""

import copy
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .holding import bake

Way = Callable[[], object]
Layout = Literal["csr", "bsr"]


class SparseLayer(nn.Module):
    """A linear layer or a convolution whose weight is a sparse matrix, with a row for each output.

    A convolution is the product with the patches of its input, (C kh kw, N L), that `unfold` writes out.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, layout: Layout, block: int) -> None:
        super().__init__()
        self.layer = layer
        weight = layer.weight.detach().flatten(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch: sparse CSR is in beta state
            if layout == "csr":
                self.matrix = weight.to_sparse_csr()
            else:
                down, right = (-size % block for size in weight.shape)
                self.matrix = F.pad(weight, (0, right, 0, down)).to_sparse_bsr((block, block))
        self.padded = self.matrix.shape[1] - weight.shape[1]  # columns of zeros, so that blocks fit

    def forward(self, inputs: Tensor) -> Tensor:
        """What the layer itself computes."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return self._product(inputs.T).T
        size = [
            (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for side, pad, dilation, kernel, stride in zip(
                inputs.shape[2:], layer.padding, layer.dilation, layer.kernel_size, layer.stride, strict=True
            )
        ]
        shape = layer.kernel_size, layer.dilation, layer.padding, layer.stride
        patches = F.unfold(inputs, *shape).transpose(0, 1).flatten(1)  # (C kh kw, N L)
        return self._product(patches).unflatten(1, (len(inputs), *size)).transpose(0, 1)

    def _product(self, columns: Tensor) -> Tensor:
        columns = F.pad(columns, (0, 0, 0, self.padded)) if self.padded else columns
        found = (self.matrix @ columns.contiguous())[: len(self.layer.weight)]
        return found if self.layer.bias is None else found + self.layer.bias[:, None]


@torch.no_grad()
def sparse(model: nn.Module, layout: Layout = "csr", block: int = 4) -> nn.Module:
    """A plain copy in eval mode that multiplies with sparse matrices in all linear layers and convolutions.

    "csr" stores each row's nonzeros, "bsr" the blocks that have any, of `block` rows and as many columns. To
    run, not to train; on a CPU torch has products of such matrices where it was built with MKL. Raises
    ValueError for another layout, and for convolutions other than Conv2d with groups=1 that pads with zeros
    by a given width.
    """
    if layout not in ("csr", "bsr"):
        raise ValueError(f'layout must be "csr" or "bsr", but is {layout!r}')
    found = bake(copy.deepcopy(model)).eval()
    for name, module in list(found.named_modules()):
        if isinstance(module, nn.modules.conv._ConvNd) and not _plain(module):
            raise ValueError(f"{name} is {module}: only Conv2d with groups=1 and zeros as padding is known")
        if isinstance(module, nn.Linear | nn.Conv2d):
            if not name:
                return SparseLayer(module, layout, block)
            parent, _, child = name.rpartition(".")
            setattr(found.get_submodule(parent), child, SparseLayer(module, layout, block))
    return found


def _plain(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def eager(model: nn.Module, inputs: Tensor) -> Way:
    """The model on these inputs as torch runs it, without gradients. ValueError in training mode."""
    if model.training:
        raise ValueError("the model is in training mode: model.eval() first")

    def run() -> Tensor:
        with torch.inference_mode():
            return model(inputs)

    return run


def onnx_runtime(content: bytes, inputs: Tensor, threads: int = 1) -> Way:
    """A network, as `export.content` wrote it, on these inputs in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Else its threads wait for more work busily, and take the processors from what is timed beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: inputs.numpy()}
    return lambda: session.run(None, given)[0]


def seconds(ways: Mapping[str, Way], rounds: int = 30, threads: int = 1) -> dict[str, list[float]]:
    """The times of each way, one per round, in which all of them run one after the other, and back.

    So a busy machine slows all alike, and the ratio of two ways within a round means something where their
    times do not. What takes less than a millisecond runs often enough in a round to take one. Torch uses so
    many `threads` meanwhile. Raises ValueError for rounds or threads below 1.
    """
    if rounds < 1 or threads < 1:
        raise ValueError(f"rounds and threads are 1 or more, but are {rounds} and {threads}")
    found: dict[str, list[float]] = {name: [] for name in ways}
    with _threads(threads):
        times = {}
        for name, way in ways.items():
            way()  # warms up
            times[name] = max(1, round(1e-3 / max(1e-9, _spent(way, 1))))
        for _ in range(rounds):
            for name in (*ways, *reversed(ways)):
                found[name].append(_spent(ways[name], times[name]))
    return {name: [(a + b) / 2 for a, b in zip(*_halves(each), strict=True)] for name, each in found.items()}


def _halves(there_and_back: list[float]) -> tuple[list[float], list[float]]:
    return there_and_back[::2], there_and_back[1::2]


def _spent(way: Way, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        way()
    return (time.perf_counter() - started) / times


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median over rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
