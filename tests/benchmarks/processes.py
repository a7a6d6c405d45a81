"""Images a second of one process and of two, a core each, on the same global batches: `make bench-processes`.

Each trains the same network with ADMM on one thread; the first epoch does not count. Rounds alternate, so
that a busy machine slows both alike; the ratio is that of a round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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
STARTERS = {1: [], 2: ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]}


def seconds(script: Path, processes: int, name: str, images: int, batch: int) -> float:
    """Of an epoch, the mean of the two that count."""
    words = [sys.executable, *STARTERS[processes], str(script), name, str(images), str(batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return statistics.mean(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table, a line as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("| network | images a step | one process, images/s | two processes | ratio | quartiles |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as home:
        script = Path(home) / "train.py"
        script.write_text(SCRIPT)
        for name, (images, batch) in NETWORKS.items():
            found = [
                [images / seconds(script, n, name, images, batch) for n in STARTERS]
                for _ in range(options.rounds)
            ]
            one, two = (statistics.median(each) for each in zip(*found, strict=True))
            low, middle, high = statistics.quantiles([b / a for a, b in found], n=4, method="inclusive")
            told = f"{one:,.0f} | {two:,.0f} | {middle:.2f} | {low:.2f} – {high:.2f}"
            print(f"| {name} | {batch} | {told} |", flush=True)


if __name__ == "__main__":
    main()
