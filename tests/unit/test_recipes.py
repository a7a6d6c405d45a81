"""Recipes are checked whole before work starts."""

import pytest
from unit.tiny import STEP, TINY, allocated, joined, quantized, stepped, written

from admm_lib import data, recipes


def shared(shares):
    return {"retrain": {"epochs": 5, "lr": 1, "shares": shares}}


def low_rank(rank, more=None, **changes):
    """fc2 of that rank, and more sets beside it."""
    return {**quantized({"fc2.weight": {"set": "low-rank", "rank": rank}} | (more or {})), **changes}


def sized(**changes):
    """A rule that allocates for a file of 6,000 bytes; None takes a field away."""
    found = {"rule": "lamp", "bytes": 6000, "bits": 2} | changes
    found = {name: each for name, each in found.items() if each is not None}
    return {"keep": None, "allocation": found, "finish": "straight-through"}


def by_hand(few):
    """TINY's budgets and one set, for a file."""
    given = {"rule": "given", "bytes": 6000}
    return {"allocation": given, "sets": {"fc1.weight": few}, "finish": "straight-through"}


def of_colour(**changes):
    """TINY for the network that takes images of colour."""
    start = {"model": "resnet20", "track": "from-resnet20", "dataset": "cifar10"}
    return {**start, "keep": {"fc.weight": 10}, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "method must be one of admm, hard-thresholding, magnitude, snap, incremental"),
        ({"track": "both"}, "track must be one of"),
        ({"model": "lenet7"}, "model must be one of lenet5, lenet300, resnet20, vgg16"),
        ({"dataset": "cifar10-jpeg"}, "lenet300 takes images of another size than those of cifar10-jpeg"),
        (of_colour(dataset="digits"), "resnet20 takes images of another size than those of digits"),
        (of_colour(track="from-lenet5"), "track must be from-resnet20 or free, but is 'from-lenet5'"),
        (of_colour(retrain={"epochs": 4, "lr": 1, "shrink": True}), "this one branches: leave it out"),
        ({"flip": 1}, "flip must be a bool"),
        ({"sgd": {"momentum": 0.9}}, "sgd needs exactly momentum, weight_decay, but has momentum"),
        ({"sgd": {"momentum": 1.5, "weight_decay": 1e-4}}, "momentum is the share .*, at most 1, but is 1.5"),
        ({"dataset": "mnits"}, "dataset must be one of"),
        ({"seeds": 7}, "seeds must be a list"),
        ({"seeds": []}, "seeds must be different whole numbers from 100 on"),
        ({"seeds": [100, 100]}, "seeds must be different whole numbers"),
        ({"seeds": [0]}, "seeds must be different whole numbers"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"track": "from-lenet5"}, "track must be from-lenet300 or free"),
        ({"dense": None}, "the field 'dense' is missing"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"name": "other"}, "must be the file's, 'tiny'"),
        ({"keep": {"fc1.weights": 10}}, "did you mean 'fc1.weight'"),
        ({"keep": {"fc3.weight": 1001}}, "keep=1001 is more than its 1000 weights"),
        ({"keep": {}}, "keep names no layer"),
        ({"keep": {"fc1.bias": 10}}, "keep: fc1.bias has fewer than two dimensions, .* leave it out"),
        ({"keep": {"fc1.weight": True}}, "keep: fc1.weight needs a whole number, 1 or more, not True"),
        ({"keep": {"fc1.weight": 0}}, "keep: fc1.weight needs a whole number, 1 or more, not 0"),
        ({"keep": {"fc1.weight": "10"}}, "keep: fc1.weight needs a whole number, 1 or more, not '10'"),
        ({"admm": {"epochs": 2}}, "admm needs exactly"),
        ({"steps": []}, "keep belongs into each of the steps"),
        ({"keep": None, "admm": None, "retrain": None, "steps": []}, "steps names no step"),
        (stepped(7), "step 1: a step is a mapping of keep, by, group, allocation, sets, .*, not 7"),
        (stepped({"keep": {}}), "step 1: the field 'admm' is missing"),
        (stepped(STEP, {**STEP, "lr": 1}), "step 2: unknown field 'lr'"),
        ({"keep": None}, "give either keep, .* or allocation"),
        ({"allocation": {"rule": "lamp", "ratio": 20}}, "give either keep, .* or allocation"),
        (allocated("lamb", 20), "rule must be one of suggest, uniform, magnitude, lamp, together, laplace"),
        (
            {**allocated("lamp", 20), "finish": "straight-through"},
            "finish is for weights that become quantized: give sets",
        ),
        (sized(bits=None), "allocation needs exactly bits, bytes, rule, but has bytes, rule"),
        (sized(bytes=2.5), "allocation: bytes must be a positive whole number, but is 2.5"),
        (sized(bits=2.5), "allocation: bits must be a positive whole number, but is 2.5"),
        (sized(rule="laplace-layer", bits=0), "allocation: bits must be a positive number, but is 0"),
        (sized(bits=9), "allocation: bits are from 1 to 8, but are 9"),
        (sized(rule="laplace-layer", bits=0.5), "allocation: bits are from 1 to 8, but are 0.5"),
        (by_hand({"set": "clusters", "bits": 2}), "fc1.weight needs levels of 7 digits under the rule given"),
        (by_hand({"set": "levels", "bits": 2}), "fc1.weight needs levels of 7 digits under the rule given"),
        (sized(rule="given", bits=None), "the rule given goes by keep and sets: give both"),
        ({**sized(), "finish": None}, "must be admm with finish straight-through, or magnitude or opq"),
        ({**sized(), "finish": "incremental"}, "method must be admm with finish straight-through"),
        ({**sized(), "finish": None, "method": "opq"}, "one step, allocation, a laplace- rule and bytes"),
        ({"method": "opq"}, "method opq solves all at once for a file"),
        (
            {**stepped({**STEP, **sized(), "finish": None}, STEP), "finish": "straight-through"},
            "bytes are those of the last step's file: give the steps before it a ratio",
        ),
        (allocated("lamp", 0.5), "allocation: ratio is weights per nonzero weight, 1 or more, but is 0.5"),
        (allocated("uniform", 5000), "ratio=5000 would leave fc3.weight without a weight"),
        (allocated(["lamp"], 20), "rule must be one of"),
        ({"admm": {"epochs": 2, "lr": 1, "rho": 1, "balance": 1}}, "balance is a ratio of residuals above 1"),
        ({**allocated("lamp", 5), "by": "filter"}, "rules count single weights"),
        (quantized(7), "sets must be a dict, but is 7"),
        (quantized({}), "sets names no layer"),
        (quantized({"fc1.weight": {"bits": 3}}), "fc1.weight needs a set, as in .set: levels, bits: 3."),
        (quantized({"fc1.weight": {"set": "octal"}}), "set must be one of clusters, levels, powers, ternary"),
        (quantized({"fc1.weight": {"set": "levels", "bits": 0}}), "bits is a whole number from 1 to 8"),
        (quantized({"fc1.weight": {"set": "binary", "bits": 1}}), "unexpected keyword argument 'bits'"),
        (quantized({"fc11.weight": {"set": "binary"}}), "did you mean 'fc1.weight'"),
        ({**quantized({"fc1.weight": {"set": "binary"}}), "by": "filter"}, "by= has no place beside them"),
        ({"joint": "pairs"}, "keep and sets need joint beside them, and it needs both"),
        (joined(None), "keep and sets need joint beside them, and it needs both"),
        (joined("twice"), "joint must be one of intersection, pairs, pruning, but is 'twice'"),
        (joined("pruning"), "joint: pruning leaves the values to finish: give that, incremental or straight"),
        ({**joined("pairs"), "method": "snap"}, "joint is what ADMM does under both"),
        ({**joined("pairs"), "keep": {}}, "keep names no layer"),
        ({**joined("intersection"), "sets": {"fc1.weight": {"set": "levels", "bits": 9}}}, "bits is a whole"),
        (joined("intersection", {"set": "levels", "bits": 2, "digits": 0}), "digits is a whole number"),
        (joined("intersection", {"set": "binary", "per": "channel"}), 'not per="channel"'),
        (quantized({"fc1.weight": 7}), "fc1.weight needs a set"),
        (quantized({"fc1.weight": {"set": "clusters", "bits": 2, "seed": "x"}}), "seed is a whole number"),
        ({"method": "incremental"}, "method incremental quantizes: give sets"),
        ({"finish": "incremental"}, "finish is for weights that become quantized: give sets"),
        ({"finish": "snap"}, "finish is incremental or straight-through, after method admm, but is 'snap'"),
        (
            {**quantized({"fc1.weight": {"set": "binary"}}), "method": "snap", "finish": "incremental"},
            "finish is incremental or straight-through, after method admm",
        ),
        (
            {**quantized({"fc1.weight": {"set": "binary"}}), "finish": "incremental"}
            | {"retrain": {"epochs": 3, "lr": 1}},
            "incremental has 4 parts: give it as many epochs, not 3",
        ),
        (shared([0.5, 1]), "shares are frozen one after the other by incremental"),
        ({**quantized({"fc1.weight": {"set": "binary"}}), **shared([0.5, 1])}, "leave them out"),
        (
            {**quantized({"fc1.weight": {"set": "binary"}}), "finish": "incremental"}
            | shared([0.2, 0.4, 0.6, 0.8, 0.9, 1]),
            "incremental has 6 parts: give it as many epochs, not 5",
        ),
        *[
            (shared(odd), "retrain: shares must be a list of numbers that rise from above 0 to 1, but is")
            for odd in ([], 1, [0.5], [1, 1], [0.5, 0.5, 1], [0, 1], [0.6, 0.5, 1], [0.5, 1.5], ["1"])
        ],
        (low_rank(9, method="incremental"), "low-rank stands alone"),
        (low_rank(9, finish="incremental", retrain={"epochs": 4, "lr": 1}), "low-rank stands alone"),
        (low_rank(9, retrain={"epochs": 4, "lr": 1, "shrink": True}), "low-rank stands alone"),
        (low_rank(9, keep=TINY["keep"], joint="intersection"), "Both takes a Sparse, then a set of few"),
        (low_rank(9, more={"fc3.weight": {"set": "binary"}}), "low-rank stands alone"),
        (low_rank(101), "fc2.weight: rank 101 is more than its 100"),
        ({"method": "straight-through"}, "method straight-through quantizes: give sets"),
        (
            {**quantized({"fc1.weight": {"set": "binary"}}), "method": "incremental"}
            | {"admm": {**TINY["admm"], "epochs": 1}},
            "incremental has 4 parts: give it as many epochs, not 3",
        ),
        (
            {**quantized({"fc1.weight": {"set": "binary", "per": "channel"}}), "method": "straight-through"},
            "finds levels for whole layers",
        ),
        (
            stepped({**STEP, "keep": None, "sets": {"fc1.weight": {"set": "binary"}}}, STEP),
            "step 2: fc1.weight is quantized already: give it its set in this step",
        ),
        (
            {**quantized({"fc1.weight": {"set": "binary"}}), "method": "magnitude"},
            "method magnitude prunes before it quantizes: give keep first",
        ),
        ({"by": "row"}, "unknown view by='row'"),
        ({"by": "block", "group": "2x2"}, "group must be a int . list, but is '2x2'"),
        ({"by": "block", "group": [2]}, 'by="block" needs group='),
        ({"group": 4}, "by='element' has no size"),
        ({"by": "n:m", "group": 4, "keep": {"fc1.weight": 5}}, "keep=5 is more than m=4"),
        (
            stepped({**STEP, "by": "n:m", "group": 4, "keep": {"fc1.weight": 1}},
                    STEP | {"keep": {"fc1.weight": 58_801}}),
            "fc1.weight keeps 58801 weights, but the steps before leave 58800",
        ),
        (
            stepped({**STEP, "by": "block", "group": [100, 98], "keep": {"fc1.weight": 2}},
                    STEP | {"keep": {"fc1.weight": 19_601}}),
            "fc1.weight keeps 19601 weights, but the steps before leave 19600",
        ),
        ({"by": "filter", "keep": {"fc1.weight": 301}}, "keep=301 is more than its 300 filters"),
        ({"search": {"width": 1}}, "width models are pruned first, and then one step at least"),
        ({"search": {"width": 1.5}}, "search: width must be a positive number"),
        ({"admm": {"epochs": 2, "lr": 1, "rho": 1}}, "admm needs either rho_growth or balance"),
        ({"admm": {**TINY["admm"], "balance": 10}}, "admm needs either rho_growth or balance"),
        (
            stepped(STEP, {**STEP, "keep": {**TINY["keep"], "fc1.weight": 3001}}),
            "step 2: fc1.weight keeps 3001 weights, but the steps before leave 3000: lower it",
        ),
        ({"dense": {"epochs": 0, "lr": 0.1}}, "dense: epochs must be"),
        ({"retrain": {"epochs": 2, "lr": -1}}, "retrain: lr must be"),
        ({"retrain": {"epochs": 2, "lr": float("nan")}}, "retrain: lr must be a positive number"),
        ({"admm": {**TINY["admm"], "rho": float("inf")}}, "admm: rho must be a positive number"),
        ({"retrain": {"epochs": 2, "lr": 1, "dropout": {}}}, "retrain needs exactly"),
        ({"retrain": {"epochs": 2, "lr": 1, "shrink": 1}}, "shrink must be true or false"),
        ({"retrain": {"epochs": 2, "lr": 1, "precision": "fp8"}}, "precision must be one of 32-true"),
        ({"dense": {"epochs": 2, "lr": 1, "dropout": 0.5}}, "dropout maps layers to the share"),
        (
            {"dense": {"epochs": 2, "lr": 1, "dropout": {"fc4": 0.5}}},
            "dropout: the network has no layer 'fc4'",
        ),
        ({"dense": {"epochs": 2, "lr": 1, "dropout": {"fc2": 1}}}, "share of fc2 lies from 0 to below 1"),
        ({"distill": {"temperature": 4}}, "distill needs exactly temperature, weight"),
        ({"distill": {"temperature": 0, "weight": 0.9}}, "distill: temperature must be a positive number"),
        ({"distill": {"temperature": 4, "weight": 1.1}}, "distill: weight is the teacher's share"),
        ({"distill": 4}, "distill must be a dict"),
        ({"precision": "8-bit"}, "precision must be one of"),
        ({"shift_pixels": True}, "shift_pixels must be a int, but is True"),
        ({"batch_size": True}, "batch_size must be a int, but is True"),
        ({"dense": {"epochs": 2, "lr": 1, "dropout": {"fc2": False}}}, "dropout maps layers to the share"),
        ({"admm": {**TINY["admm"], 1: 2}}, "fields and layers have names of text, not 1"),
        (stepped(STEP, {1: 2}), "fields and layers have names of text, not 1"),
        (allocated("lamp", 10**400), "ratio must be a positive number, but is 10000"),
        ({"retrain": {"epochs": 2, "lr": 10**400}}, "retrain: lr must be a positive number, but is 10000"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_reason(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        recipes.read(written(tmp_path, **changes))
    assert str(caught.value).startswith("tiny.yaml: ")
    assert "\n" not in str(caught.value)


def test_what_goes_wrong_while_a_recipe_is_checked_is_told_as_a_problem(tmp_path, monkeypatch):
    def overflows(recipe, stem):
        yield from [str(float(10**400))]

    monkeypatch.setattr(recipes, "problems", overflows)
    with pytest.raises(ValueError, match=r"^tiny\.yaml: int too large"):
        recipes.read(written(tmp_path))


def keeps(by="element", **layers):
    return {**STEP, "by": by, "keep": {f"{layer}.weight": count for layer, count in layers.items()}}


def rule(name, ratio):
    return {**STEP, **allocated(name, ratio)}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([keeps(fc1=100), keeps(fc2=50), keeps(fc1=101)], "fc1.weight keeps 101 weights, .* leave 100: "),
        (
            [keeps("filter", fc1=30), keeps(fc1=900), keeps("filter", fc1=31)],
            "fc1.weight keeps 31 filters, but the steps before leave 30: lower it, or leave it out",
        ),
        ([keeps("filter", fc1=1), keeps(fc1=785)], "fc1.weight keeps 785 weights, .* leave 784: lower it"),
        ([keeps(fc2=8), keeps("filter", fc2=9)], "fc2.weight keeps 9 filters, .* leave 8: lower it"),
        (
            [rule("uniform", 100), rule("uniform", 99)],
            "the network keeps 2688 weights, but the steps before leave 2662: raise the ratio",
        ),
        ([rule("lamp", 20), rule("magnitude", 10)], "the network keeps 26620 weights, .* leave 13310: raise"),
        ([rule("suggest", 20), rule("uniform", 21)], "fc1.weight keeps 11200 weights, .*: raise the ratio"),
        ([rule("lamp", 100), keeps(fc3=20), rule("lamp", 99)], "the network keeps 2688 weights, .* 2662: "),
        ([rule("uniform", 100), keeps(fc3=11)], "fc3.weight keeps 11 weights, .* leave 10: lower it"),
        ([rule("together", 100), keeps(fc1=2663)], "fc1.weight keeps 2663 weights, .* leave 2662: lower it"),
        ([keeps(fc1=9, fc2=9, fc3=9), rule("lamp", 9000)], "the network keeps 29 weights, .* leave 27: "),
    ],
)
def test_a_step_that_asks_for_more_than_is_left_is_refused(tmp_path, steps, message):
    with pytest.raises(ValueError, match=f"^tiny.yaml: step {len(steps)}: {message}"):
        recipes.read(written(tmp_path, **stepped(*steps)))


@pytest.mark.parametrize(
    "steps",
    [
        [keeps(fc1=100), keeps(fc2=50), keeps(fc1=100)],
        [keeps("filter", fc1=1), keeps(fc1=784)],
        [keeps("filter", fc1=30), keeps("channel", fc1=700), keeps("filter", fc1=30, fc2=20)],
        [rule("lamp", 20), rule("uniform", 21), keeps(fc3=40)],
        [keeps("filter", fc1=30, fc2=20), rule("together", 10)],
    ],
)
def test_steps_that_ask_for_what_is_left_are_in_order(tmp_path, steps):
    assert len(recipes.read(written(tmp_path, **stepped(*steps)))["steps"]) == len(steps)


def test_what_is_not_yaml_and_what_is_not_there(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1,")
    with pytest.raises(ValueError, match=r"bad\.yaml is not YAML"):
        recipes.read(tmp_path / "bad.yaml")
    with pytest.raises(FileNotFoundError):
        recipes.read(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", sorted((data.HOME / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_committed_recipes_are_in_order(path):
    recipe = recipes.read(path)
    assert min(recipe["seeds"]) >= 100  # final seeds; lower ones are for tuning
