"""Snapshots: round trip, which ones are kept, and refusal of everything that isn't one."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glideslope.errors import UserError
from glideslope.runs import snapshots as checkpoint
from glideslope.runs.snapshots import Snapshots
from glideslope.storage.atomic_files import remove_temporaries
from tests.support.disk import disk_calls
from tests.support.faults import room_for
from tests.support.kills import killed_before


def same(a: Any, b: Any) -> bool:
    """Equal in type, value and structure; tensors in dtype and bits too."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def full_content() -> dict[str, Any]:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "frame": 12_000,
        "rate": 1.0e-4,
        "done": False,
        "nothing": None,
        "name": "S4_full",
        "history": [(0, 0), (4_000, 1)],
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random_state": torch.get_rng_state(),
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "image": torch.arange(12, dtype=torch.uint8).reshape(3, 4),
    }


def test_round_trip_keeps_types_values_and_structure(tmp_path: Path) -> None:
    content = full_content()
    path = checkpoint.save(tmp_path / "snapshot.pt", content)
    assert same(checkpoint.load(path), {"format": checkpoint.FORMAT, **content})


def test_a_snapshot_read_back_restores_network_and_optimizer(tmp_path: Path) -> None:
    content = checkpoint.load(checkpoint.save(tmp_path / "snapshot.pt", full_content()))
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=1.0)
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    assert same(network.state_dict(), full_content()["network"])
    assert same(optimizer.state_dict(), full_content()["optimizer"])


def test_arrays_become_tensors_of_the_same_bits_at_any_depth(tmp_path: Path) -> None:
    backwards = np.arange(6, dtype=np.int64)[::-1]
    fixed = np.array([1.5, np.nan])
    fixed.flags.writeable = False
    content = {
        "env": {
            "positions": np.arange(12.0).reshape(3, 4).T,
            "parts": [np.uint8([1, 255]), (np.bool_([True]),)],
        },
        "none": np.zeros((0, 3), np.float32),
        "scalar": np.array(7),
        "rate": np.float64(0.85),
        "count": np.int64(3),
        "flag": np.True_,
        "backwards": backwards,
        "foreign": np.array([1, 2], ">i4"),
        "fixed": fixed,
        "view": np.zeros(1_000_000)[:2],
        "state": {"state": 2**127 + 1, "inc": -(2**100)},
    }
    path = checkpoint.save(tmp_path / "snapshot.pt", content)
    read = checkpoint.load(path)
    assert same(read["env"]["positions"], torch.arange(12.0, dtype=torch.float64).reshape(3, 4).T)
    assert same(read["env"]["parts"], [torch.tensor([1, 255], dtype=torch.uint8), (torch.tensor([True]),)])
    assert same(read["none"], torch.zeros(0, 3))
    assert same(read["scalar"], torch.tensor(7))
    assert (read["rate"], read["count"], read["flag"]) == (0.85, 3, True)
    assert type(read["flag"]) is bool
    assert same(read["backwards"], torch.arange(6).flip(0))
    assert same(read["foreign"], torch.tensor([1, 2], dtype=torch.int32))
    np.testing.assert_array_equal(read["fixed"], fixed)
    assert read["state"] == content["state"]
    assert path.stat().st_size < 20_000
    with pytest.raises(TypeError):
        checkpoint.save(path, {"names": np.array(["a"])})
    assert same(checkpoint.load(path)["count"], 3)


def test_a_failed_write_leaves_the_old_snapshot(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "snapshot.pt", {"frame": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoint.save(path, {"frame": 2, "function": lambda: None})
    assert checkpoint.load(path)["frame"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot.pt"]


# --- what is in one ---


def test_contents_name_every_part_with_its_kind_shape_and_bytes() -> None:
    content = {
        "frame": 12,
        "name": None,
        "agent": {
            "weight": torch.zeros(2, 3),
            "steps": torch.zeros((), dtype=torch.int64),
            "groups": [{"lr": 0.1}],
        },
        "history": [[0, 0], [40, 1]],
        "pair": (torch.zeros(5, dtype=torch.uint8), 2.5),
        "empty": {},
    }
    assert [tuple(dataclasses.asdict(entry).values()) for entry in checkpoint.contents(content)] == [
        ("frame", 1, "int", None, None, None, 0, 12),
        ("name", 1, "none", None, None, None, 0, None),
        ("agent", 1, "mapping", 3, None, None, 32, None),
        ("agent.weight", 2, "tensor", None, (2, 3), "float32", 24, None),
        ("agent.steps", 2, "tensor", None, (), "int64", 8, None),
        ("agent.groups", 2, "list", 1, None, None, 0, None),
        ("agent.groups.0", 3, "mapping", 1, None, None, 0, None),
        ("agent.groups.0.lr", 4, "float", None, None, None, 0, 0.1),
        ("history", 1, "list", 2, None, None, 0, [[0, 0], [40, 1]]),
        ("pair", 1, "list", 2, None, None, 5, None),
        ("pair.0", 2, "tensor", None, (5,), "uint8", 5, None),
        ("pair.1", 2, "float", None, None, None, 0, 2.5),
        ("empty", 1, "mapping", 0, None, None, 0, None),
    ]


# --- which are kept ---


def kept_files(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*.pt")}


def indexed_files(folder: Path) -> set[str]:
    return {entry["file"] for entry in json.loads((folder / checkpoint.INDEX).read_text())}


def test_best_of_a_stage_by_a_hand_worked_sequence(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, last_stage=4)
    # (frame, success rate) -> frames kept, three at most
    script = [
        ((100, 0.79), set()),  # under 0.8
        ((200, 0.80), {200}),
        ((300, 0.95), {200, 300}),
        ((400, 0.85), {200, 300, 400}),
        ((500, 0.80), {300, 400, 500}),  # as good as 200, and later
        ((600, 0.75), {300, 400, 500}),
        ((700, 0.90), {300, 400, 700}),
        ((800, 0.80), {300, 400, 700}),  # below all three
        ((900, 1.00), {300, 700, 900}),
        ((1000, 0.90), {300, 900, 1000}),  # as good as 700, and later
    ]
    rates = {frame: rate for (frame, rate), _ in script}
    for (frame, rate), frames in script:
        would = snapshots.would_keep(0, frame, rate)
        path = snapshots.save_best({"frame": frame}, 0, frame, rate)
        assert would == (path is not None)
        expected = {f"snapshot_best_sr{round(100 * rates[kept])}_stage0_{kept}.pt" for kept in frames}
        assert kept_files(tmp_path) == expected
        assert (path is not None) == (frame in frames)
        if expected:
            assert indexed_files(tmp_path) == expected
            best = snapshots.best(0)
            order = sorted(frames, key=lambda kept: (rates[kept], kept), reverse=True)
            assert [checkpoint.load(file)["frame"] for file in best] == order
    entries = json.loads((tmp_path / checkpoint.INDEX).read_text())
    assert entries[0] == {
        "file": "snapshot_best_sr100_stage0_900.pt",
        "stage": 0,
        "frame": 900,
        "success_rate": 1.0,
    }


def test_of_policies_that_land_about_as_often_the_latest_is_chosen(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, last_stage=0)
    for frame, rate in ((1, 0.9), (2, 1.0), (3, 0.96), (4, 0.98), (5, 0.96), (6, 0.82)):
        snapshots.save_best({"frame": frame}, 0, frame, rate)
    order = [checkpoint.load(path)["frame"] for path in snapshots.best(0)]
    assert order == [4, 2, 5, 3, 1, 6]
    assert checkpoint.newest_snapshot(tmp_path) == snapshots.best(0)[0]


def test_stages_do_not_compete_and_the_last_keeps_eight(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, last_stage=1)
    for frame in range(1, 5):
        snapshots.save_best({"frame": frame}, 0, frame, 1.0)
    for frame in range(11, 21):
        snapshots.save_best({"frame": frame}, 1, frame, 0.8)
    assert kept_files(tmp_path) == {f"snapshot_best_sr100_stage0_{frame}.pt" for frame in (2, 3, 4)} | {
        f"snapshot_best_sr80_stage1_{frame}.pt" for frame in range(13, 21)
    }
    assert indexed_files(tmp_path) == kept_files(tmp_path)
    assert [path.name for path in snapshots.best(0)] == [
        f"snapshot_best_sr100_stage0_{frame}.pt" for frame in (4, 3, 2)
    ]
    assert snapshots.best(2) == []


def test_files_of_rolling_and_stage_snapshots(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, last_stage=4)
    for frame in (1, 2, 3):
        assert snapshots.save_rolling({"frame": frame}) == tmp_path / "snapshot.pt"
    assert snapshots.save_stage({"frame": 3}, 2, "S2 my/stage", 3) == tmp_path / "snapshot_stage2_S2-my-stage_3.pt"
    assert checkpoint.load(tmp_path / "snapshot.pt")["frame"] == 3
    assert checkpoint.load(tmp_path / "snapshot_previous.pt")["frame"] == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_a_run_folder_is_represented_by_the_best_of_its_highest_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no snapshot"):
        checkpoint.newest_snapshot(tmp_path)
    snapshots = Snapshots(tmp_path, last_stage=1)
    rolling = snapshots.save_rolling({"frame": 9})
    assert checkpoint.newest_snapshot(tmp_path) == rolling
    first = snapshots.save_best({"frame": 1}, 0, 1, 1.0)
    assert checkpoint.newest_snapshot(tmp_path) == first
    high = snapshots.save_best({"frame": 2}, 1, 2, 0.9)
    snapshots.save_best({"frame": 3}, 1, 3, 0.8)
    assert high is not None
    assert checkpoint.newest_snapshot(tmp_path) == high
    high.unlink()
    assert checkpoint.newest_snapshot(tmp_path).name == "snapshot_best_sr80_stage1_3.pt"


def test_without_the_best_ones_the_newest_good_snapshot_is_taken_and_the_damaged_are_named(
    tmp_path: Path,
) -> None:
    snapshots = Snapshots(tmp_path, last_stage=1)
    stage = snapshots.save_stage({"frame": 900, "stage": 0}, 0, "S0", 900)
    snapshots.save_stage({"frame": 80, "stage": 0}, 0, "S0", 80)
    for frame in (1000, 2000):
        rolling = snapshots.save_rolling({"frame": frame, "stage": 1})
    best = snapshots.save_best({"frame": 1500}, 1, 1500, 0.9)
    second = snapshots.save_best({"frame": 1600}, 1, 1600, 0.85)
    snapshots.save_best({"frame": 500}, 0, 500, 1.0)
    assert best is not None
    assert second is not None
    told: list[str] = []
    for expected, damage in (
        (best, best),
        (second, second),
        (rolling, rolling),
        (tmp_path / "snapshot_previous.pt", tmp_path / "snapshot_previous.pt"),
        (tmp_path / "snapshot_best_sr100_stage0_500.pt", tmp_path / "snapshot_best_sr100_stage0_500.pt"),
        (stage, stage),
    ):
        told.clear()
        assert checkpoint.newest_snapshot(tmp_path, told.append) == expected
        assert checkpoint.newest_snapshot(tmp_path) == expected
        damage.write_bytes(damage.read_bytes()[:-100])
    assert sorted(fault.partition(": ")[0] for fault in told) == sorted(
        str(tmp_path / name)
        for name in (best, second, rolling, "snapshot_previous.pt", "snapshot_best_sr100_stage0_500.pt")
    )
    (tmp_path / "snapshot_stage0_S0_80.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no snapshot that can be read\n(.*is damaged.*\n){6}.*S0_80\.pt"):
        checkpoint.newest_snapshot(tmp_path)


# --- going on in a folder ---

DAMAGED_INDEXES = [
    "",
    "{",
    "5",
    "[5]",
    "[{}]",
    '{"file": "x"}',
    '[{"file": 3, "stage": 0, "frame": 1, "success_rate": 1}]',
    '[{"file": "../snapshot.pt", "stage": 0, "frame": 1, "success_rate": 1}]',
    '[{"file": "snapshot_best_sr90_stage0_1.pt", "stage": 0, "frame": 1, "success_rate": NaN}]',
    '[{"file": "snapshot_best_sr90_stage0_1.pt", "stage": "0", "frame": 1, "success_rate": 1}]',
    "[" * 100_000,
    "\x00\xff",
]


def with_best(folder: Path) -> dict[str, Any]:
    """Puts best snapshots of two stages into a folder; returns the bytes of what is there, by name."""
    snapshots = Snapshots(folder, last_stage=1)
    for frame, rate in ((1, 0.851), (2, 0.849), (3, 0.9), (4, 0.852)):
        snapshots.save_best({"frame": frame}, 0, frame, rate)
    for frame in range(10, 20):
        snapshots.save_best({"frame": frame}, 1, frame, 0.8)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def frames_of_best(snapshots: Snapshots) -> list[list[int]]:
    return [[int(path.stem.rpartition("_")[2]) for path in snapshots.best(stage)] for stage in (0, 1)]


def test_going_on_takes_over_the_list(tmp_path: Path) -> None:
    before = with_best(tmp_path)
    told: list[str] = []
    snapshots = Snapshots(tmp_path, last_stage=1, resume=True, note=told.append)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert frames_of_best(snapshots) == [[3, 4, 1], list(range(19, 11, -1))]
    # The evaluation at frame 4 is done once more: it takes its own place.
    snapshots.save_best({"frame": 4, "again": True}, 0, 4, 0.852)
    assert frames_of_best(snapshots)[0] == [3, 4, 1]
    assert checkpoint.load(snapshots.best(0)[1])["again"]
    snapshots.save_best({"frame": 5}, 0, 5, 0.86)
    assert frames_of_best(snapshots)[0] == [3, 5, 4]
    assert kept_files(tmp_path) == indexed_files(tmp_path)
    assert not told
    assert Snapshots(tmp_path, last_stage=1).best(0) == []


@pytest.mark.parametrize("text", [None, *DAMAGED_INDEXES])
def test_a_lost_list_is_made_anew_from_the_files(tmp_path: Path, text: str | None) -> None:
    before = with_best(tmp_path)
    if text is None:
        (tmp_path / checkpoint.INDEX).unlink()
    else:
        (tmp_path / checkpoint.INDEX).write_text(text)
    told: list[str] = []
    assert checkpoint.newest_snapshot(tmp_path, told.append) == tmp_path / "snapshot_best_sr80_stage1_19.pt"
    assert len(told) == (text is not None)
    snapshots = Snapshots(tmp_path, last_stage=1, resume=True, note=told.append)
    assert all(fault.startswith(f"{tmp_path / checkpoint.INDEX}: is damaged: ") for fault in told)
    assert all(len(fault) < 1000 for fault in told)
    assert frames_of_best(snapshots) == [[3, 4, 1], list(range(19, 11, -1))]
    assert {file.name for file in tmp_path.iterdir()} == set(before)
    assert indexed_files(tmp_path) == kept_files(tmp_path)
    assert json.loads((tmp_path / checkpoint.INDEX).read_text())[-1]["success_rate"] in (0.8, 0.851)


def test_lost_and_damaged_best_files_go_from_the_list(tmp_path: Path) -> None:
    with_best(tmp_path)
    (tmp_path / "snapshot_best_sr90_stage0_3.pt").unlink()
    stray = tmp_path / "snapshot_best_sr99_stage0_9.pt"
    stray.write_bytes(b"not a snapshot")
    told: list[str] = []
    snapshots = Snapshots(tmp_path, last_stage=1, resume=True, note=told.append)
    assert frames_of_best(snapshots)[0] == [4, 1]
    assert indexed_files(tmp_path) == kept_files(tmp_path) - {stray.name}
    assert told == [f"{stray}: is damaged or of another kind: not loaded"]
    assert stray.exists()


def test_files_a_run_may_go_on_from_come_newest_first(tmp_path: Path) -> None:
    assert checkpoint.resume_candidates(tmp_path) == []
    snapshots = Snapshots(tmp_path, last_stage=1)
    for frame in (100, 200):
        rolling = snapshots.save_rolling({"frame": frame, "run": {}})
    for frame in (150, 200, 250, 90):
        snapshots.save_best({"frame": frame, "run": {}}, 1, frame, 0.9)
    snapshots.save_stage({"frame": 220}, 0, "S0", 220)
    order = [
        "snapshot_best_sr90_stage1_250.pt",
        "snapshot.pt",
        "snapshot_best_sr90_stage1_200.pt",
        "snapshot_best_sr90_stage1_150.pt",
        "snapshot_previous.pt",
        "snapshot_best_sr90_stage1_90.pt",
    ]
    assert [path.name for path in checkpoint.resume_candidates(tmp_path)] == order
    assert checkpoint.load_resumable(rolling)["frame"] == 200
    with pytest.raises(UserError, match=r"S0_220\.pt: holds a policy only"):
        checkpoint.load_resumable(tmp_path / "snapshot_stage0_S0_220.pt")
    # Damaged ones are among them, to be named: it is the newest of all as far as anyone can tell.
    rolling.write_bytes(b"")
    names = [path.name for path in checkpoint.resume_candidates(tmp_path)]
    assert names == ["snapshot.pt", order[0], *order[2:]]
    (tmp_path / "snapshot_previous.pt").write_bytes(b"")
    names = [path.name for path in checkpoint.resume_candidates(tmp_path)]
    assert names == ["snapshot.pt", "snapshot_previous.pt", *(name for name in order if "best" in name)]
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.load_resumable(rolling)


def test_a_damaged_snapshot_does_not_push_out_the_good_one_before_it(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, last_stage=1)
    for frame in (1, 2):
        snapshots.save_rolling({"frame": frame})
    (tmp_path / "snapshot.pt").write_bytes(b"damaged")
    resumed = Snapshots(tmp_path, last_stage=1, resume=True)
    assert rolling_frames(tmp_path) == [None, 1]
    resumed.save_rolling({"frame": 3})
    assert rolling_frames(tmp_path) == [3, 1]
    resumed.save_rolling({"frame": 4})
    assert rolling_frames(tmp_path) == [4, 3]
    Snapshots(tmp_path, last_stage=1, resume=True).save_rolling({"frame": 5})
    assert rolling_frames(tmp_path) == [5, 4]


def test_where_files_have_one_name_only_the_one_before_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    snapshots = Snapshots(tmp_path, last_stage=1)
    for frame in (1, 2, 3):
        snapshots.save_rolling({"frame": frame})
    assert rolling_frames(tmp_path) == [3, 2]
    assert len(list(tmp_path.iterdir())) == 2


def rolling_frames(folder: Path) -> list[int | None]:
    """Frames of the rolling snapshot and of the one before; None where it can't be read."""
    read = [load_or_none(folder / name) for name in ("snapshot.pt", "snapshot_previous.pt")]
    return [None if content is None else content["frame"] for content in read]


def test_a_best_snapshot_is_on_the_disk_before_its_list_and_goes_after_it(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, last_stage=1)
    for frame in (1, 2, 3):
        snapshots.save_best({"frame": frame}, 0, frame, 0.8)
    with disk_calls() as calls:
        path = snapshots.save_best({"frame": 4}, 0, 4, 0.9)
    assert path is not None
    assert [call[:3] if call[0] != "fsync" else call[:2] for call in calls] == [
        ("fsync", f".tmp-{path.name}"),
        ("replace", f".tmp-{path.name}", path.name),
        ("fsync", f"{tmp_path.name}/"),
        ("fsync", f".tmp-{checkpoint.INDEX}"),
        ("replace", f".tmp-{checkpoint.INDEX}", checkpoint.INDEX),
        ("fsync", f"{tmp_path.name}/"),
        ("unlink", "snapshot_best_sr80_stage0_1.pt"),
    ]


# --- full disks and kills ---

WEIGHTS = {"weights": torch.arange(5000.0)}  # 20 kB


@pytest.mark.parametrize("room", [0, 300, 10_000, 20_500])
def test_a_full_disk_leaves_every_snapshot_and_no_remains(tmp_path: Path, room: int) -> None:
    snapshots = Snapshots(tmp_path, last_stage=1)
    for frame in (1, 2):
        snapshots.save_rolling({"frame": frame, **WEIGHTS})
    snapshots.save_best({"frame": 2, **WEIGHTS}, 0, 2, 0.9)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with room_for(room):
        for write in (
            lambda: snapshots.save_rolling({"frame": 3, **WEIGHTS}),
            lambda: snapshots.save_best({"frame": 3, **WEIGHTS}, 0, 3, 0.95),
            lambda: snapshots.save_stage(WEIGHTS, 0, "S0", 3),
        ):
            with pytest.raises(OSError, match="File too large") as caught:
                write()
            assert caught.value.errno == errno.EFBIG
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    snapshots.save_rolling({"frame": 4, **WEIGHTS})
    assert rolling_frames(tmp_path) == [4, 2]
    snapshots.save_best({"frame": 4}, 0, 4, 0.85)
    assert frames_of_best(snapshots)[0] == [2, 4]


@pytest.mark.parametrize("links", [True, False])
def test_killed_at_any_moment_of_a_rolling_save_two_good_snapshots_remain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    seen = set()
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        snapshots = Snapshots(folder, last_stage=1)
        for frame in (1, 2):
            snapshots.save_rolling({"frame": frame})
        killed = killed_before(number, lambda snapshots=snapshots: snapshots.save_rolling({"frame": 3}))
        seen.add(tuple(rolling_frames(folder)))
        remove_temporaries(folder)
        assert kept_files(folder) == {"snapshot.pt", "snapshot_previous.pt"}
        Snapshots(folder, last_stage=1, resume=True).save_rolling({"frame": 4})
        assert rolling_frames(folder)[0] == 4
        if not killed:
            break
    assert seen == {(2, 1), (3, 1), (3, 2)}


def no_links(source: Path, target: Path) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_killed_at_any_moment_of_a_best_save_the_list_and_the_files_agree_again(tmp_path: Path) -> None:
    seen = set()
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        snapshots = Snapshots(folder, last_stage=4)
        for frame, rate in ((1, 0.8), (2, 0.95), (3, 0.9)):
            snapshots.save_best({"frame": frame}, 0, frame, rate)
        killed = killed_before(number, lambda snapshots=snapshots: snapshots.save_best({"frame": 4}, 0, 4, 0.9))
        remove_temporaries(folder)
        there = kept_files(folder)
        assert indexed_files(folder) <= there
        assert {"snapshot_best_sr95_stage0_2.pt", "snapshot_best_sr90_stage0_3.pt"} <= there
        resumed = Snapshots(folder, last_stage=4, resume=True)
        frames = frames_of_best(resumed)[0]
        seen.add((len(there), *frames))
        assert kept_files(folder) == indexed_files(folder)
        assert {path.name for path in resumed.best(0)} == kept_files(folder)
        resumed.save_best({"frame": 4}, 0, 4, 0.9)
        assert frames_of_best(resumed)[0] == [2, 4, 3]
        assert kept_files(folder) == indexed_files(folder)
        if not killed:
            break
    # Before the new file, with it and the one that it drops, and after.
    assert seen == {(3, 2, 3, 1), (4, 2, 4, 3), (3, 2, 4, 3)}


# --- refusals ---


def test_missing_snapshots_name_those_that_are_there(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "snapshot_b.pt", {})
    checkpoint.save(tmp_path / "snapshot_a.pt", {})
    with pytest.raises(UserError, match=r"c\.pt: no such snapshot; there are: snapshot_a\.pt, snapshot_b\.pt$"):
        checkpoint.load(tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"c\.pt: no such snapshot$"):
        checkpoint.load(tmp_path / "nowhere" / "c.pt")
    with pytest.raises(UserError, match="can't be read"):
        checkpoint.load(tmp_path)


def load_or_none(path: Path) -> dict[str, Any] | None:
    try:
        return checkpoint.load(path)
    except UserError:
        return None


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    """A changed bit anywhere is refused, or lies in padding that holds nothing."""
    content = {"weights": torch.arange(600.0), "counters": {"step": 3, "rows": [1, 2.5, None, True]}}
    path = checkpoint.save(tmp_path / "good.pt", content)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.choice(len(whole), 250, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        read = load_or_none(path)
        if read is None:
            refused += 1
        else:
            assert same(read, {"format": checkpoint.FORMAT, **content}), f"byte {place} of {len(whole)}"
    assert refused > 150


@pytest.mark.slow
def test_a_flipped_bit_in_any_part_of_the_archive_is_named(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "snapshot.pt", full_content())
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    assert len(members) > 10
    for member in members:
        name, fill = (int.from_bytes(whole[member.header_offset + at :][:2], "little") for at in (26, 28))
        for place in {0, member.file_size // 2, member.file_size - 1}:
            damaged = bytearray(whole)
            damaged[member.header_offset + 30 + name + fill + place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(UserError, match=r"snapshot\.pt: is damaged"):
                checkpoint.load(path)


def test_cut_off_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "snapshot.pt", {"weights": torch.arange(600.0)})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    cut = [whole[:length] for length in (*range(0, len(whole), 400), len(whole) - 1)]
    noise = [rng.bytes(length) for length in (1, 10, 100, 1000, 10_000)]
    for damaged in [*cut, *noise, b"PK\x03\x04", b"not a snapshot", whole + whole[:-1]]:
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"snapshot\.pt: is damaged or of another kind"):
            checkpoint.load(path)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def plain_pickle(trap: Trap, path: Path) -> None:
    path.write_bytes(pickle.dumps({"format": checkpoint.FORMAT, "network": trap}))


def torch_archive(trap: Trap, path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "network": trap}, path)


def torch_legacy_file(trap: Trap, path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "network": trap}, path, _use_new_zipfile_serialization=False)


def rewritten_archive(trap: Trap, path: Path) -> None:
    """A good snapshot whose pickle was exchanged, checksums and all."""
    torch.save({"format": checkpoint.FORMAT}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, pickle.dumps(trap, protocol=2) if name.endswith("data.pkl") else part)


@pytest.mark.parametrize("write", [plain_pickle, torch_archive, torch_legacy_file, rewritten_archive])
def test_code_in_a_snapshot_is_not_run(tmp_path: Path, write: Callable[[Trap, Path], None]) -> None:
    mark, path = tmp_path / "was_run", tmp_path / "snapshot.pt"
    write(Trap(mark), path)
    with pytest.raises(UserError, match=r"snapshot\.pt: is damaged"):
        checkpoint.load(path)
    assert not mark.exists()
    # The trap is real: an ordinary load springs it.
    if write is torch_archive:
        torch.load(path, weights_only=False)
        assert mark.exists()


def test_whole_objects_are_refused(tmp_path: Path) -> None:
    torch.save({"format": checkpoint.FORMAT, "network": nn.Linear(1, 1)}, tmp_path / "snapshot.pt")
    with pytest.raises(UserError, match="holds more than tensors and plain data"):
        checkpoint.load(tmp_path / "snapshot.pt")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), OrderedDict(weight=torch.zeros(1)), {}])
def test_other_archives_are_no_snapshots(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "snapshot.pt")
    with pytest.raises(UserError, match="is not a snapshot of this program"):
        checkpoint.load(tmp_path / "snapshot.pt")


@pytest.mark.parametrize("other", [0, 1, checkpoint.FORMAT + 1, "2", None])
def test_other_formats_are_refused(tmp_path: Path, other: Any) -> None:
    torch.save({"format": other}, tmp_path / "snapshot.pt")
    with pytest.raises(UserError, match=f"has snapshot format {other}, this version reads format {checkpoint.FORMAT}"):
        checkpoint.load(tmp_path / "snapshot.pt")
