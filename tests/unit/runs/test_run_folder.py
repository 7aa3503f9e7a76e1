"""Run folders: one process at a time, no run overwritten, no half-written file."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glideslope.errors import UserError
from glideslope.runs import run_folder as run_folder
from glideslope.runs.run_folder import (
    claim,
    finished_frames,
    read_config,
    require_free_space,
    typed_overrides,
    version_changes,
    versions,
)
from glideslope.storage.atomic_files import replacing, write_text

HOLD = """
import sys
from pathlib import Path
from glideslope.runs.run_folder import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds tmp_path / "run" until its input ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_new_folder_with_its_record(tmp_path: Path) -> None:
    with claim(tmp_path / "a" / "b") as folder:
        assert folder.contents == "empty"
        assert folder.path == tmp_path / "a" / "b"
        config = {"lr": 1e-05, "stages": [{"name": "S0_lock"}], "lr_schedule": None, "text": "1e-4 ${x} ü"}
        folder.write_config(config)
        folder.write_versions()
        assert (folder.path / ".lock").read_text().split()[0] == str(os.getpid())
    assert read_config(folder.path) == config
    assert json.loads((folder.path / "versions.json").read_text())["packages"]["torch"]
    assert {file.name for file in folder.path.iterdir()} == {".lock", "config.yaml", "versions.json"}


def test_a_folder_is_held_until_released(tmp_path: Path) -> None:
    folder = claim(tmp_path)
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on "):
        claim(tmp_path)
    folder.release()
    folder.release()
    claim(tmp_path).release()


def test_a_folder_made_for_nothing_goes_and_one_that_was_there_stays(tmp_path: Path) -> None:
    claim(tmp_path / "new").release()
    assert not (tmp_path / "new").exists()
    (tmp_path / "own").mkdir()
    claim(tmp_path / "own").release()
    with claim(tmp_path / "used") as folder:
        folder.write_config({})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "used"]
    with claim(tmp_path / "gone") as folder:
        shutil.rmtree(folder.path)


def test_another_process_is_named_and_its_death_frees_the_folder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    before = (tmp_path / "run" / ".lock").read_bytes()
    with pytest.raises(UserError, match=f"in use by process {holder.pid} on "):
        claim(tmp_path / "run")
    assert (tmp_path / "run" / ".lock").read_bytes() == before
    holder.kill()
    holder.wait()
    with claim(tmp_path / "run") as folder:
        assert folder.contents == "empty"


def test_an_unfinished_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    with claim(tmp_path) as folder:
        folder.write_config({"lr": 1})
    (tmp_path / ".tmp-1-snapshot.pt").write_text("torn")
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match="holds an unfinished run"):
        claim(tmp_path)
    assert before == {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    with claim(tmp_path, resume=True) as folder:
        assert folder.contents == "unfinished"
        assert not (tmp_path / ".tmp-1-snapshot.pt").exists()


@pytest.mark.parametrize("name", ["train.csv", "eval.csv", "snapshot.pt"])
def test_a_run_that_lost_its_config_is_not_overwritten_either(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(UserError, match="holds an unfinished run"):
        claim(tmp_path)


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    with claim(tmp_path) as folder:
        folder.write_config({})
        folder.mark_finished({"frames": 20_000, "success_rate": 0.95})
    with claim(tmp_path) as folder:
        assert folder.contents == "finished"
    assert json.loads((tmp_path / "finished.json").read_text()) == {"frames": 20_000, "success_rate": 0.95}


def test_a_finished_run_can_go_on(tmp_path: Path) -> None:
    with claim(tmp_path) as folder:
        folder.write_config({})
        assert finished_frames(folder.path) == 0
        folder.reopen()
        assert folder.contents == "empty"
        folder.mark_finished({"frames": 20_000})
    with claim(tmp_path, resume=True) as folder:
        assert finished_frames(folder.path) == 20_000
        folder.reopen()
        folder.reopen()
        assert (folder.contents, finished_frames(folder.path)) == ("unfinished", 0)
    with claim(tmp_path, resume=True) as folder:
        assert folder.contents == "unfinished"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"frames": "many"}', '{"frames": true}', "\udcff"])
def test_a_finished_run_of_unknown_length(tmp_path: Path, text: str) -> None:
    (tmp_path / "finished.json").write_text(text, errors="surrogateescape")
    with claim(tmp_path) as folder:
        assert (folder.contents, finished_frames(folder.path)) == ("finished", 0)


def test_overrides_are_kept_as_typed(tmp_path: Path) -> None:
    overrides = [
        "lr=1e-4",
        "a='ü: #, [x]'",
        "~seed",
        "lr_schedule=null",
        "12",
        "true",
        "x=" + "y" * 300,
        "a=\nb",
    ]
    with claim(tmp_path) as folder:
        assert typed_overrides(tmp_path) == ()
        folder.write_overrides(overrides)
        assert typed_overrides(tmp_path) == tuple(overrides)
        folder.write_overrides(())
        assert typed_overrides(tmp_path) == ()
        assert folder.contents == "empty"
    (tmp_path / "overrides.yaml").write_text("a: b")
    with pytest.raises(UserError, match=r"overrides\.yaml is damaged: it should be a list"):
        typed_overrides(tmp_path)


def test_a_resume_adds_its_versions_to_those_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = []
    for number in range(3):
        monkeypatch.setattr(sys, "argv", ["train", f"start={number}"])
        with claim(tmp_path, resume=True) as folder:
            folder.write_config({})
            folder.write_versions()
        records.append(versions())
    stored = json.loads((tmp_path / "versions.json").read_text())
    assert stored == {**records[0], "resumed": records[1:]}


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"resumed": 3}'])
def test_damaged_versions_keep_no_run_from_going_on(tmp_path: Path, text: str) -> None:
    with claim(tmp_path) as folder:
        folder.write_config({})
    (tmp_path / "versions.json").write_text(text)
    assert version_changes(tmp_path) == []
    with claim(tmp_path, resume=True) as folder:
        folder.write_versions()
    stored = json.loads((tmp_path / "versions.json").read_text())
    assert stored == ({"resumed": [versions()]} if "resumed" in text else versions())


def test_what_computes_differently_than_at_the_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_changes(tmp_path) == []
    with claim(tmp_path) as folder:
        folder.write_versions()
    assert version_changes(tmp_path) == []
    began = json.loads((tmp_path / "versions.json").read_text())
    began["git"] = {"commit": "a" * 40, "dirty": False}
    now: dict[str, Any] = copy.deepcopy(began)
    now["packages"] |= {"torch": "9.9", "numpy": None, "rich": "0.1"}
    now["git"] = {"commit": "a" * 40, "dirty": True}
    now["python"], now["processors"], now["command"] = "3.99", 1, ["other"]
    (tmp_path / "versions.json").write_text(json.dumps(began))
    monkeypatch.setattr(run_folder, "versions", lambda: now)
    told = ": from here on the run may differ in the last bits"
    assert version_changes(tmp_path) == [
        f"python {began['python']} -> 3.99{told}",
        f"torch {began['packages']['torch']} -> 9.9{told}",
        f"numpy {began['packages']['numpy']} -> not installed{told}",
        f"git commit {'a' * 10} -> {'a' * 10} with changes{told}",
    ]
    del began["git"], began["packages"]["torch"]
    (tmp_path / "versions.json").write_text(json.dumps(began))
    assert len(version_changes(tmp_path)) == 2


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match=r"can't write to the run folder .*run: File exists"):
        claim(tmp_path / "run")
    with pytest.raises(UserError, match="Not a directory"):
        claim(tmp_path / "run" / "below")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(UserError, match="can't write to the run folder /proc/run"):
        claim(Path("/proc/run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="can't write to the run folder"):
        claim(tmp_path)


def test_reading_the_config_of_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        read_config(tmp_path)
    for text in ("a: [", "- 1", ""):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=r"config\.yaml is damaged"):
            read_config(tmp_path)


def test_free_space(tmp_path: Path) -> None:
    require_free_space(tmp_path, 1, "the replay buffer")
    with pytest.raises(UserError, match=r"the replay buffer needs 1\.1 PB of disk space, but only"):
        require_free_space(tmp_path, 2**50, "the replay buffer")


@pytest.fixture(autouse=True)
def _no_inherited_git(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_git_state_of_a_tracked_file_only(tmp_path: Path) -> None:
    code, elsewhere = tmp_path / "code.py", tmp_path / "venv.py"
    code.write_text("1")
    elsewhere.write_text("1")
    assert run_folder._git_state(code) is None
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert run_folder._git_state(code) == {"commit": commit, "dirty": False}
    code.write_text("2")
    assert run_folder._git_state(code) == {"commit": commit, "dirty": True}
    assert run_folder._git_state(elsewhere) is None


def test_versions_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = versions()
    assert found["git"] is None
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert json.loads(json.dumps(found)) == found


def test_a_replaced_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_text(path, "old")

    def stop_halfway() -> None:
        with replacing(path) as temporary:
            assert temporary.suffix == ".bin"
            temporary.write_text("ne")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


WITHOUT_LOCKS = """
import sys
from pathlib import Path
sys.modules["fcntl"] = None
import glideslope.lr_scheduler, glideslope.display.preview, glideslope.envs.gym, glideslope.evaluation.evaluate
from glideslope.errors import UserError
from glideslope.runs.run_folder import claim, claim_new
for take in (claim, claim_new):
    try:
        take(Path(sys.argv[1]))
    except UserError as error:
        print(error)
"""


def test_a_system_without_file_locks_can_do_all_but_train(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_LOCKS, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    needs = "a training needs file locks, which this system doesn't have: train on Linux, macOS or WSL"
    assert done.stdout.splitlines() == [needs, needs]
    assert list(tmp_path.iterdir()) == []
