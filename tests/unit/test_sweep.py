"""Sweeps: every point once, failures told and tried again, killed ones resumed; on Dask's workers, too."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from unit.tiny import TINY, stepped, written

from admm_lib import data, recipes, sweep
from admm_lib.__main__ import main
from admm_lib.recipes.changes import changed, shortened

AXES = {"keep.fc1.weight": [1000, 500], "admm.rho": [0.001, 0.01]}


def test_a_grid_is_every_combination():
    assert sweep.grid({"a": [1, 2], "b": ["x"]}) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert sweep.grid({}) == [{}]


def test_changes_reach_fields_by_their_path():
    recipe = {**TINY, "steps": [{"keep": {"fc1.weight": 3}}, {"keep": {"fc1.weight": 2}}]}
    found = changed(recipe, {"admm.rho": 1, "steps.1.keep.fc1.weight": 9, "flip": True})
    assert found["admm"] == {**TINY["admm"], "rho": 1}
    assert [step["keep"]["fc1.weight"] for step in found["steps"]] == [3, 9]
    assert found["flip"] is True
    assert found["name"] == "tiny+admm.rho=1+steps.1.keep.fc1.weight=9+flip=True"
    assert recipe["admm"]["rho"] == TINY["admm"]["rho"]  # untouched


def test_a_long_name_is_cut_and_told_from_others_by_its_end():
    many = {f"steps.{step}.keep.fc1.weight": 100 for step in range(9)}
    recipe = {**TINY, "steps": [{"keep": {}} for _ in range(9)]}
    found = changed(recipe, many)["name"]
    assert found.startswith("tiny+steps.0.keep.fc1.weight=100+steps.1.")
    assert len(found) == 120
    assert found == changed(recipe, many)["name"]
    assert found != changed(recipe, {**many, "steps.8.keep.fc1.weight": 99})["name"]
    title = changed(TINY, {"title": "ü" * 200})["name"]  # two bytes each, in a file's name
    assert 110 < len(title.encode()) <= 120
    assert len(changed(TINY, {"title": "x" * 109})["name"]) == 120
    assert changed(TINY, {"title": "x" * 109})["name"].endswith("xxx")


@pytest.mark.parametrize("name", sorted(path.stem for path in (data.HOME / "recipes").glob("*.yaml"))[::4])
def test_every_recipe_can_be_shortened(name):
    path = data.HOME / "recipes" / f"{name}.yaml"
    full = recipes.read(path)
    for profile in ("smoke", "quick"):
        short = recipes.read(path, profile=profile)
        assert 0 < recipes.epochs(short) < recipes.epochs(full)
        assert short["name"] == f"{name}+{profile}"
    assert shortened(full, "paper") == full


def test_a_sweep_runs_each_point_once(tmp_path, capsys):
    path = written(tmp_path)
    said, kept = [], []

    def report(line):
        said.append(line)
        kept.append(len(sweep.results(sweep.log(tmp_path / "trials", path))))

    rows = sweep.run(path, AXES, [1], home=tmp_path / "trials", report=report)
    assert kept == [1, 2, 3, 4]  # each is on the disk before it is told
    assert [row["changes"] for row in rows] == sweep.grid(AXES)
    assert [row["nonzero_weights"] for row in rows] == [2200, 2200, 1700, 1700]
    assert [line.split(":")[0] for line in said] == [f"{n} of 4" for n in (1, 2, 3, 4)]
    assert sweep.results(sweep.log(tmp_path / "trials", path)) == rows
    again = sweep.run(path, AXES, [1], home=tmp_path / "trials", report=said.append)
    assert again == rows
    assert said[4:] == ["4 of 4: done by an earlier call"]
    lines = sweep.table(rows).splitlines()
    assert len(lines) == 5
    assert [float(line.split()[0]) for line in lines[1:]] == sorted(
        (round(row["val_accuracy"], 2) for row in rows), reverse=True
    )


def test_a_failed_point_is_told_and_tried_again(tmp_path, monkeypatch):
    path, calls = written(tmp_path), []
    real = sweep.trial

    def shaky(path, seed, changes, profile, home):
        calls.append(changes["admm.rho"])
        if changes["admm.rho"] == 0.01 and calls.count(0.01) < 3:
            raise RuntimeError("out of memory")
        return real(path, seed, changes, profile, home)

    monkeypatch.setattr(sweep, "trial", shaky)
    axes, said = {"admm.rho": [0.001, 0.01]}, []
    rows = sweep.run(path, axes, home=tmp_path / "trials", report=said.append)
    assert calls == [0.001, 0.01, 0.01]
    assert rows[1]["error"] == "RuntimeError: out of memory"
    assert "failed, RuntimeError: out of memory" in said[-1]
    rows = sweep.run(path, axes, home=tmp_path / "trials", report=said.append)
    assert calls == [0.001, 0.01, 0.01, 0.01]
    assert all("error" not in row for row in rows)


def quick_trial(path, seed, changes, profile, home):
    recipe = recipes.read(path, changes, profile)
    return {"recipe": "tiny", "of": sweep._told(recipe), "seed": seed, "changes": changes, "profile": profile,
            "val_accuracy": recipe["dense"]["lr"], "nonzero_weights": 1, "file_bytes": 1,
            "dense_val_accuracy": 1, "seconds": 1}  # fmt: skip


def test_a_recipe_that_was_edited_is_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "trial", quick_trial)
    axes, home = {"admm.rho": [0.001]}, tmp_path / "trials"
    path = written(tmp_path)
    sweep.run(path, axes, home=home)
    edited = {**TINY, "dense": {**TINY["dense"], "lr": 0.123}}
    path.write_text(yaml.safe_dump(edited))
    (row,) = sweep.run(path, axes, home=home)
    assert row["val_accuracy"] == 0.123
    assert len(sweep.results(sweep.log(home, path))) == 2  # what the other one gave stays


def test_two_sweeps_of_a_recipe_keep_each_others_rows(tmp_path, monkeypatch):
    home, path = tmp_path / "trials", written(tmp_path)

    def meanwhile(*point):
        if point[2] == {"admm.rho": 0.9}:
            sweep.run(path, {"admm.rho": [0.5]}, home=home)
        return quick_trial(*point)

    monkeypatch.setattr(sweep, "trial", meanwhile)
    sweep.run(path, {"admm.rho": [0.9]}, home=home)
    kept = sweep.results(sweep.log(home, path))
    assert sorted(row["changes"]["admm.rho"] for row in kept) == [0.5, 0.9]


@pytest.mark.parametrize("seconds", [4, pytest.param(9, marks=pytest.mark.full)])
def test_a_killed_sweep_resumes(tmp_path, seconds):
    path = written(tmp_path)
    words = [sys.executable, "-m", "admm_lib", "sweep", str(path), "--home", str(tmp_path / "trials"),
             "--set", "keep.fc1.weight=1000,500,400", "--set", "admm.rho=0.001,0.01"]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(words, start_new_session=True, **quiet)
    time.sleep(seconds)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = sweep.results(sweep.log(tmp_path / "trials", path))  # whole lines, whenever it was killed
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    rows = sweep.results(sweep.log(tmp_path / "trials", path))
    assert rows[: len(kept)] == kept
    assert len(rows) == 6
    assert done.stdout.count(" of 6: seed 0 ") == 6 - len(kept)


def test_jobs_side_by_side_share_what_they_begin_with(tmp_path):
    path = written(tmp_path)
    rows = sweep.run(path, AXES, home=tmp_path / "two", jobs=2)
    assert [row["nonzero_weights"] for row in rows] == [2200, 2200, 1700, 1700]
    assert len({row["dense_val_accuracy"] for row in rows}) == 1
    assert len(list((tmp_path / "two" / "cache").glob("dense-*.safetensors"))) == 1
    alone = sweep.run(path, AXES, home=tmp_path / "one")
    assert [row["val_accuracy"] for row in alone] == pytest.approx([r["val_accuracy"] for r in rows], abs=1)


def test_a_damaged_log_is_refused(tmp_path):
    (tmp_path / "tiny.jsonl").write_text('{"seed": 0}\n{"se')
    with pytest.raises(ValueError, match=r"tiny\.jsonl is damaged"):
        sweep.run(written(tmp_path), AXES, home=tmp_path)


def test_the_command_prints_the_table_and_its_code_tells_of_failures(tmp_path, capsys, monkeypatch):
    path = written(tmp_path, **stepped({name: TINY[name] for name in ("keep", "admm", "retrain")}))
    assert yaml.safe_load(path.read_text())["steps"]
    words = ["sweep", str(path), "--home", str(tmp_path / "t"), "--set", "steps.0.admm.rho=0.001,0.002"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 of 2: seed 0 steps.0.admm.rho=0.002: " in said
    assert str(tmp_path / "t" / "tiny.jsonl") in said
    monkeypatch.setattr(sweep, "trial", lambda *_: 1 / 0)
    assert main([*words[:-1], "steps.0.admm.rho=0.003"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_dask_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'admm-lib\[cluster\]'"):
        sweep.run(written(tmp_path), AXES, home=tmp_path / "t", scheduler="tcp://nowhere:1")


@pytest.mark.full
def test_a_cluster_of_dask_gives_what_one_machine_gives(tmp_path):
    import distributed  # takes a second

    path = written(tmp_path)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster:
        rows = sweep.run(path, AXES, home=tmp_path / "cluster", scheduler=cluster.scheduler_address)
    assert [row["changes"] for row in rows] == sweep.grid(AXES)
    assert all("error" not in row for row in rows)
    alone = sweep.run(path, AXES, home=tmp_path / "one")
    assert json.dumps([row["nonzero_weights"] for row in rows]) == json.dumps(
        [row["nonzero_weights"] for row in alone]
    )
