"""Results with their provenance: data/records/NAME.json, written by the run itself and never by hand."""

import base64
import math
import platform
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from . import files
from .data import HOME
from .recipes import Recipe, epochs

FOLDER = HOME / "records"
PLANS = ("data/studies/*.yaml", "data/comparison/*.yaml")
FIELDS = {
    "name": str, "model": str, "track": str, "dataset": str, "recipe": dict, "runs": list, "summary": dict,
}  # fmt: skip
MEASURED_WITH = ("torch", "torchvision", "lightning-fabric", "numpy", "constriction")


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided 95% t-interval, over `count` independent values."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def plain(self) -> str:
        """As text without plus signs; a single value without its interval."""
        ends = f" [{self.low:.2f}, {self.high:.2f}]" if self.count > 1 else ""
        return f"{self.mean:.2f}{ends}"


def interval(values: Sequence[float]) -> Interval:
    """mean -/+ t_{0.975, n-1} s / sqrt(n); infinitely wide for a single value. ValueError for none.

    >>> print(al.records.interval([1.0, 2.0, 3.0]))
    +2.00 [-0.48, +4.48]
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return Interval(mean, mean - float(half), mean + float(half), len(values))


def paired_interval(ours: dict, theirs: dict, key: str = "test_accuracy") -> Interval:
    """The interval of `ours - theirs` over the seeds that two records share, in percentage points.

    Raises ValueError where no seed is shared, or where dense networks, epochs, batches or augmentation
    differ.
    """
    theirs_by_seed = {run["seed"]: run for run in theirs["runs"]}
    shared = [run for run in ours["runs"] if run["seed"] in theirs_by_seed]
    if not shared:
        raise ValueError(f"{ours['name']} and {theirs['name']} share no seed, so nothing can be paired")
    if len({_training(each["recipe"]) for each in (ours, theirs)}) > 1:
        raise ValueError(f"{ours['name']} and {theirs['name']} differ in epochs, batch size or augmentation")
    for run in shared:
        twin = theirs_by_seed[run["seed"]]
        if len({_inflated(each["dense_test_correct"]) for each in (run, twin)}) > 1:
            raise ValueError(
                f"{ours['name']} and {theirs['name']} start from other dense networks at seed {run['seed']}"
            )
    return interval([run[key] - theirs_by_seed[run["seed"]][key] for run in shared])


def _training(recipe: Recipe) -> tuple[int, int, int]:
    """What two recipes must share to be compared: epochs in all, batch size, augmentation."""
    return epochs(recipe), recipe["batch_size"], recipe["shift_pixels"]


def loss_interval(record: dict) -> Interval:
    """Compressed minus dense test accuracy, each run against its own dense network, in points."""
    return interval([run["test_accuracy"] - run["dense_test_accuracy"] for run in record["runs"]])


def is_lossless(record: dict, margin: float = 0.1) -> bool:
    """Whether the whole interval of compressed minus dense lies above -`margin` points."""
    return loss_interval(record).low > -margin


def names(folder: Path | None = None) -> list[str]:
    """The records in `folder`, by default the committed ones, sorted."""
    return sorted(path.stem for path in (folder or FOLDER).glob("*.json"))


def headlines(folder: Path | None = None) -> list[str]:
    """The names of the records that stand for themselves: those that are no arm of a study."""
    return [name for name in names(folder) if "study" not in read(name, folder)["recipe"]]


def read(name: str, folder: Path | None = None) -> dict[str, Any]:
    """A record by name. FileNotFoundError names the known ones; ValueError says what is damaged."""
    path = (folder or FOLDER) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"no record {name!r}: there are {', '.join(names(folder)) or 'none yet'}")
    return files.read_json(path, FIELDS)


def add_run(
    recipe: dict[str, Any], run: dict[str, Any], checksums: dict[str, str], folder: Path | None = None
) -> Path:
    """Add one finished run to its record, replacing an earlier one of the same seed; written atomically.

    Others may be adding theirs. Raises ValueError where the record is of other data.
    """
    path = (folder or FOLDER) / f"{recipe['name']}.json"
    with files.locked(path):
        earlier = read(recipe["name"], folder) if path.exists() else {"runs": []}
        if earlier.get("data_checksums", checksums) != checksums:
            raise ValueError(f"{path} is of other data: {earlier['data_checksums']}, not {checksums}")
        others = [each for each in earlier["runs"] if each["seed"] != run["seed"]]
        record = _of_runs(recipe, sorted([*others, run], key=lambda each: each["seed"]))
        files.write_json(path, {**record, "data_checksums": checksums})
    return path


def _of_runs(recipe: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": recipe["name"],
        "model": recipe["model"],
        "track": recipe["track"],
        "dataset": recipe["dataset"],
        "recipe": recipe,
        "runs": runs,
        "summary": _summary(runs),
    }


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies = [each["test_accuracy"] for each in runs]
    across = interval(accuracies)
    return {
        "test_accuracy_mean": round(across.mean, 4),
        "test_accuracy_std": round(float(np.std(accuracies, ddof=len(runs) > 1)), 4),
        "interval": None if len(runs) == 1 else [round(across.low, 4), round(across.high, 4)],
    }


def write_measured(path: Path, found: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    """Write what was measured, with its provenance; returns the path."""
    files.write_json(path, found | {"provenance": provenance(), "rows": rows}, indent=0)
    return path


def read_measured(path: Path, command: str) -> dict[str, Any]:
    """What `write_measured` wrote. FileNotFoundError, with the command that measures it, for no such file."""
    if not path.exists():
        raise FileNotFoundError(f"there is no {path.parent.name}/{path.name}: measure it with `{command}`")
    return files.read_json(path, {"provenance": dict, "rows": list})


def provenance() -> dict[str, Any]:
    """What a number depends on besides recipe and seed: versions, threads, device, commit."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in MEASURED_WITH},
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of this checkout, with -dirty when the library, or what is run by it, differs from it."""
    command = ["git", "-C", str(HOME.parent)]
    try:
        head = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*command, "status", "--porcelain", "--", "admm_lib", "data/recipes", *PLANS],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def pack_bits(correct: torch.Tensor) -> str:
    """A boolean vector as text: bits, deflated, base64."""
    return base64.b64encode(zlib.compress(np.packbits(correct.numpy()).tobytes(), 9)).decode()


def unpack_bits(text: str, count: int) -> torch.Tensor:
    """The boolean vector of length `count` that `pack_bits` wrote; ValueError where it wrote another one."""
    packed = np.frombuffer(_inflated(text), dtype=np.uint8)
    if len(packed) != -(-count // 8):
        raise ValueError(f"{8 * len(packed)} bits are packed, not {count}")
    return torch.from_numpy(np.unpackbits(packed, count=count).astype(bool))


def _inflated(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
