"""Damaged recipes, records and logs of sweeps: an error of the library with the file's name, or no harm."""

import ast
import json
import random
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save
from torch import nn

from admm_lib import comparison, comparison_results, data, files, models, recipes, records, studies, sweep
from admm_lib.__main__ import main

RECIPES = ("lenet5-71x", "lenet5-348x-plain", "equal-bytes-lenet300-admm-opq", "vgg16-40x-4bit")
JUNK = (
    None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**30, -(10**9), "", "x", [], [[]], {}, {"a": None}
)  # fmt: skip


def refusal(read, *arguments):
    """What the library says against it; nothing where it reads it. Any other error is a failure."""
    try:
        read(*arguments)
    except ValueError as error:
        return str(error)
    return None


def places(value, path=()):
    """All paths into nested mappings and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def changed(value, path, new):
    """A copy with another value at a path, or without it where `new` is not given."""
    copy = json.loads(json.dumps(value))
    *outer, last = path
    at = copy
    for key in outer:
        at = at[key]
    if new is places:
        del at[last]
    else:
        at[last] = new
    return copy


def flip(whole, rng):
    """The bytes with one bit of them flipped."""
    damaged = bytearray(whole)
    damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize("name", RECIPES)
def test_any_field_of_a_recipe_may_be_anything(name, tmp_path):
    """Every field replaced by junk, or taken away: refused by name, or a recipe in order."""
    good = recipes.read(data.HOME / "recipes" / f"{name}.yaml")
    rng, refused, tried = random.Random(0), 0, 0
    file = tmp_path / f"{name}.yaml"
    for path in places(good):
        for new in (*rng.sample(JUNK, 4), places):
            file.write_text(yaml.safe_dump(changed(good, path, new)))
            said = refusal(recipes.read, file)
            tried, refused = tried + 1, refused + (said is not None)
            assert said is None or (name in said and len(said) < 1_000)
    assert refused > 0.7 * tried


@pytest.mark.parametrize(
    "name", [*RECIPES[::2], *(pytest.param(each, marks=pytest.mark.full) for each in RECIPES[1::2])]
)
def test_damaged_text_of_a_recipe_is_refused_by_name(name, tmp_path):
    whole = (data.HOME / "recipes" / f"{name}.yaml").read_bytes()
    file, rng = tmp_path / f"{name}.yaml", random.Random(0)
    cut = [whole[:at] for at in range(len(whole))]
    flipped = [flip(whole, rng) for _ in range(400)]
    code = b"a: !!python/object/apply:os.system [ls]"
    others = [b"", b"\xff\xfe\x00", code, rng.randbytes(500), b"[" * 100_000]
    for damaged in [*cut, *flipped, *others]:
        file.write_bytes(damaged)
        said = refusal(recipes.read, file)
        assert said is None or name in said
    assert said is not None  # the last of them at least


def test_a_recipe_runs_nothing(tmp_path, capsys):
    file = tmp_path / "evil.yaml"
    file.write_text(f"name: !!python/object/apply:os.system ['touch {tmp_path / 'ran'}']\n")
    assert main(["run", str(file)]) == 2
    assert "evil" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_nothing_is_loaded_by_pickle():
    for path in sorted(Path(data.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [getattr(node, "module", None) or "", *(each.name for each in node.names)]
                assert not {"pickle", "dill", "cloudpickle", "shelve"} & set(named), path
                assert "load" not in named or named[0] != "torch", path
            elif isinstance(node, ast.Call):
                call = ast.unparse(node)
                assert "allow_pickle=True" not in call, path
                assert not call.startswith("torch.load(") or "weights_only=True" in call, path
                assert not call.startswith("yaml.load(") or call.endswith("_Loader)"), path
                assert not call.startswith("joblib.load("), path


def test_bombs_of_yaml_are_refused_soon(tmp_path):
    """Each level names the one before nine times: a few lines that would be billions of items."""
    levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    levels += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    good = (data.HOME / "recipes" / "lenet5-71x.yaml").read_text()
    for field in ("dense", "seeds", "title", "keep", "name"):
        lines = [line for line in good.splitlines() if not line.startswith(f"{field}:")]
        (tmp_path / "bomb.yaml").write_text("\n".join([*levels, *lines, f"{field}: *a11"]))
        said = refusal(recipes.read, tmp_path / "bomb.yaml")
        assert "bomb" in said
        assert len(said) < 1_000


def test_bombs_of_merged_mappings_are_refused_at_once(tmp_path):
    """Nine times as long for every level, while the file is read: a minute from the eighth on."""
    levels = ["a0: &a0 {x: 1}"]
    levels += [f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)]
    (tmp_path / "bomb.yaml").write_text("\n".join(levels))
    for read in (recipes.read, studies.read, comparison.read):
        said = refusal(read, tmp_path / "bomb.yaml")
        assert "bomb.yaml is not YAML of values, lists and mappings: << is not known" in said


def test_a_damaged_record_is_refused_by_name(tmp_path):
    whole = (data.HOME / "records" / "lenet5-71x.json").read_bytes()
    for at in range(0, len(whole) - 2, max(1, len(whole) // 2_000)):
        (tmp_path / "lenet5-71x.json").write_bytes(whole[:at])
        with pytest.raises(ValueError, match="lenet5-71x"):
            records.read("lenet5-71x", tmp_path)
    for junk in (b"[]", b"3", b'"x"', b"{}", b"\xff\xfe", b"null", b"[" * 100_000):
        (tmp_path / "lenet5-71x.json").write_bytes(junk)
        with pytest.raises(ValueError, match="lenet5-71x"):
            records.read("lenet5-71x", tmp_path)
    shutil.copy(data.HOME / "records" / "lenet5-71x.json", tmp_path / "lenet5-71x.json")
    assert records.read("lenet5-71x", tmp_path)["name"] == "lenet5-71x"


def _measured(file):
    return records.read_measured(file, "make")


READERS = {
    "records/lenet5-71x.json": lambda file: records.read(file.stem, file.parent),
    "studies/clustering-lenet5-dense.json": lambda file: studies.result(file.stem, file.parent),
    "comparison/lenet5-filters.json": lambda file: comparison_results.result(file.stem, file.parent),
    "times/lenet5.json": _measured,
    "generalization/lenet5.json": _measured,
    "imagenet/admm.json": _measured,
    "opq/imagenet.json": _measured,
}


@pytest.mark.parametrize("name", READERS)
def test_no_other_value_of_a_result_is_accepted(name, tmp_path):
    """Flipped bits, lost ends and bytes at random: refused by name, or they say what was written."""
    whole = (data.HOME / name).read_bytes()
    file, rng, refused = tmp_path / name, random.Random(0), 0
    file.parent.mkdir()
    file.write_bytes(whole)
    want = READERS[name](file)
    cut = [whole[: rng.randrange(len(whole) - 2)] for _ in range(100)]
    for broken in (*(flip(whole, rng) for _ in range(400)), *cut, *(rng.randbytes(n) for n in range(50))):
        file.write_bytes(broken)
        said = refusal(READERS[name], file)
        refused += said is not None
        assert f"{name} is damaged" in said if said else READERS[name](file) == want
    assert refused > 500
    other = json.loads(whole)
    told = {next(iter(other)): "its checksum is of something else", "checksum": "it has no checksum"}
    for lost, reason in told.items():
        file.write_text(json.dumps({key: each for key, each in other.items() if key != lost}))
        assert f"{name} is damaged ({reason})" in refusal(READERS[name], file)
    files.write_json(file, other)  # an object that has one gets its own
    assert READERS[name](file) == want


@pytest.mark.parametrize("name", READERS)
def test_other_damaged_results_are_refused_by_name(name, tmp_path):
    file = tmp_path / name
    file.parent.mkdir()
    for junk in (b"", b"[]", b"3", b"{}", b"\xff\xfe", b"null", b"[" * 100_000, b'{"runs": 3, "study": 4}'):
        file.write_bytes(junk)
        said = refusal(READERS[name], file)
        assert f"{name} is damaged" in said
        assert "restore it from version control, or delete it" in said


def test_a_damaged_dense_checkpoint_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "lenet300-mnist.safetensors"
    monkeypatch.setattr(models, "HOME", tmp_path)
    for content in (b"", b"x" * 900, save(nn.Linear(2, 2).state_dict())):
        file.write_bytes(content)
        assert f"{file} is damaged" in refusal(models.pretrained, "lenet300")


def test_a_damaged_log_of_a_sweep_is_refused_by_name(tmp_path):
    log = tmp_path / "results.jsonl"
    for junk in (b"{", b"[]\n", b'{"state": 3}\n', b"\xff\n", b'{"values": {}, "seed": 0}\n'):
        log.write_bytes(junk)
        with pytest.raises(ValueError, match=r"results\.jsonl"):
            sweep.results(log)
