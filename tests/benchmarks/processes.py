"""Images a second of one process and of two, a core each, on the same global batches: `make bench-processes`.

Beside them two processes that do not talk, each with half of every batch: what the machine itself allows.
Each trains the same network with ADMM on one thread; the first epoch does not count. Rounds alternate, so
that a busy machine slows all alike; ratios are those of a round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import place

SCRIPT = """
import json, os, sys
import torch
import admm_lib as al

torch.set_num_threads(1)
name, images, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
model = al.models.ARCHITECTURES[name]()
shape = (3, 32, 32) if name in al.models.OF_COLOUR else (1, 28, 28)
train = al.data.Split(torch.randn(images, *shape), torch.randint(10, (images,)))
admm = al.ADMM(model, al.suggest(model, ratio=10), rho=1e-3)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
history = al.fit(model, train, 3, admm=admm, optimizer=optimizer, batch_size=batch, accelerator="cpu")
if int(os.environ.get("RANK", "0")) == 0:
    print(json.dumps([epoch.seconds for epoch in history[1:]]))
"""
NETWORKS = {"lenet5": (8_192, 512), "resnet20": (2_048, 256), "vgg16": (512, 128)}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def rate(script: Path, starter: list[str], name: str, images: int, batch: int, beside: int = 1) -> float:
    """Images a second of so many such processes beside each other, from the two epochs that count."""
    words = [sys.executable, *starter, str(script), name, str(images), str(batch)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(beside)]
    told = [each.communicate()[0] for each in running]
    if any(each.returncode for each in running):
        raise RuntimeError(f"{' '.join(words)} failed")
    return sum(images / statistics.mean(json.loads(out.splitlines()[-1])) for out in told)


def main() -> None:
    """Print the table, a line as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="2 or more (default: %(default)s)")
    options = parser.parse_args()
    print(f"{place.line(threads=1)}\n")
    print("| network | images a step | one, images/s | two | ratio | quartiles | two that do not talk |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as home:
        script = Path(home) / "train.py"
        script.write_text(SCRIPT)
        for name, (images, batch) in NETWORKS.items():
            found = [
                (
                    rate(script, [], name, images, batch),
                    rate(script, TORCHRUN, name, images, batch),
                    rate(script, [], name, images // 2, batch // 2, beside=2),
                )
                for _ in range(options.rounds)
            ]
            one, two, _ = (statistics.median(each) for each in zip(*found, strict=True))
            low, middle, high = statistics.quantiles([b / a for a, b, _ in found], n=4, method="inclusive")
            apart = statistics.median(c / a for a, _, c in found)
            told = f"{one:,.0f} | {two:,.0f} | {middle:.2f} | {low:.2f} – {high:.2f} | {apart:.2f}"
            print(f"| {name} | {batch} | {told} |", flush=True)


if __name__ == "__main__":
    main()
