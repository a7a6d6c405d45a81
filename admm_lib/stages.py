"""Stages of training: dense, ADMM, retraining, ADMM's rivals; kept when finished, resumed when killed."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from . import byte_budget, data, groups, models, recipes, records, stage_files
from .admm import ADMM
from .allocation import prunable
from .constraints import Constraint, Sparse
from .distillation import Teacher
from .holding import bake, hold, original
from .intersection import Both
from .models import with_dropout
from .names import resolve
from .pairs import Key, names_of
from .parametrizations import Mask
from .quantization import Levels
from .recipe_stages import Done, Stage
from .rivals import SHARES, HardThresholding, freeze_nearest, straight_through
from .schedules import geometric
from .shrink import expand, shrink
from .training import Epoch, fit

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Runner:
    """What the stages of a run share: seed, images, where to report, and where finished ones are kept."""

    model: str
    seed: int
    images: data.Data
    report: Report
    folder: Path
    teachers: dict[Done, Teacher] = field(default_factory=dict)  # each is asked once about each shifted image

    def go_on(self, path: Sequence[Done], *more: Stage) -> list[Done]:
        """The path and, one after the other, more stages: trained, or fetched where that was done before.

        Finished stages are kept and shared by all runs that begin alike; within a stage, a killed run goes
        on from its last epoch. The dense network is the first, and the teacher where a stage asks for one.
        """
        done = list(path)
        for stage in more:
            done.append(self._next(done, stage))
        return done

    def _next(self, path: list[Done], stage: Stage) -> Done:
        chain = [self.seed, *([each.name, each.settings] for each in (*(d.stage for d in path), stage))]
        if self.images.name == "cifar10-jpeg":  # an archive that anyone packs; the others' files are fixed
            chain.append(self.images.checksums)
        key = hashlib.sha256(json.dumps(chain, sort_keys=True).encode()).hexdigest()[:16]
        file = self.folder / f"{stage.name}-{self.model}-seed{self.seed}-{key}.safetensors"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            lock = file.with_suffix(".lock")
            with FileLock(lock):  # others that begin alike wait, and find it finished
                if not file.exists():
                    self._train(path, stage, file)
                lock.unlink(missing_ok=True)
        return Done(stage, *stage_files.kept(file, self.model))

    def _train(self, path: list[Done], stage: Stage, file: Path) -> None:
        """Train a stage and keep it."""
        network = models.create(self.model, self.seed)
        if path:
            network.load_state_dict(path[-1].network.state_dict())
        unfinished = file.with_suffix(".unfinished")
        provenance = records.provenance()
        commits = stage_files.started(file.with_suffix(".commits"), provenance["commit"])
        history, levels = self._run(path, stage, network, unfinished)
        origin = {
            "seconds": round(sum(epoch.seconds for epoch in history), 1),
            "commit": ", ".join(commits),
            "provenance": provenance,
            "loss": [round(epoch.loss, 5) for epoch in history],
            "val_accuracy": [round(epoch.val_accuracy, 2) for epoch in history],
            **({"levels": {name: asdict(each) for name, each in levels.items()}} if levels else {}),
        }
        stage_files.keep(network, file, origin)
        for part in self.folder.glob(f"{unfinished.name}*"):
            part.unlink(missing_ok=True)
        file.with_suffix(".commits").unlink(missing_ok=True)  # another run may have shared the stage

    def _teacher(self, dense: Done, temperature: float, weight: float) -> Teacher:
        if dense not in self.teachers:
            self.teachers[dense] = Teacher(dense.network, temperature, weight, remember=True)
        return self.teachers[dense]

    def _run(
        self, path: list[Done], stage: Stage, network: nn.Module, unfinished: Path
    ) -> tuple[list[Epoch], dict[str, Levels]]:
        """One stage, on `network`, in place; what was pruned before stays so (masked ADMM), and layers
        quantized before keep their pattern. Returns the epochs, and the levels that were planned for a file.
        """
        settings, plan = stage.settings, None
        if recipes.for_bytes(settings):
            plan = byte_budget.planned(stage.name, settings, network, path[-1].origin.get("levels"))
        few = recipes.given_sets(settings) if plan is None else plan.few
        trained, admm = _started(path, stage, network, plan.sparse if plan else None, few)
        before = sum(each.stage.settings["epochs"] for each in path)
        history: list[Epoch] = []
        for share, epochs in _shares(stage):
            if stage.name == "incremental":
                freeze_nearest(trained, few, share)
            history += fit(
                trained,
                self.images,
                epochs,
                admm=admm,
                lr=settings["lr"],
                optimizer=_sgd(trained, settings),
                teacher=self._teacher(path[0], **settings["distill"]) if "distill" in settings else None,
                batch_size=settings["batch_size"],
                augment=_moves(settings),
                precision=settings["precision"],
                seed=1000 * self.seed + before + len(history),
                resume=f"{unfinished}-{share:g}" if share < 1 else unfinished,
                progress=_told(self.report, stage.name),
            )
        if admm is not None and "finish" not in settings:
            admm.finalize()
        elif admm is not None and "keep" in settings and plan is None:
            _prune_as_projected(admm, trained, settings["keep"])
        if settings.get("shrink"):
            bake(trained)  # before the masks of `network` are looked at, so that all of it is projected
            expand(trained, network)
        bake(network)
        if plan is not None:
            byte_budget.meet(plan, network, settings, stage.name)
        return history, plan.few if plan else {}


def _started(
    path: list[Done],
    stage: Stage,
    network: nn.Module,
    sparse: Mapping[Key, Sparse] | None,
    few: Mapping[str, Constraint],
) -> tuple[nn.Module, ADMM | None]:
    """What a stage trains, which shares its weights with `network` unless it is shrunk, and its ADMM, if any:
    with the budgets `sparse`, or else those of the stage.
    """
    settings, trained = stage.settings, network
    _hold_zeros(network)
    if stage.name == "magnitude":
        ADMM(network, recipes.prune_sets(settings, network)).finalize()
    if "dropout" in settings:
        trained = with_dropout(network, settings["dropout"])
    elif settings.get("shrink"):
        trained = shrink(network)
    _hold_values([each.stage for each in path], stage, trained)
    if stage.name == "snap":
        ADMM(trained, few).finalize()
    elif stage.name in ("straight-through", "opq"):
        straight_through(trained, few)
    elif stage.name in ("admm", "hard-thresholding"):
        return trained, _split(stage, trained, sparse or recipes.sets(settings, network))
    return trained, None


def _split(stage: Stage, network: nn.Module, sets: Mapping[Key, Constraint | Sequence[Constraint]]) -> ADMM:
    """ADMM, or its rival, on the network, with the pace of rho that the stage asks for."""
    settings = stage.settings
    growth = settings.get("rho_growth")  # or else `balance` moves rho
    schedule = growth and geometric(1, growth, settings["epochs"])
    fitted = {key: _fitted(each, key, network) for key, each in sets.items()}
    kind = ADMM if stage.name == "admm" else HardThresholding
    return kind(network, fitted, settings["rho"], schedule, settings.get("balance"))


def _sgd(network: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer | None:
    """SGD with Nesterov's momentum where the recipe asks for it, or else None, for Adam."""
    if "sgd" not in settings:
        return None
    return torch.optim.SGD(
        network.parameters(), settings["lr"], nesterov=True, fused=True, **settings["sgd"]
    )


def _moves(settings: dict[str, Any]) -> data.Shifts | None:
    """The augmentation: shifts, and mirror images. In images of colour the mean colour moves in."""
    if not settings["shift_pixels"] and not settings.get("flip"):
        return None
    colour = {"fill": 0.0} if settings["dataset"] in data.CIFAR else {}
    return data.Shifts(settings["shift_pixels"], settings.get("flip", False), **colour)


def _shares(stage: Stage) -> list[tuple[float, int]]:
    """The parts of a stage: the share of each level that is frozen before it, and its epochs."""
    epochs = stage.settings["epochs"]
    if stage.name != "incremental":
        return [(1.0, epochs)]
    shares = stage.settings.get("shares", SHARES)
    ends = [round(epochs * part / len(shares)) for part in range(len(shares) + 1)]
    return [(share, last - first) for share, (first, last) in zip(shares, pairwise(ends), strict=True)]


def _hold_values(before: list[Stage], stage: Stage, network: nn.Module) -> None:
    """Hold the layers that were quantized by the pattern of their values, but for those that `stage`
    quantizes anew. Biases that shrinking has moved are projected again.
    """
    done = {}
    for each in [*before, stage] if stage.name == "retrain" else before:
        done |= recipes.given_sets(each.settings)
    anew = stage.settings.get("sets", {}) if stage.name != "retrain" else {}
    for name in done.keys() - anew.keys():
        owner = resolve(network, name)
        weight = done[name].project(getattr(*owner).detach())
        hold(*owner, weight, done[name].hold(weight))


@torch.no_grad()
def _hold_zeros(network: nn.Module) -> None:
    """Hold the zeros that a plain network has from the stages before."""
    for name, weight in prunable(network).items():
        if bool((weight == 0).any()):
            hold(*resolve(network, name), weight.clone(), Mask(weight != 0))


@torch.no_grad()
def _prune_as_projected(admm: ADMM, network: nn.Module, names: Iterable[str]) -> None:
    """Zero what ADMM's projection prunes, and leave the values of the rest to the stage that follows."""
    owners = [resolve(network, name) for name in names]
    with admm.projected():
        kept = [getattr(*owner) != 0 for owner in owners]
    for owner, mask in zip(owners, kept, strict=True):
        original(*owner).masked_fill_(~mask, 0)


def _fitted(each: Constraint | Sequence[Constraint], key: Key, network: nn.Module) -> Any:
    """The set, or all there is where shrinking has left a layer with less than its budget."""
    if isinstance(each, list):
        return [_fitted(one, key, network) for one in each]
    if isinstance(each, Both):
        return replace(each, sparse=_fitted(each.sparse, key, network))
    if not isinstance(each, Sparse):
        return each
    shapes = [getattr(*resolve(network, name)).shape for name in names_of(key)]
    return replace(each, keep=min(each.keep, each.count(groups.joined(shapes))))


def _told(report: Report, stage: str) -> Callable[[Epoch], None]:
    return lambda epoch: report(
        f"  {stage} {epoch.number}: loss {epoch.loss:.4f}, validation {epoch.val_accuracy:.2f}%, "
        f"{epoch.seconds:.1f} s"
    )
