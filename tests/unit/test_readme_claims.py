"""What the README says of numbers, ours and theirs, beside the records and the list."""

import re

from admm_lib import claims, comparison_results, data, equal_accuracy, records, times
from admm_lib.recipes import prunes, quantizes, structured
from admm_lib.recipes import steps as steps_of

README = data.HOME.parent / "README.md"
ALL = claims.claims()
COMMITTED = [records.read(name) for name in records.headlines()]


def holds(start, *parts):
    """That the paragraph of the README which begins so has all parts, of numbers as the records give them."""
    (text,) = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith(start)]
    for part in parts:
        assert part in text


def percent(record):
    found = claims.accuracy(record)
    return f"{found.mean:.2f}% [{found.low:.2f}, {found.high:.2f}]"


def said(found):
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def test_what_the_readme_says_of_the_published_numbers():
    found = {each["name"]: claims.held_against(each, ALL) for each in COMMITTED}
    mean = {each["name"]: claims.accuracy(each).mean for each in COMMITTED}
    for name in ("lenet5-71x", "lenet5-71x-plain-distilled", "lenet300-23x"):
        assert mean[name] >= 100 - found[name].test_error
    for name in ("lenet5-71x-plain", "lenet300-23x-plain"):
        assert mean[name] < 100 - found[name].test_error
    by_name = {each["name"]: each for each in COMMITTED}
    far = [by_name[f"lenet5-{ratio}x-plain"] for ratio in (167, 246, 348)]
    assert claims.accuracy(far[0]).low > 100 - found["lenet5-167x-plain"].test_error == 99
    assert found["lenet300-68x"].test_error == 1.92
    assert mean["lenet300-68x"] > 98.08
    assert claims.verdict(found["lenet300-68x"], by_name["lenet300-68x"]) == "around it"
    assert found["lenet5-246x-plain"].test_error is found["lenet5-348x-plain"].test_error is None
    for name in ("lenet5-246x-plain", "lenet5-348x-plain"):
        assert found[name].source == "abstract"
        assert "(almost) zero loss" in found[name].stated
    lost = [f"{-records.loss_interval(each).mean:.2f}" for each in far[1:]]
    holds(
        "Read plainly:", f"a little below on average, {percent(by_name['lenet5-71x-plain'])};",
        f"above the published {100 - found['lenet5-167x-plain'].test_error:.1f}%",
        f"lose {lost[0]} and {lost[1]} points",
        f"above the published {100 - found['lenet300-68x'].test_error:.2f}%",
    )  # fmt: skip


def test_what_the_readme_says_of_the_strongest_rival():
    rivals = [
        each for each in ALL
        if (each.track, each.counted, each.doubt) == ("from-lenet5", "weights", "")
        and each.arxiv not in claims.WORKS and each.test_error is not None
    ]  # fmt: skip
    strongest = max(rivals, key=lambda each: each.ratio)
    assert strongest.work == "Molchanov et al. 2017 (Sparse VD)"
    assert (strongest.ratio, strongest.test_error) == (280, 0.75)
    by_name = {each["name"]: each for each in COMMITTED}
    assert claims.verdict(strongest, by_name["lenet5-348x-plain"]) == "below it"
    assert claims.verdict(strongest, by_name["lenet5-246x-plain"]) == "around it"
    ours = [each for each in COMMITTED if each["track"] == "from-lenet5"]
    assert [each["name"] for each in ours if claims.measured(each, "weights") >= strongest.ratio] == [
        "lenet5-348x-plain", "lenet5-file-1024", "lenet5-file-1024-narrow",
    ]
    for name in ("lenet5-file-1024", "lenet5-file-1024-narrow"):
        assert claims.verdict(strongest, by_name[name]) == "below it"
    accuracy = 100 - strongest.test_error
    holds("Read plainly:", f"Sparse VD (2017), has {accuracy:.2f}% at {strongest.ratio:.0f}×")


def test_what_the_readme_says_of_few_bits():
    by_name = {each["name"]: each for each in COMMITTED}
    few = [each for each in COMMITTED if not prunes(each["recipe"])]
    assert not any(records.is_lossless(each) for each in COMMITTED if each not in few)
    two, binary, one = (by_name[name] for name in ("lenet5-2bit", "lenet5-binary", "lenet300-1bit"))
    assert claims.accuracy(two).plain.startswith("99.48 ")
    assert records.is_lossless(two)
    assert claims.accuracy(binary).plain == "99.43 [99.30, 99.55]"
    assert round(sum(run["file_bytes"] for run in binary["runs"]) / len(binary["runs"]), -3) == 56_000
    assert claims.accuracy(one).plain.startswith("98.03 ")
    stated = {
        each.model: (each.test_error, each.doubt) for each in ALL
        if each.bits == 1 and each.test_error and each.track and not each.quoted
    }  # fmt: skip
    assert stated == {name: (error, "reported, unverified") for name, error in
                      (("LeNet-5", 0.79), ("LeNet-300-100", 2.56))}  # fmt: skip
    assert claims.accuracy(binary).low > 99.21
    assert claims.accuracy(one).low > 97.44
    holds(
        "On LeNet-5 few bits cost little.",
        f"it has {percent(two).split()[0]}, and is shown to lose less than 0.1 points",
        f"it has {percent(binary)} in a file of 56 kB",
        f"LeNet-300-100 on one bit has {100 - claims.accuracy(one).mean:.2f}% error",
        f"{100 - stated['LeNet-5'][0]:.2f}%", f"where {stated['LeNet-300-100'][0]}% was reported",
    )  # fmt: skip


def test_what_the_readme_says_of_whole_files():
    def told(name):
        record = records.read(name)
        most = max(run["file_bytes"] for run in record["runs"])
        assert len(record["runs"]) == 3
        return f"{most:,}", f"{100 - claims.accuracy(record).mean:.2f}%"

    def mean(name):
        runs = records.read(name)["runs"]
        size = sum(run["file_bytes"] for run in runs) / len(runs)
        return f"{size / 1000:.1f} kB", f"{100 - claims.accuracy(records.read(name)).mean:.2f}%"

    parts = [" bytes or fewer at ".join(told("lenet5-file-1551"))]
    parts += [" or fewer at ".join(told(f"lenet5-file-{tag}")) for tag in ("3102", "1024", "1024-narrow")]
    work = "Havasi et al. 2019 (MIRACLE)"
    theirs = sorted((each.size, each.test_error) for each in ALL if each.work == work)
    sizes = " and ".join(f"{size.replace('kB', ' kB')} at {error}%" for size, error in theirs)
    size, error = mean("deep-compression-lenet300")
    assert mean("lenet300-23x-4bit") == ("11.7 kB", "1.38%")
    holds(
        "**Whole files.**", *parts, f"has {sizes}", f"{size} at {error}",
        "it has 1.38% in 11.7 kB",
    )  # fmt: skip


def test_what_the_readme_says_of_who_divides_the_bytes():
    shared = ("admm-opq", "admm-lamp", "admm-together", "admm-magnitude", "admm-hand")
    small, large = (
        {name: records.read(f"equal-bytes-{network}-{name}") for name in names}
        for network, names in (("lenet300", (*shared, "opq", "iterative")), ("lenet5", shared))
    )
    ahead = {name: records.paired_interval(small["admm-opq"], each) for name, each in small.items()}
    del ahead["admm-opq"]
    told = {name: each for name, each in ahead.items() if each.low > 0}
    assert list(told) == ["admm-lamp", "admm-together", "admm-magnitude"]
    assert all(each.count == 5 for each in ahead.values())
    mean = {name: f"{claims.accuracy(each).mean:.2f}%" for name, each in small.items()}
    level = [claims.accuracy(each).mean for name, each in large.items() if name != "admm-magnitude"]
    holds(
        "**Who divides the bytes.**", f"then ADMM, {mean['admm-opq']}",
        f"{said(told['admm-lamp'])} points above shares by LAMP",
        f"{said(told['admm-together'])} above ADMM's own", f"{said(told['admm-magnitude'])} above global",
        f"by hand have {mean['admm-hand']}", f"without ADMM {mean['opq']}", f"each, {mean['iterative']}",
        f"are level, {min(level):.2f} to {max(level):.2f}%",
        f"magnitude has {claims.accuracy(large['admm-magnitude']).mean:.2f}%",
    )  # fmt: skip


def test_what_the_readme_says_of_a_larger_network():
    parts = []
    for name in ("vgg16-11p5x-4bit", "vgg16-40x-4bit", "vgg16-binary"):
        record = records.read(name)
        assert len(record["runs"]) == 3
        lost = f"({records.loss_interval(record)})".replace("-", "−")
        size = sum(run["file_bytes"] for run in record["runs"]) / 3
        parts += [f"{claims.accuracy(record).mean:.2f}%", f"in {size / 1e6:.2f} MB {lost}"]
    holds("**A larger network.**", *parts)


def test_what_the_readme_says_of_the_suffixes():
    recipes = {each["name"]: each["recipe"] for each in COMMITTED}
    for name, steps in (("lenet300-40x", 2), ("lenet300-60x", 3), ("lenet300-68x", 4)):
        recipe = recipes.pop(name)
        assert len(recipe["steps"]) == steps
        assert recipe["steps"] == records.read("lenet300-68x")["recipe"]["steps"][:steps]  # one chain
        assert "distill" in recipe
        assert "dropout" not in recipe["dense"]
    for name in [each for each in recipes if each.startswith("deep-compression-")]:
        pruned, quantized = recipes.pop(name)["steps"]
        assert "keep" in pruned
        bits = {(each["set"], each["bits"]) for each in quantized["sets"].values()}
        theirs = {"lenet300": {("clusters", 6)}, "lenet5": {("clusters", 8), ("clusters", 5)}}
        assert bits == next(found for model, found in theirs.items() if model in name)
    for name in [each for each in recipes if "-file-" in each]:
        first, *between, last = recipes.pop(name)["steps"]
        assert first["by"] == "filter"
        assert all("sets" not in step and "by" not in step for step in between)
        assert last["joint"] == "intersection"
        assert {each.rpartition(".")[2] for each in last["sets"]} == {"weight", "bias"}
        assert max(run["file_bytes"] for run in records.read(name)["runs"]) <= int(name.split("-")[2])
    for name in [each for each in recipes if re.search("-filters-|-columns-", each)]:
        recipe = recipes.pop(name)
        assert structured(recipe)
        assert {step["by"] + "s" for step in steps_of(recipe)} == set(name.split("-")[1:-1])
        assert "distill" in recipe
        assert "dropout" in recipe["dense"]
    for name in [each for each in recipes if re.search(r"-\d+x-\dbit$", each)]:
        recipe = recipes.pop(name)
        assert prunes(recipe)
        assert quantizes(recipe)
        assert "distill" in recipe
        assert recipe["shift_pixels"] > 0
    few = {name: recipes.pop(name) for name in list(recipes) if not prunes(recipes[name])}
    assert all(re.search(r"bit$|-binary$|-ternary$", name) for name in few)
    for name, recipe in few.items():
        assert recipe["finish"] == "straight-through"
        assert "distill" in recipe
        assert "dropout" in recipe["dense"]
        assert recipe["shift_pixels"] == 0
        assert ("steps" in recipe) == (name == "lenet5-binary")
    for name, recipe in recipes.items():
        far = name in ("lenet5-167x-plain", "lenet5-246x-plain", "lenet5-348x-plain")
        assert ("steps" in recipe) == far
        assert ("distill" in recipe) == ("dropout" in recipe["dense"]) == (far or "distilled" in name)


def test_what_the_readme_says_of_structure():
    def arms(network, others, singles, bits=""):
        names = [[f"structured-{network}-{tag}{bits}" for tag in tags.split()] for tags in (singles, others)]
        return [[records.read(name) for name in each] for each in names]

    lenet = "filter-37x filter-90x filter-150x filter-250x filter-390x"
    single = "element-37x element-90x element-170x element-350x element-700x"
    resnet = "channel-75pct channel-50pct channel-33pct channel-25pct"
    fewer = "element-3x element-6x element-11p5x element-23x"
    assert said(equal_accuracy.advantage(*arms("lenet5", f"filter-20x {lenet}", single), 0.5)) == (
        "1.69 [1.53, 1.87]"
    )
    assert said(equal_accuracy.advantage(*arms("resnet20", resnet, fewer), 0.5)) == "2.19 [1.90, 2.51]"
    few = {"measure": equal_accuracy.storage, "from_dense": False}
    assert said(equal_accuracy.advantage(*arms("resnet20", resnet, fewer, "-4bit"), 1, **few)) == (
        "1.49 [1.39, 1.61]"
    )
    assert said(equal_accuracy.advantage(*arms("lenet5", lenet, single, "-4bit"), 1, **few)) == (
        "0.41 [0.27, 0.61]"
    )
    filters = next(each for each in COMMITTED if each["name"] == "lenet5-filters-88x")
    assert claims.accuracy(filters).plain == "99.29 [99.12, 99.46]"
    holds(
        "**Structured or not.**", "1.69 [1.53, 1.87] times", "2.19 [1.90, 2.51] times",
        "1.49 [1.39, 1.61] times", "0.41 [0.27, 0.61] of theirs", f"LeNet-5 has {percent(filters)} at 90×",
    )  # fmt: skip


def test_what_the_readme_says_of_times():
    least, shrunk, alone = [], {}, []
    for network, by, fewer in (("lenet5", "filter", 112.8), ("resnet20", "channel", 1.9)):
        found = times.read(network)
        sparse = [row for row in found["rows"] if row["way"] in ("CSR", "BSR") and row["batch"] == 256]
        least.append(min(row["over_dense"] for row in sparse))
        for way in ("shrunk", "shrunk, ONNX Runtime"):
            shrunk[network, way] = times.nearest(found, by, fewer, 256, 1)[way]["over_dense"]
        alone.append(f"{times.nearest(found, by, fewer, 256, 1)['ONNX Runtime']['over_dense']:.2f}")
        assert max(row["threads"] for row in sparse) == 2
    assert min(least) > 2.99
    lenet5, lenet5_onnx, resnet20, resnet20_onnx = (f"{each:.2f}" for each in shrunk.values())
    holds(
        "**Structured or not.**", "take 3 times as long as the dense network or more",
        f"131× takes {lenet5} of", f"ResNet-20 at 2.0× {resnet20}",
        f"in ONNX Runtime they take {lenet5_onnx} and {resnet20_onnx} of",
        f"the dense network in ONNX Runtime takes {alone[0]} and {alone[1]}.", "Shrunk, and on one thread,",
    )  # fmt: skip


def test_what_the_readme_says_of_what_admm_adds():
    study = comparison_results.result("lenet5")
    says = {}
    ends = {"magnitude": "points above cutting", "no-dual": "above ADMM without U"}
    for way, end in ends.items():
        above = [comparison_results.difference(study, "admm", way, at).plain for at in ("40x", "71x", "167x")]
        says[way] = f"{above[0]}, {above[1]} and {above[2]} {end}"
    levels, signs = {}, {}
    for at in ("40x", "71x", "167x"):
        found = comparison_results.against_admm(study, at)
        assert {comparison_results.verdict(found[way]) for way in says} == {"behind"}
        for way in ("torch-prune", "gradual", "torchao"):
            by_rho, by_rate = found[way]
            signs[way, at] = comparison_results.verdict([by_rho])
            levels[way, at] = comparison_results.verdict([by_rate])
    assert {at for (_, at), sign in signs.items() if sign == "ahead"} == {"167x"}
    assert [each for each in signs.values() if each != "level"] == ["ahead"] * 3
    behind = {point for point, level in levels.items() if level != "level"}
    assert behind == {("torch-prune", "71x"), ("torch-prune", "167x"), ("gradual", "71x")}
    lost = {}
    for way, at in behind:
        lost[way, at] = comparison_results.difference(study, "admm-rate", way, at).plain
    for at in ("40x", "71x", "167x"):
        rho, rate = (records.interval([*comparison_results.accuracies(study, arm, at).values()]).mean
                     for arm in comparison_results.OURS)  # fmt: skip
        assert rho < rate
        assert at == "40x" or rate < claims.accuracy(records.read(f"lenet5-{at}-plain")).mean
    by_rho = comparison_results.difference(study, "torchao", "admm", "167x")
    holds(
        "**What ADMM adds.**", *says.values(),
        f"gradual magnitude is behind by {lost['gradual', '71x']} points at 71× alone",
        f"own pruning by {lost['torch-prune', '71x']} at 71× and {lost['torch-prune', '167x']} at 167×",
        f"torchao by {said(by_rho)}", "five pairs, one number tuned for each way (40× takes that of 71×)",
        f"({study['comparison']['images']:,} images, ten epochs to prune and ten to retrain",
        "a loss of up to 0.3 points is not excluded",
    )  # fmt: skip
    assert len(study["comparison"]["seeds"]) == 5
    assert study["comparison"]["phases"] == [10, 10]
    assert study["comparison"]["tuned_at"]["40x"] == "71x"
    pairs = {"unsquared": "constant", "kept-graph": "constant", "not-rescaled": "admm"}
    for way, other in pairs.items():
        for at in ("71x", "167x"):
            cost = comparison_results.difference(study, way, other, at)
            assert cost.high > 0
            assert round(cost.low, 1) >= -0.3


def test_what_the_readme_says_of_picking_filters():
    study = comparison_results.result("lenet5-filters")
    found = comparison_results.against_admm(study, "18x")
    assert len(found) == 5
    stands = {way: comparison_results.verdict(each) for way, each in found.items()}
    assert stands.pop("torch-pruning") == "ahead of rho"
    assert set(stands.values()) == {"level"}
    holds(
        "**What ADMM adds.**", "By whole filters at 18×", "five other ways, cutting at once among them",
        f"torch-pruning, cutting before each epoch, is {said(found['torch-pruning'][0])} ahead of the one",
    )  # fmt: skip


def test_what_the_readme_says_of_speed():
    """As RESULTS.md has what `make bench` printed."""
    text = (data.HOME.parent / "tests" / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    lines = text.splitlines()

    def ratio(name, digits=2):
        (row,) = [line.split("|") for line in lines if line.startswith(f"| {name}")]
        return f"{float(row[2]):.{digits}f}"

    def share(peer):
        (found,) = re.findall(rf"writing LeNet-5 / {peer} \(2,462 bytes, (\S+) of theirs\)", text)
        return found

    (machine,) = [line for line in lines if line.startswith("20") and "images an epoch" in line]
    assert "Intel(R) Xeon(R)" in machine
    assert "2 threads on 2 cores" in machine
    peers = "zstd -22", "zlib -9", "nncodec"
    zstd, zlib, nncodec = (ratio(f"writing LeNet-5 / {peer}") for peer in peers)
    sizes = [share(peer) for peer in peers]
    (sequence,) = re.findall(r"All notebooks, one after the other, profile quick: (\d+) s", text)
    pictures = [line.split("|") for line in lines if re.match(r"\| \d\d_\w+ \| \d ", line)]
    at_once, looked = ([int(cells[at]) for cells in pictures if cells[at].strip()] for at in (4, 7))
    assert len(at_once) == 12
    *usual, slowest = sorted(looked)
    holds(
        "**Speed.**", f"with ADMM takes {ratio('ADMM step / plain')} of a plain one",
        f"in the loss makes it {ratio('step with the penalty in the loss')}",
        f"an epoch {ratio('training epoch / same through DataLoader, num_workers=2')} of one",
        f"400,000 weights {ratio('400,000 weights to 16 values / kmeans1d', 3)} of `kmeans1d`'s",
        f"37.7 million weights {ratio('top_k / torch.topk, 1,887,436')} of `torch.topk`'s",
        f"and {ratio('top_k / torch.kthvalue, 1,887,436')} of `kthvalue`'s",
        f"bytes {zstd} of zstd's at its best level, {zlib} of zlib's and {nncodec} of nncodec's",
        f"it is {sizes[0]}, {sizes[1]} and {sizes[2]} of the size of theirs",
        f"right after a picture shows the next one after {min(at_once)} to {max(at_once)} ms",
        f"after a look at it, after {usual[0]} to {usual[-1]} ms (in one panel {slowest})",
        f"all notebooks take {sequence} s",
    )  # fmt: skip
