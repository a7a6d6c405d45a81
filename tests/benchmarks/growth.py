"""How time and memory grow with the weights: `make bench-growth`, or with ARGS=--quick up to four million.

One layer of random weights, from LeNet-5's 430,500 to VGG-16's 138 million, on one thread, each measurement
in a process of its own. Memory is what the work took at its peak beyond what was there before it (the model,
Z and U), in copies of the weights of 4 bytes each; Linux counts it, see proc(5).
"""

import argparse
import ctypes
import gc
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import place
import torch
from torch import nn

import admm_lib as al
from admm_lib import codec
from admm_lib.kmeans import kmeans

SIZES = (430_500, 4_305_000, 43_050_000, 138_000_000)
M_MMAP_THRESHOLD = -3  # see mallopt(3)
Work = Callable[[], object]


def layer(weights: int) -> nn.Linear:
    """A square layer of about so many weights, without biases, scaled as trained ones are."""
    side = math.isqrt(weights)
    made = nn.Linear(side, side, bias=False)
    torch.nn.init.normal_(made.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    return made


def update(constraint: al.Constraint) -> Callable[[int], Work]:
    """One Z- and U-update."""

    def prepare(weights: int) -> Work:
        admm = al.ADMM(layer(weights), {"weight": constraint}, rho=1e-3)
        return admm.update

    return prepare


def cluster(weights: int) -> Work:
    """All weights to 16 values."""
    weight = layer(weights).weight.detach().flatten()
    return lambda: kmeans(weight, 16)


def encode(weights: int) -> Work:
    """A file of 1 weight in 20, at 3 bits."""
    model = layer(weights)
    with torch.no_grad():
        few = al.Levels(bits=3).project(al.Sparse(ratio=20).project(model.weight))
        model.weight.copy_(few)
    del few
    return lambda: codec.encode(model)


WORK = {
    "Z and U, 1 weight in 20": update(al.Sparse(ratio=20)),
    "Z and U, 3-bit levels": update(al.Levels(bits=3)),
    "16 clusters": cluster,
    "encoding, 1 in 20 at 3 bits": encode,
}


def measure(name: str, weights: int) -> dict[str, float]:
    """Seconds, and peak memory above what was there before, in copies of the weights."""
    torch.set_num_threads(1)
    # All that is larger goes back when it is freed: else it would be used again without counting.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    WORK[name](SIZES[0] // 10)()  # whatever is loaded at the first call is no part of it
    work = WORK[name](weights)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    before, began = _resident("VmRSS"), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "copies": (_resident("VmHWM") - before) / (4 * weights)}


def _resident(field: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at the peak (VmHWM)."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if field in each)
    return 1024 * int(line.split()[1])


def main() -> None:
    """Print the table, a line as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes")
    parser.add_argument("--one", nargs=2, metavar=("WORK", "WEIGHTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
        return
    print(f"{place.line(threads=1)}\n")
    print("| work | weights | seconds | ns a weight | extra memory, copies |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    for name in WORK:
        for weights in SIZES[:2] if options.quick else SIZES:
            words = [sys.executable, __file__, "--one", name, str(weights)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            print(
                f"| {name} | {weights:,} | {found['seconds']:.2f} | {1e9 * found['seconds'] / weights:.0f} "
                f"| {found['copies']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
