"""Files are replaced as a whole, once they are on the disk, or not at all."""

import os
import stat
from argparse import Namespace

import pytest
import torch
from nbformat.v4 import new_notebook

from admm_lib import checkpoints, codec, files, models, notebook_form, results, stage_files
from admm_lib.commands import project
from admm_lib.figures import leaderboard, style


def write_text(path):
    files.write_text(path, "text")


def write_network(path):
    codec.save(models.create("lenet300", 0), path)


def write_checkpoint(path):
    checkpoints.Checkpoint(path, {"model": torch.nn.Linear(2, 2)}, {"seed": 1}).write(history=[])


def write_stage(path):
    stage_files.keep(models.create("lenet300", 0), path, {"seconds": 1.0})


def write_notebook(path):
    notebook_form.write(new_notebook(), path)


def write_figure(path):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(results, "HOME", path.parent)
        patched.setattr(results, "update", lambda: None)
        patched.setattr(leaderboard, "of_readme", lambda: None)
        patched.setattr(style, "png", lambda figure: b"figure")
        project._table(Namespace(readme=True))


def fail(*_):
    raise OSError("disk full")


@pytest.mark.parametrize(
    "write", [write_text, write_network, write_checkpoint, write_stage, write_notebook, write_figure]
)
def test_a_file_takes_the_place_of_the_old_one_when_it_is_on_the_disk(tmp_path, monkeypatch, write):
    path = tmp_path / "errors.png"  # as one of them names it
    path.write_text("old")
    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, broken, fail)
            with pytest.raises(OSError, match="disk full"):
                write(path)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]
    write(path)
    assert b"old" not in path.read_bytes()[:3]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_on_the_disk_is_whole_before_it_has_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "name", []

    def fsync(number):
        found = os.fstat(number)
        seen.append(("folder" if stat.S_ISDIR(found.st_mode) else found.st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with files.replaced(path) as file:
        file.write(b"12345")
    assert seen == [(5, False), ("folder", True)]  # a name is on the disk when its folder is
    assert path.read_bytes() == b"12345"


def test_a_folder_that_cannot_be_synced_costs_only_that(tmp_path, monkeypatch):
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *more: fail() if path == tmp_path else real(path, *more))
    write_text(tmp_path / "name")
    assert (tmp_path / "name").read_text() == "text"


def test_a_link_leads_on_to_the_file_and_the_file_keeps_its_permissions(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_text(link)
    assert link.readlink() == target
    assert target.read_text() == "text"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert list(target.parent.iterdir()) == [target]


def interrupted(path):
    with files.replaced(path) as file:
        file.write(b"12345")
        raise KeyboardInterrupt


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "name")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="nowhere"):
        interrupted(tmp_path / "nowhere" / "name")
