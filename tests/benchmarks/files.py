"""Bytes and times of whole files, ours and others', for the same tensors: `make bench-files`.

General compressors get the tensors as safetensors lays them out, and once more as whole numbers, each
tensor's multiples of its step, in a byte each. The NNR coder (ISO/IEC 15938-17) gets the whole numbers as
well. What takes whole numbers is charged four bytes a tensor for the step. All give the tensors back as they
were, bit for bit, but for 32-bit biases under nncodec, which rounds them. nncodec needs numpy below 2, and so
has an environment of its own, made on the first call.
"""

import argparse
import lzma
import math
import statistics
import subprocess
import sys
import tempfile
import venv
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
import place
import safetensors.numpy
import torch
import zstandard
from torch import nn

import admm_lib as al
from admm_lib import codec, records
from admm_lib.codec.steps import find_step

HOME = Path(__file__).resolve().parents[2]
ENVIRONMENT = HOME / "build" / "nncodec"
PYTHON = ENVIRONMENT / "bin" / "python"
NETWORKS = ("lenet5-file-1551", "lenet5-file-3102", "lenet5-2bit", "lenet5-binary")
ROUNDS = 5
SIDES = (656, 2_074, 6_560)  # 0.43, 4.3 and 43 million weights
Tensors = dict[str, np.ndarray]
Code = tuple[Callable[[], bytes], Callable[[bytes], object]]


def multiples(tensors: Tensors) -> tuple[Tensors, int]:
    """Each tensor as whole multiples of its step, and how many steps there are.

    A tensor that is not on levels, such as a bias of 32 bits, stays as it is.
    """
    found, steps = {}, 0
    for name, tensor in tensors.items():
        values = torch.from_numpy(np.unique(tensor[tensor != 0]))
        step = find_step(values) if len(values) else None
        found[name] = tensor
        if step is not None:
            size = math.ldexp(step.mantissa, step.exponent)
            whole = np.rint(tensor.astype(np.float64) / size)
            if np.abs(whole).max() < 128 and np.array_equal((whole * size).astype(np.float32), tensor):
                found[name], steps = whole.astype(np.int8), steps + 1
    return found, steps


def general(tensors: Tensors) -> dict[str, Code]:
    """safetensors, and what zlib, xz and zstd make of its bytes."""
    packed, level = zstandard.ZstdCompressor(level=22), 9 | lzma.PRESET_EXTREME
    raw = safetensors.numpy.save(tensors)
    return {
        "safetensors": (lambda: safetensors.numpy.save(tensors), safetensors.numpy.load),
        "zlib -9": (lambda: zlib.compress(raw, 9), zlib.decompress),
        "xz -9e": (lambda: lzma.compress(raw, preset=level), lzma.decompress),
        "zstd -22": (lambda: packed.compress(raw), zstandard.ZstdDecompressor().decompress),
    }


def timed(code: Code) -> tuple[int, float, float]:
    """Bytes, and median milliseconds to write and to read."""
    write, read = code
    writing, reading = [], []
    for _ in range(ROUNDS):
        started = perf_counter()
        content = write()
        written = perf_counter()
        read(content)
        writing.append(written - started)
        reading.append(perf_counter() - written)
    return len(content), 1e3 * statistics.median(writing), 1e3 * statistics.median(reading)


def without_nncodec() -> str | None:
    """Why nncodec cannot be had; None where it can, installed now if need be."""
    pins = [f"torch=={torch.__version__.split('+')[0]}", "numpy<2", "nncodec==2.1.3"]
    done = ENVIRONMENT / "installed"
    try:
        if not done.exists() or done.read_text().split() != pins:
            print("(making an environment for nncodec)", file=sys.stderr, flush=True)
            venv.create(ENVIRONMENT, with_pip=True, clear=True)
            command = [PYTHON, "-m", "pip", "install", "--quiet", *pins]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=1_800)
            done.write_text("\n".join(pins))
    except subprocess.SubprocessError as error:
        return " ".join(str(getattr(error, "stderr", None) or error).split())[-200:]
    return None


@contextmanager
def nncodec(tensors: Tensors) -> Iterator[Code]:
    """The code of nncodec, which is installed, as a process of its own runs it."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "tensors.npz"
        whole = {name: each.astype(np.int32) for name, each in tensors.items() if each.dtype == np.int8}
        np.savez(given, **tensors | whole)
        command = [PYTHON, Path(__file__).with_name("nncodec_peer.py"), given]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:

            def ask(word: str) -> None:
                print(word, file=peer.stdin, flush=True)
                if peer.stdout.readline().strip() != word:
                    raise subprocess.SubprocessError(f"nncodec's process ended while it should {word}")

            def write() -> bytes:
                ask("write")
                return given.with_suffix(".nnc").read_bytes()

            for word in ("write", "read", "check"):
                ask(word)
            yield write, lambda _: ask("read")
            peer.stdin.close()


def plain(model: nn.Module) -> tuple[Tensors, Tensors, int]:
    """The tensors of a network, and as `multiples` has them."""
    tensors = {key: value.numpy() for key, value in model.state_dict().items()}
    return tensors, *multiples(tensors)


def rows(name: str, others: bool) -> list[str]:
    """The table's lines for one network, ours first."""
    model = al.load(HOME / records.read(name)["runs"][0]["file"])
    tensors, whole, steps = plain(model)
    codes = {".admm": (lambda: codec.encode(model), codec.decode)} | general(tensors)
    for label, code in list(general(whole).items())[1:]:
        codes[f"{label}, whole numbers"] = code
    found = {label: timed(code) for label, code in codes.items()}
    if others:
        with nncodec(whole) as code:
            found["nncodec, whole numbers"] = timed(code)
    lines = []
    for label, each in found.items():
        size, writing, reading = each
        size += 4 * steps * label.endswith("numbers")
        share = found[".admm"][0] / size
        lines.append(f"| {name} | {label} | {size:,} | {share:.3f} | {writing:.1f} ms | {reading:.1f} ms |")
    return lines


def growth(side: int) -> str:
    """The table's line for one layer of side x side random weights, 1 in 20 kept, on 3-bit levels."""
    layer = nn.Linear(side, side)
    sparse = al.Sparse(ratio=20).project(torch.randn(side, side, generator=torch.Generator().manual_seed(0)))
    layer.weight.data = al.Levels(bits=3).project(sparse)
    empty = nn.Linear(side, side)
    started = perf_counter()
    content = codec.encode(layer)
    written = perf_counter()
    codec.decode(content, empty)
    each = [1e9 * spent / side**2 for spent in (written - started, perf_counter() - written)]
    return f"| {side**2:,} | {len(content):,} | {each[0]:.0f} ns | {each[1]:.0f} ns |"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="File sizes beside those of other codes.")
    parser.add_argument("--only", help="one of the networks")
    parser.add_argument("--without-nncodec", action="store_true", help="install nothing")
    options = parser.parse_args(arguments)
    if missing := None if options.without_nncodec else without_nncodec():
        print(f"nncodec cannot be installed, and is left out: {missing}", file=sys.stderr)
    print(f"{place.line()}\n")
    print("| network | code | bytes | ours / theirs | writing | reading |")
    print("|---|---|---|---|---|---|")
    for name in [options.only] if options.only else NETWORKS:
        for line in rows(name, not (options.without_nncodec or missing)):
            print(line, flush=True)
    if not options.only:
        print("\n| weights of one layer | .admm, bytes | writing, per weight | reading, per weight |")
        print("|---|---|---|---|")
        for side in SIDES:
            print(growth(side), flush=True)


if __name__ == "__main__":
    main()
