"""Two processes on this machine, as torchrun and fabric run start them, beside one with the same batches."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from admm_lib import distributed

SCRIPT = '''
import atexit, hashlib, json, os, sys
from pathlib import Path
import torch
from torch import nn
import admm_lib as al
from admm_lib import distributed

torch.set_num_threads(1)
kind, out = sys.argv[1], Path(sys.argv[2])
rank = int(os.environ.get("RANK", 0))
ended = out / f"{rank}.ended"  # without a group by then: what `fit` registers later runs before
atexit.register(lambda: ended.write_text(str(not torch.distributed.is_initialized())))
torch.manual_seed(rank if kind == "unseeded" else 0)
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))
digits = al.data.load("digits")
train = digits.train.subset(203)  # its last batch is of 11
sets = {"1.weight": al.Sparse(ratio=10), "3.weight": al.Levels(bits=3)}
if kind == "joint":
    sets = {("1.weight", "3.weight"): al.Sparse(ratio=10)}
admm = al.ADMM(model, sets, rho=1e-2, balance=2.0)
if kind == "death" and rank == 1:
    class Dies(nn.Module):
        def forward(self, x):
            os._exit(9)
    model.add_module("4", Dies())
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
told = []
history = al.fit(model, train, 3, admm=admm, optimizer=optimizer, batch_size=32, validate=digits.val,
                 augment=al.data.Shifts(1), resume=out / "state" if kind == "resumed" else None,
                 progress=told.append)
parts = [t for each in (admm.Z, admm.U) for tensors in each.values() for t in tensors]
bits = hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in parts)).hexdigest()
if kind == "apart":
    with torch.no_grad():
        model[1].weight += rank
    distributed.update(admm, distributed.fabric("cpu", "32-true"))
admm.finalize()
torch.save(model.state_dict(), out / f"{rank}.pt")
found = {"loss": [e.loss for e in history], "accuracy": [e.val_accuracy for e in history], "told": len(told),
         "bits": bits, "world": int(os.environ.get("WORLD_SIZE", 1)), "rho": list(admm.rho.values())}
(out / f"{rank}.json").write_text(json.dumps(found))
'''
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FABRIC = ["-m", "lightning_fabric.cli", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"]


def start(folder: Path, kind: str, starter: list[str]) -> subprocess.CompletedProcess:
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ADMM_PROGRESS": "off"}
    words = [sys.executable, *starter, str(folder / "script.py"), kind, str(folder)]
    return subprocess.run(
        words, capture_output=True, text=True, env=environment, timeout=300, check=False, cwd=Path.cwd()
    )


def run(folder: Path, kind: str, starter: list[str]) -> tuple[list[dict], list[dict]]:
    """What each process found, and its weights."""
    folder.mkdir()
    done = start(folder, kind, starter)
    assert done.returncode == 0, done.stderr
    ranks = sorted(path.stem for path in folder.glob("*.json"))
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in ranks]
    return found, [torch.load(folder / f"{rank}.pt") for rank in ranks]


@pytest.mark.parametrize(
    ("kind", "starter"),
    [
        ("plain", TORCHRUN),
        pytest.param("plain", FABRIC, marks=pytest.mark.full),
        pytest.param("joint", TORCHRUN, marks=pytest.mark.full),
        pytest.param("unseeded", TORCHRUN, marks=pytest.mark.full),
    ],
)
def test_two_processes_end_where_one_does(tmp_path, kind, starter):
    (alone,), (expected,) = run(tmp_path / "one", kind, [])
    both, weights = run(tmp_path / "two", kind, starter)
    assert [each["world"] for each in both] == [2, 2]
    assert both[0]["bits"] == both[1]["bits"]  # Z and U, to the bit
    for name, value in expected.items():
        assert torch.equal(weights[0][name], weights[1][name])
        assert torch.allclose(weights[0][name], value, atol=1e-5), name
    assert both[0]["loss"] == both[1]["loss"] == pytest.approx(alone["loss"], abs=1e-5)
    assert both[0]["accuracy"] == both[1]["accuracy"]
    assert both[0]["rho"] == pytest.approx(alone["rho"])
    assert [path.read_text() for path in (tmp_path / "two").glob("*.ended")] == ["True", "True"]
    assert [each["told"] for each in both] == [3, 0]  # one of them tells of progress


@pytest.mark.full
def test_one_process_keeps_the_state_that_all_resume_from(tmp_path):
    folder = tmp_path / "two"
    first, _ = run(folder, "resumed", TORCHRUN)
    assert (folder / "state").exists()
    done = start(folder, "resumed", TORCHRUN)
    assert done.returncode == 0, done.stderr
    again = json.loads((folder / "0.json").read_text())
    assert again["bits"] == first[0]["bits"]
    assert again["told"] == 0  # nothing was left to do


def test_a_process_that_dies_ends_the_job_with_a_message(tmp_path):
    done = start(tmp_path, "death", TORCHRUN)
    assert done.returncode != 0
    assert "exitcode  : 9" in done.stderr
    assert "rank      : 1" in done.stderr
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.full
def test_processes_that_drift_apart_are_told(tmp_path):
    done = start(tmp_path, "apart", TORCHRUN)
    assert done.returncode != 0
    assert "the processes disagree on Z and U" in done.stderr


def test_fabric_does_not_tell_of_mixed_precision_each_time(monkeypatch):
    log, told = logging.getLogger("lightning_fabric.utilities.rank_zero"), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    monkeypatch.setattr(log, "handlers", [handler])
    distributed.fabric("cpu", "bf16-mixed")
    assert told == []
    log.info("Using bfloat16 Automatic Mixed Precision (AMP)")  # of a Fabric that is not ours
    assert told.pop()
    real = distributed.Fabric
    monkeypatch.setattr(distributed, "Fabric", lambda **given: (log.info("something else"), real(**given))[1])
    distributed.fabric("cpu", "32-true")
    assert told == ["something else"]


@pytest.mark.parametrize("name", ["gpux", "", "CPU", "mps", "gpu"])
def test_an_accelerator_that_is_not_here_is_refused_with_those_that_are(monkeypatch, name):
    for kind in ("CUDA", "MPS"):
        monkeypatch.setattr(f"lightning_fabric.accelerators.{kind}Accelerator.is_available", lambda: False)
    with pytest.raises(ValueError, match=f"accelerator is one of auto, cpu here, not '{name}'"):
        distributed.fabric(name, "32-true")
    assert distributed.fabric("auto", "32-true").device.type == "cpu"


def test_recipes_are_refused_before_any_work(monkeypatch):
    from admm_lib import pipelines

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "here")
    with pytest.raises(ValueError, match="one process each"):
        pipelines.run_recipes(["none.yaml"])
