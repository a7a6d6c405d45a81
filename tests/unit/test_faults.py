"""Runs that are killed, disks that are full, folders that cannot be written: nothing is left in halves."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn
from unit.tiny import written

import admm_lib as al
from admm_lib import codec, files, pipelines, records, sweep
from admm_lib.__main__ import main

KILLS = [pytest.param(n, marks=[pytest.mark.full] if n else []) for n in range(20)]  # one in the fast tier
MEASURED = (
    "sha256", "file_bytes", "nonzero_weights", "ladder_bits", "val_accuracy", "test_accuracy", "layers",
    "dense_test_accuracy", "test_correct", "dense_test_correct",
)  # fmt: skip


def started(words, log):
    """A process in a group of its own, with one thread, so that two runs round alike."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ADMM_PROGRESS": "off"}
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "admm_lib", *words], start_new_session=True, env=environment, stdout=file,
            stderr=file,
        )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody killed: its recipe, what it measured, and how long it took."""
    home = tmp_path_factory.mktemp("whole")
    path, began = written(home, seeds=[107]), time.monotonic()
    assert started(["run", str(path), "--home", str(home / "home")], home / "log").wait() == 0
    (run,) = records.read("tiny", home / "home" / "records")["runs"]
    return path, run, time.monotonic() - began


def in_order(home):
    """Every record and file in a folder is whole, whatever else has been left there."""
    for record in (home / "records").glob("*.json"):
        found = records.read(record.stem, home / "records")
        for run in found["runs"]:
            file = home.parent / run["file"]
            assert file.stat().st_size == run["file_bytes"]
    for file in (home / "models").glob("*.admm"):
        codec.load(file)


@pytest.mark.parametrize("number", KILLS)
def test_a_run_killed_at_any_moment_ends_as_one_that_was_not(number, whole, tmp_path):
    path, want, seconds = whole
    words = ["run", str(path), "--home", str(tmp_path / "home")]
    running = started(words, tmp_path / "log")
    time.sleep(random.Random(number).uniform(0.3, 1) * seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    in_order(tmp_path / "home")
    assert started(words, tmp_path / "log").wait() == 0, (tmp_path / "log").read_text()
    (run,) = records.read("tiny", tmp_path / "home" / "records")["runs"]
    assert {name: run[name] for name in MEASURED} == {name: want[name] for name in MEASURED}
    in_order(tmp_path / "home")


def swept(path, trials):
    """The words of a sweep of two trials."""
    return ["sweep", str(path), "--home", str(trials), "--set", "keep.fc1.weight=1000,500"]


def outcome(rows):
    """What a sweep found, and the files it wrote, without where and how long."""
    told = ("changes", "seed", "of", "dense_val_accuracy", *MEASURED)
    measured = [{key: row[key] for key in told if key in row} for row in rows]
    return measured, [Path(row["file"]).read_bytes() for row in rows]


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory):
    """What a sweep that nobody killed found, and how long it took."""
    home, began = tmp_path_factory.mktemp("sweep"), time.monotonic()
    path = written(home)
    assert started(swept(path, home / "trials"), home / "log").wait() == 0
    return outcome(sweep.results(sweep.log(home / "trials", path))), time.monotonic() - began


@pytest.mark.parametrize("number", KILLS)
def test_a_sweep_killed_at_any_moment_ends_as_one_that_was_not(number, whole_sweep, tmp_path):
    want, seconds = whole_sweep
    path, trials = written(tmp_path), tmp_path / "trials"
    running = started(swept(path, trials), tmp_path / "log")
    time.sleep(random.Random(100 + number).uniform(0.2, 1) * seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = sweep.results(sweep.log(trials, path))
    assert started(swept(path, trials), tmp_path / "log").wait() == 0, (tmp_path / "log").read_text()
    rows = sweep.results(sweep.log(trials, path))
    assert rows[: len(kept)] == kept
    assert outcome(rows) == want
    assert [row["nonzero_weights"] for row in rows] == [2200, 1700]
    for row in rows:
        assert codec.load(row["file"])


@pytest.fixture
def full_disk(monkeypatch):
    """A disk on which so many bytes still fit, for files that are replaced as a whole."""

    def fill(room):
        class Full:
            def __init__(self, file):
                self.file, self.left = file, room

            def write(self, content):
                if len(content) > self.left:
                    self.file.write(content[: self.left])
                    raise OSError(errno.ENOSPC, "No space left on device")
                self.left -= len(content)
                return self.file.write(content)

            def __getattr__(self, name):
                return getattr(self.file, name)

            def __enter__(self):
                self.file.__enter__()
                return self

            def __exit__(self, *error):
                return self.file.__exit__(*error)

        opened = files.Path.open

        def opening(path, mode="r", *args, **more):
            file = opened(path, mode, *args, **more)
            return Full(file) if "x" in mode else file

        monkeypatch.setattr(files.Path, "open", opening)

    return fill


@pytest.mark.parametrize("room", [0, 100])
def test_a_full_disk_leaves_the_file_that_was_there(room, full_disk, tmp_path):
    torch.manual_seed(0)
    first, second = nn.Linear(30, 20), nn.Linear(30, 20)
    al.save(first, tmp_path / "net.admm")
    before = (tmp_path / "net.admm").read_bytes()
    full_disk(room)
    with pytest.raises(OSError, match="No space left"):
        al.save(second, tmp_path / "net.admm")
    assert (tmp_path / "net.admm").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["net.admm"]


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(full_disk, tmp_path, capsys, monkeypatch):
    path, home = written(tmp_path), tmp_path / "home"
    full_disk(50_000)  # a checkpoint does not fit
    assert main(["run", str(path), "--home", str(home)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert not (home / "records" / "tiny.json").exists()
    monkeypatch.undo()
    assert main(["run", str(path), "--home", str(home)]) == 0
    in_order(home)


@pytest.mark.usefixtures("one_thread")
def test_a_sweep_on_a_full_disk_ends_as_others_when_there_is_room(full_disk, tmp_path, monkeypatch):
    path, home = written(tmp_path), tmp_path / "trials"
    axes = {"keep.fc1.weight": [1000, 500]}
    full_disk(50_000)  # a checkpoint does not fit, a row does
    rows = sweep.run(path, axes, home=home)
    assert len(rows) == 2
    assert all("No space left" in row["error"] for row in rows)
    before = sweep.log(home, path).read_bytes()
    full_disk(0)
    with pytest.raises(OSError, match="No space left"):
        sweep.run(path, axes, home=home)
    assert sweep.log(home, path).read_bytes() == before
    monkeypatch.undo()
    want = outcome(sweep.run(path, axes, home=tmp_path / "other"))
    assert outcome(sweep.run(path, axes, home=home)) == want


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    """As root permissions say nothing: a file where the folder should be is the same to whoever writes."""
    path = written(tmp_path)
    (tmp_path / "home").write_text("a file")
    assert main(["run", str(path), "--home", str(tmp_path / "home")]) == 2
    assert "home" in capsys.readouterr().err
    with pytest.raises(OSError, match="home"):
        al.save(nn.Linear(2, 2), tmp_path / "home" / "net.admm")


@contextmanager
def unprivileged():
    """Root writes where it wants: as nobody, then."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_folder_is_named(tmp_path, capsys):
    path = written(tmp_path)
    assert main(["run", str(path), "--home", str(tmp_path / "before")]) == 0  # imports what it needs, as root
    with TemporaryDirectory() as place:  # pytest's own folders are closed to nobody
        home = Path(place) / "home"
        home.mkdir()
        home.chmod(0o555)
        Path(place).chmod(0o755)
        recipe = shutil.copy(path, Path(place) / path.name)
        try:
            with unprivileged():
                assert main(["run", str(recipe), "--home", str(home)]) == 2
                with pytest.raises(PermissionError, match="home"):
                    al.save(nn.Linear(2, 2), home / "net.admm")
        finally:
            home.chmod(0o755)
        assert list(home.iterdir()) == []
    assert "Permission denied" in (said := capsys.readouterr().err)
    assert "home" in said


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """Runs code in a kernel, interrupted after so many seconds if asked to; how the cell ended."""
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))

    def run(code, interrupt=None):
        client.execute(code)
        if interrupt is not None:
            time.sleep(interrupt)
            manager.interrupt_kernel()
        return client.get_shell_msg(timeout=120)["content"]["status"]

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.full
def test_an_interrupted_cell_leaves_the_notebook_usable(cell):
    """Ctrl-C while `fit` runs: the cell ends, the next ones run, and ADMM goes on."""
    begin = """
import admm_lib as al
data = al.data.load("digits")
model = al.models.lenet300()
admm = al.ADMM(model, al.suggest(model, 10))
"""
    assert cell(begin) == "ok"
    assert cell("al.fit(model, data, 10_000, admm=admm)", interrupt=4) == "error"
    after = """
assert len(admm.history) > 0
al.fit(model, data, 1, admm=admm)
admm.finalize()
al.save(model, "net.admm")
assert al.storage.ladder(al.load("net.admm")).nonzero_weights <= 26_620
"""
    assert cell(after) == "ok"


@pytest.mark.full
def test_runs_of_interrupted_cells_leave_nothing_in_halves_and_end_as_others(cell, whole, tmp_path):
    path, want, _ = whole
    assert cell("from pathlib import Path\nfrom admm_lib import pipelines") == "ok"

    def run(name):
        return f"pipelines.run_recipes([Path({str(path)!r})], home=Path({name!r}).absolute())"

    assert cell(run("first")) == "ok"  # which loads what is loaded once
    began = time.monotonic()
    assert cell(run("whole")) == "ok"
    seconds = time.monotonic() - began
    for share in (0.1, 0.3, 0.5, 0.7):
        interrupt, home = share * seconds, tmp_path / f"home-{share}"
        while cell(run(home.name), interrupt=interrupt) == "ok":  # faster than when it was timed
            interrupt, home = interrupt / 2, home.with_name(f"{home.name}-earlier")
            assert interrupt > 0.01 * seconds
        in_order(home)
        assert cell(run(home.name)) == "ok"
        (found,) = records.read("tiny", home / "records")["runs"]
        assert {name: found[name] for name in MEASURED} == {name: want[name] for name in MEASURED}


def test_records_are_never_in_halves(tmp_path, monkeypatch):
    """Where writing a record fails at its last moment, the one before it stands."""
    path, home = written(tmp_path, seeds=[107, 108]), tmp_path / "home"
    pipelines.run_recipes([path], [107], home=home)
    before = (home / "records" / "tiny.json").read_bytes()
    replace = os.replace

    def failing(source, target):
        if str(target).endswith("tiny.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="No space left"):
        pipelines.run_recipes([path], [108], home=home)
    assert (home / "records" / "tiny.json").read_bytes() == before
    monkeypatch.undo()
    pipelines.run_recipes([path], home=home)
    runs = json.loads((home / "records" / "tiny.json").read_text())["runs"]
    assert [run["seed"] for run in runs] == [107, 108]
