"""What may be wrong with a recipe, field by field, each said in one line with its remedy."""

from collections.abc import Iterator
from itertools import chain

from torch import nn

from .. import allocation, data, models
from ..names import resolve
from ..rivals import SHARES
from ..shrink import runs_in_turn
from .allocated import LARGEST, known_budgets, misallocated, missized
from .form import (
    BUDGETS,
    CHOICES,
    FIELDS,
    FINISHES,
    FIRST_SEED,
    JOINT,
    OPTIONAL,
    SPECIAL,
    STAGES,
    STEP,
    Recipe,
    for_bytes,
    given_sets,
    prune_sets,
    ranks,
    sets,
    steps,
)  # fmt: skip

MOST_ONE = {"weight": "the teacher's share of the loss", "momentum": "the share of the last step that stays"}


def problems(recipe: object, stem: str) -> Iterator[str]:
    """What is wrong with a recipe; each line may rely on the ones before it being in order."""
    if not isinstance(recipe, dict):
        yield "a recipe is a mapping of fields"
    yield from _misnamed(recipe)
    yield from _misfielded(recipe, FIELDS if "steps" in recipe else FIELDS | STEP, OPTIONAL)
    if both := [name for name in (*BUDGETS, *STEP) if name in recipe and "steps" in recipe]:
        yield f"{both[0]} belongs into each of the steps, not beside them"
    yield from _misnumbered(recipe)
    if recipe["name"] != stem:
        yield f"name is {recipe['name']!r}, but must be the file's, {stem!r}"
    for name, known in CHOICES.items():
        if recipe[name] not in known:
            yield f"{name} must be one of {', '.join(known)}, but is {recipe[name]!r}"
    yield from _misstarted(recipe)
    yield from _misstaged(recipe)
    if "dropout" in recipe["dense"]:
        yield from _misdropped(recipe["model"], recipe["dense"]["dropout"])
    if "finish" in recipe and (recipe["method"] != "admm" or recipe["finish"] not in FINISHES):
        yield f"finish is {' or '.join(FINISHES)}, after method admm, but is {recipe['finish']!r}"
    yield from _misstepped(recipe)
    if recipe["method"] == "magnitude" and "sets" in steps(recipe)[0] and not for_bytes(steps(recipe)[0]):
        yield "method magnitude prunes before it quantizes: give keep first, or choose method snap"
    if ranks(recipe) and (len(steps(recipe)) > 1 or "finish" in recipe or not _of_low_rank(recipe)):
        yield (
            "low-rank stands alone: one step, no other sets, method admm, hard-thresholding or snap, "
            "no finish or shrink"
        )
    if "finish" in recipe and not any("sets" in step or for_bytes(step) for step in steps(recipe)):
        yield "finish is for weights that become quantized: give sets, or leave it out"
    yield from missized(recipe)
    if "search" in recipe and len(steps(recipe)) <= recipe["search"]["width"]:
        yield "search: width models are pruned first, and then one step at least; add steps or lower width"


def _misnamed(recipe: Recipe) -> Iterator[str]:
    """Names of fields and layers, at any depth, that are no text."""
    left: list[object] = [recipe]
    for each in left:
        for name in each if isinstance(each, dict) else ():
            if type(name) is not str:
                yield f"fields and layers have names of text, not {name!r}"
        left += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()


def _misstarted(recipe: Recipe) -> Iterator[str]:
    """What does not go with the network that a run starts from."""
    if recipe["track"] not in (f"from-{recipe['model']}", "free"):
        yield f"track must be from-{recipe['model']} or free, but is {recipe['track']!r}"
    if (recipe["model"] in models.OF_COLOUR) != (recipe["dataset"] in data.CIFAR):
        yield f"{recipe['model']} takes images of another size than those of {recipe['dataset']}"


def _of_low_rank(recipe: Recipe) -> bool:
    """Whether the first step makes layers low-rank, does nothing else, and by a method that can."""
    step = steps(recipe)[0]
    whole = not any(step[stage].get("shrink") for stage in STEP)
    alone = whole and "keep" not in step and len(ranks(recipe)) == len(step["sets"])
    return alone and recipe["method"] in ("admm", "hard-thresholding", "snap")


def _misfielded(found: Recipe, needed: dict[str, type], allowed: dict[str, type]) -> Iterator[str]:
    """What is wrong with the fields of a mapping."""
    known = needed | allowed
    for name in sorted(needed.keys() | found.keys()):
        if name not in known:
            yield f"unknown field {name!r}; the fields are {', '.join(known)}"
        if name not in found:
            yield f"the field {name!r} is missing"
        whole = type(found[name]) is bool and known[name] is int  # true is a 1, to Python
        if whole or not isinstance(found[name], known[name]):
            yield f"{name} must be a {getattr(known[name], '__name__', known[name])}, but is {found[name]!r}"


def _misstepped(recipe: Recipe) -> Iterator[str]:
    """What is wrong with the steps: their form, or a budget above what the ones before leave."""
    if not steps(recipe):
        yield "steps names no step"
    network = models.outline(recipe["model"])
    left = allocation.Left(network)
    few: set[str] = set()  # the layers that have been quantized
    for number, step in enumerate(steps(recipe), 1):
        where = f"step {number}: " if "steps" in recipe else ""
        found = _misformed(step, network), _mismatched(step, recipe, few)
        for problem in chain(*found, _overfull(step, network, left)):
            yield where + problem
        few |= set(step.get("sets", ()))


def _overfull(step: Recipe, network: nn.Module, left: allocation.Left) -> Iterator[str]:
    """What is wrong with a step's budgets after those that leave `left`, which is lowered by them."""
    budgets = known_budgets(step, network)
    remedy = "raise the ratio" if "allocation" in step else "lower it, or leave it out"
    for key, each in budgets.items():
        if each.keep > (most := left.most(key, each)):
            what = key if isinstance(key, str) else "the network"
            yield f"{what} keeps {each.keep} {each.things}, but the steps before leave {most}: {remedy}"
    for key, each in budgets.items():
        left.lower(key, each)


def _mismatched(step: Recipe, recipe: Recipe, few: set[str]) -> Iterator[str]:
    """What is wrong with a step under its method, or after the layers `few` were quantized."""
    method = recipe.get("finish", recipe["method"])
    quantizers = ("snap", "incremental", "straight-through")
    if recipe["method"] in quantizers and "sets" not in step:
        yield f"method {method} quantizes: give sets"
    if recipe["method"] != "admm" and "joint" in step:
        yield "joint is what ADMM does under both keep and sets: method must be admm"
    if "finish" not in recipe and step.get("joint") == "pruning":
        yield f"joint: pruning leaves the values to finish: give that, {' or '.join(FINISHES)}"
    spent = step["retrain"]["epochs"] + (0 if "finish" in recipe else step["admm"]["epochs"])
    shares = step["retrain"].get("shares", SHARES)
    if "shares" in step["retrain"] and not (method == "incremental" and "sets" in step):
        yield "shares are frozen one after the other by incremental, in a step with sets: leave them out"
    if method == "incremental" and "sets" in step and spent < len(shares):
        yield f"incremental has {len(shares)} parts: give it as many epochs, not {spent}"
    if method in FINISHES and any("per" in each for each in step.get("sets", {}).values()):
        yield f"method {method} finds levels for whole layers: leave per out"
    anew = few - step.get("sets", {}).keys()
    if odd := anew & set(step.get("keep", anew if "allocation" in step else ())):
        yield f"{min(odd)} is quantized already: give it its set in this step, too"


def _misformed(step: object, network: nn.Module) -> Iterator[str]:
    """What is wrong with one step by itself."""
    if not isinstance(step, dict):
        yield f"a step is a mapping of {', '.join((*BUDGETS, *STEP))}, not {step!r}"
    yield from _misfielded(step, STEP, BUDGETS)
    yield from _misstaged(step)
    if any(step[stage].get("shrink") for stage in STEP) and not runs_in_turn(network):
        yield "shrink trains a network whose layers run in turn, and this one branches: leave it out"
    given = {"keep", "allocation", "sets"} & set(step)
    hand = step.get("allocation", {}).get("rule") == "given"
    if hand and given != {"keep", "allocation", "sets"}:
        yield "allocation: the rule given goes by keep and sets: give both"
    if not hand and len(given) != 1 and given != {"keep", "sets"}:
        yield "give either keep, a budget for each layer, or allocation, a rule and a ratio, or sets"
    if ("joint" in step) != (given == {"keep", "sets"}):
        yield f"keep and sets need joint beside them, and it needs both: one of {', '.join(JOINT)}"
    if step.get("joint", JOINT[0]) not in JOINT:
        yield f"joint must be one of {', '.join(JOINT)}, but is {step['joint']!r}"
    if "allocation" not in step or hand:
        yield from _misfits(step, network)
    if "allocation" in step:
        yield from misallocated(step, network)


def _misstaged(found: Recipe) -> Iterator[str]:
    """What is wrong with the stages of training."""
    for stage, fields in STAGES.items():
        if stage not in found:
            continue
        given = {name: value for name, value in found[stage].items() if name not in SPECIAL.get(stage, ())}
        if set(given) != set(fields):
            yield f"{stage} needs exactly {', '.join(fields)}, but has {', '.join(given) or 'nothing'}"
        pace = {name: value for name, value in found[stage].items() if name in ("rho_growth", "balance")}
        if stage == "admm" and len(pace) != 1:
            yield "admm needs either rho_growth or balance, to say how rho moves"
        for name, value in (given | pace).items():
            kinds = (int,) if name in ("epochs", "width") else (int, float)
            if type(value) not in kinds or not 0 < value <= LARGEST:
                yield f"{stage}: {name} must be a positive number, but is {value!r}"
            elif name in MOST_ONE and value > 1:
                yield f"{stage}: {name} is {MOST_ONE[name]}, at most 1, but is {value!r}"
        if not pace.get("balance", 2) > 1:
            yield f"admm: balance is a ratio of residuals above 1, but is {pace['balance']!r}"
        if found[stage].get("precision", CHOICES["precision"][0]) not in CHOICES["precision"]:
            known = ", ".join(CHOICES["precision"])
            yield f"{stage}: precision must be one of {known}, but is {found[stage]['precision']!r}"
        if (shares := found[stage].get("shares", SHARES)) is not SHARES and not _rising(shares):
            yield f"{stage}: shares must be a list of numbers that rise from above 0 to 1, but is {shares!r}"
        if type(found[stage].get("shrink", True)) is not bool:
            yield f"{stage}: shrink must be true or false, but is {found[stage]['shrink']!r}"


def _rising(shares: object) -> bool:
    """Whether these are numbers, each larger than the one before, from above 0 up to 1."""
    if not isinstance(shares, list) or not all(type(each) in (int, float) for each in shares):
        return False
    return [0, *shares] == sorted({0, *shares}) and shares[-1:] == [1]


def _misdropped(model: str, shares: object) -> Iterator[str]:
    """What is wrong with the shares that the dense network drops."""
    if not isinstance(shares, dict) or not all(type(p) in (int, float) for p in shares.values()):
        yield f"dense: dropout maps layers to the share of their inputs that is dropped, not {shares!r}"
    try:
        models.with_dropout(models.outline(model), shares)
    except ValueError as error:
        yield f"dense: {error}"


def _misnumbered(recipe: Recipe) -> Iterator[str]:
    """What is wrong with seeds and sizes."""
    seeds = recipe["seeds"]
    whole = all(type(seed) is int and seed >= FIRST_SEED for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        yield f"seeds must be different whole numbers from {FIRST_SEED} on (lower ones tune), not {seeds}"
    if recipe["batch_size"] < 1 or recipe["shift_pixels"] < 0:
        yield "batch_size must be 1 or more, and shift_pixels 0 or more"


def _misfits(step: Recipe, network: nn.Module) -> Iterator[str]:
    """What is wrong with the budgets, or with the sets."""
    for field in ("keep", "sets"):
        if not step.get(field, True):
            yield f"{field} names no layer"
    given = step.get("sets", {}).items()
    if odd := [name for name, each in given if not isinstance(each, dict) or "set" not in each]:
        yield f"sets: {odd[0]} needs a set, as in {{set: levels, bits: 3}}"
    if "keep" not in step and {"by", "group"} & set(step):
        yield "sets are of single weights, so that by= has no place beside them"
    for name, keep in step.get("keep", {}).items():
        if type(keep) is not int or keep < 1:
            yield f"keep: {name} needs a whole number, 1 or more, not {keep!r}"
    try:
        for name, each in chain(prune_sets(step, network).items(), given_sets(step).items()):
            each.check(getattr(*resolve(network, name)).shape, name)
        sets(step, network)
    except (ValueError, TypeError) as error:
        yield str(error)
    for name in step.get("keep", {}):
        if name not in allocation.prunable(network):
            yield f"keep: {name} has fewer than two dimensions, and is not pruned: leave it out"
