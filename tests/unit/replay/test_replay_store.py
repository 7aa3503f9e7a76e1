"""Replay on disk: a restored buffer is the saved one for ever after, and no damage goes unnoticed."""

from __future__ import annotations

import copy
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glideslope.errors import UserError
from glideslope.replay.buffer import ReplayBuffer
from glideslope.replay.store import ReplayError, ReplayStore, joined
from glideslope.runs import snapshots as checkpoint
from glideslope.settings import Share
from tests.support.faults import room_for
from tests.support.kills import killed_before
from tests.support.replays import Writer, assert_same_batch, make_buffer


def filled(folder: Path, steps: int = 40, saves: int = 4) -> tuple[Writer, ReplayStore, list[dict[str, Any]]]:
    """A buffer of 2 rings of 30 slots and its store, with the manifests of saves `steps` apart."""
    writer = Writer(make_buffer(), seed=0)
    store = ReplayStore(folder, writer.buffer)
    manifests = []
    for _ in range(saves):
        for _ in range(steps):
            writer.step()
        manifests.append(store.save())
    return writer, store, manifests


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def listed(*manifests: dict[str, Any]) -> set[str]:
    return {segment["file"] for manifest in manifests for segment in manifest["segments"]}


def live_rows(buffer: ReplayBuffer) -> dict[str, torch.Tensor]:
    """Everything stored that a later call can read."""
    counters = buffer.counters()
    rows = buffer.rows_since({key: [0] * len(counter) for key, counter in counters.items()})
    # Nothing reads where the transitions started whose slots are gone.
    first = rows.pop("first_transition")
    orders = rows["order"].split((rows["end_transition"] - first).tolist())
    gone = np.maximum(np.array(counters["lost"]) - first.numpy(), 0)
    rows["order"] = torch.cat([order[skip:] for order, skip in zip(orders, gone, strict=True)])
    return rows


def assert_same_buffer(one: ReplayBuffer, other: ReplayBuffer) -> None:
    assert one.counters() == other.counters()
    assert torch.equal(one.generator_state(), other.generator_state())
    theirs = live_rows(other)
    for key, rows in live_rows(one).items():
        assert torch.equal(rows, theirs[key]), key


def with_buffer(writer: Writer, buffer: ReplayBuffer) -> Writer:
    """A writer that will do to `buffer` what this one does to its own."""
    twin = copy.deepcopy(writer)
    twin.buffer = buffer
    return twin


@settings(max_examples=50)
@given(
    stack=st.integers(1, 4),
    nstep=st.integers(1, 4),
    num_envs=st.integers(1, 4),
    spare=st.integers(0, 6),
    end_chance=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    events=st.lists(
        st.one_of(
            st.integers(1, 25),  # so many steps
            st.just("save"),
            st.sampled_from(["save", "sample", "cut", "prune"]),
            st.tuples(st.integers(0, 5), st.booleans()),  # load the last manifest but so many, into a new buffer
        ),
        min_size=4,
        max_size=20,
    ),
    seed=st.integers(0, 2**20),
)
def test_a_restored_buffer_is_the_saved_one_for_ever(
    tmp_path_factory: pytest.TempPathFactory,
    stack: int,
    nstep: int,
    num_envs: int,
    spare: int,
    end_chance: float,
    events: list[Any],
    seed: int,
) -> None:
    """Steps, cut episodes, saves, loads of any manifest and prunes in any order, against a buffer never saved.

    With a load both go back in time, so that segments of an abandoned future lie about.
    """
    sizes = {"num_envs": num_envs, "frame_stack": stack, "nstep": nstep}
    sizes["capacity"] = (stack + nstep + 1 + spare) * num_envs
    folder = tmp_path_factory.mktemp("run") / "replay"
    plain = Writer(make_buffer(**sizes, seed=seed), seed, num_envs, end_chance)
    stored = copy.deepcopy(plain)
    store = ReplayStore(folder, stored.buffer)
    saved: list[tuple[Writer, dict[str, Any]]] = []
    for event in [*events, "save", (0, True), 30]:
        if isinstance(event, int):
            for _ in range(event):
                plain.step()
                stored.step()
        elif event == "cut":
            plain.begin(np.array([num_envs - 1]))
            stored.begin(np.array([num_envs - 1]))
        elif event == "sample" and len(plain.buffer):
            assert_same_batch(plain.buffer.sample(5), stored.buffer.sample(5))
        elif event == "save":
            saved.append((copy.deepcopy(plain), store.save()))
        elif event == "prune":
            saved = saved[-2:]
            store.prune([manifest for _, manifest in saved])
        elif isinstance(event, tuple) and saved:
            back, anew = event
            then, manifest = saved[max(0, len(saved) - 1 - back)]
            if anew:
                store = ReplayStore(folder, make_buffer(**sizes, seed=seed + 1))
            store.load(manifest)
            plain, stored = copy.deepcopy(then), with_buffer(then, store._buffer)
        assert_same_buffer(plain.buffer, stored.buffer)
    assert_same_batch(plain.buffer.sample(64), stored.buffer.sample(64))


# --- files ---


def test_a_save_costs_what_is_new_and_lists_what_still_counts(tmp_path: Path) -> None:
    writer, store, manifests = filled(tmp_path, steps=4, saves=12)
    assert len(files(tmp_path)) == 12
    # Rings of 30 slots; 4 steps and the ends of episodes fill 4 to 8 slots of each.
    assert all(4 <= len(manifest["segments"]) <= 9 for manifest in manifests[-3:])
    assert files(tmp_path) > listed(manifests[-1])
    again = store.save()
    assert again["segments"] == manifests[-1]["segments"]
    assert len(files(tmp_path)) == 12
    writer.buffer.sample(3)
    assert not torch.equal(store.save()["generator"], again["generator"])
    for segment in again["segments"]:
        assert segment["bytes"] == (tmp_path / segment["file"]).stat().st_size < 10_000


def test_a_segment_counts_as_long_as_one_environment_needs_it(tmp_path: Path) -> None:
    """One writes its ring over twice while the other hardly moves."""
    writer = Writer(make_buffer(), seed=0, end_chance=0.0)
    store = ReplayStore(tmp_path, writer.buffer)
    for _ in range(5):
        writer.step()
    (first,) = store.save()["segments"]
    for _ in range(60):
        writer.begin(np.array([1]))
    manifest = store.save()
    second = manifest["segments"][-1]
    assert [segment["file"] for segment in manifest["segments"]] == [first["file"], second["file"]]
    assert (first["end_slot"], second["first_slot"], second["end_slot"]) == ([6, 6], [3, 36], [6, 66])
    store.prune([])
    assert files(tmp_path) == {first["file"], second["file"]}
    restored = make_buffer(seed=3)
    ReplayStore(tmp_path, restored).load(manifest)
    assert_same_buffer(writer.buffer, restored)
    # Gone from both rings it is needed no more.
    for _ in range(30):
        writer.begin(np.array([0]))
    assert first["file"] not in listed(store.save())


def test_a_save_behind_a_load_costs_what_is_new(tmp_path: Path) -> None:
    writer, _, manifests = filled(tmp_path, steps=8, saves=3)
    buffer = make_buffer(seed=2)
    store = ReplayStore(tmp_path, buffer)
    store.load(manifests[-1])
    assert store.save()["segments"] == manifests[-1]["segments"]
    twin = with_buffer(writer, buffer)
    twin.step()
    *kept, new = store.save()["segments"]
    assert set(map(str, kept)) <= set(map(str, manifests[-1]["segments"]))
    written = manifests[-1]["counters"]["written"]
    assert new["first_slot"] == [end - 3 for end in written]  # a stack of 3 frames back
    assert new["end_slot"] == buffer.counters()["written"]


def test_more_than_a_ring_between_two_saves_is_one_ring(tmp_path: Path) -> None:
    writer, store, manifests = filled(tmp_path, steps=500, saves=2)
    (segment,) = manifests[1]["segments"]
    assert [end - first for first, end in zip(segment["first_slot"], segment["end_slot"], strict=True)] == [
        30,
        30,
    ]
    restored = make_buffer(seed=3)
    ReplayStore(tmp_path, restored).load(store.save())
    assert_same_buffer(writer.buffer, restored)


def test_prune_leaves_what_manifests_and_the_next_save_need_and_foreign_files(tmp_path: Path) -> None:
    _, store, manifests = filled(tmp_path, steps=8, saves=12)
    for name in ("notes.txt", "segment_1.pt", "segment_best.pt", ".tmp-123-segment_000050.pt"):
        (tmp_path / name).write_text("")
    kept = listed(manifests[3], manifests[-1])
    store.prune([manifests[3]])
    assert files(tmp_path) == kept | {"notes.txt", "segment_1.pt", "segment_best.pt"}
    for manifest in (manifests[3], manifests[-1]):
        ReplayStore(tmp_path, make_buffer()).load(manifest)
    store.prune([])
    assert listed(manifests[-1]) <= files(tmp_path)
    ReplayStore(tmp_path / "not there", make_buffer()).prune([])


def test_a_name_in_use_is_never_taken(tmp_path: Path) -> None:
    writer, store, manifests = filled(tmp_path, steps=8, saves=5)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    store.load(manifests[1])
    writer.step()
    writer.step()
    new = listed(store.save()) - listed(manifests[1])
    assert new == {"segment_000006.pt"}
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())


def test_files_that_somebody_removed_are_written_anew(tmp_path: Path) -> None:
    writer, store, manifests = filled(tmp_path, steps=8, saves=3)
    (tmp_path / manifests[-1]["segments"][0]["file"]).unlink()
    manifest = store.save()
    restored = make_buffer(seed=5)
    ReplayStore(tmp_path, restored).load(manifest)
    assert_same_buffer(writer.buffer, restored)


def test_a_buffer_without_frames_and_an_empty_one(tmp_path: Path) -> None:
    empty = make_buffer(frame_shape=None, privileged_dim=0)
    manifest = ReplayStore(tmp_path, empty).save()
    assert manifest["segments"] == []
    empty.add_first(np.array([0, 1]), None, np.ones((2, 2)))
    full = ReplayStore(tmp_path, empty)
    there = full.save()
    restored = make_buffer(frame_shape=None, privileged_dim=0, seed=8)
    ReplayStore(tmp_path, restored).load(there)
    assert_same_buffer(empty, restored)
    full.load(manifest)
    assert empty.num_frames == 0


# --- faults of the disk ---


@pytest.mark.parametrize("room", [0, 100, 1000, 3000])
def test_a_write_that_fails_leaves_nothing_and_the_next_one_covers_it(tmp_path: Path, room: int) -> None:
    writer, store, manifests = filled(tmp_path, steps=6, saves=2)
    there = files(tmp_path)
    for _ in range(6):
        writer.step()
    with room_for(room), pytest.raises(OSError, match="File too large"):
        store.save()
    assert files(tmp_path) == there
    for _ in range(3):
        writer.step()
    manifest = store.save()
    assert len(listed(manifest) - listed(*manifests)) == 1
    restored = make_buffer(seed=4)
    ReplayStore(tmp_path, restored).load(manifest)
    assert_same_buffer(writer.buffer, restored)


def test_killed_at_any_moment_the_saves_before_are_whole(tmp_path: Path) -> None:
    """kill -9 before each operation on files of a save and a prune; then an ordinary go-on in the same folder."""
    for number in range(100):
        folder = tmp_path / str(number)
        writer, store, manifests = filled(folder, steps=9, saves=4)
        then = copy.deepcopy(writer)

        def save_and_prune(writer: Writer = writer, store: ReplayStore = store, last: Any = manifests[-1]) -> None:
            for _ in range(9):
                writer.step()
            store.prune([store.save(), last])

        killed = killed_before(number, save_and_prune)
        restored = make_buffer(seed=7)
        revived = ReplayStore(folder, restored)
        revived.load(manifests[-1])
        assert_same_buffer(then.buffer, restored)
        writer = with_buffer(then, restored)
        for _ in range(9):
            writer.step()
        manifest = revived.save()
        revived.prune([manifest])
        assert files(folder) == listed(manifest)
        if not killed:
            break
    assert 8 <= number < 99


# --- damage ---


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def assert_refused(folder: Path, manifest: dict[str, Any], message: str) -> None:
    """The buffer, used before, is empty then, and good for a new start."""
    writer = Writer(make_buffer(), seed=9)
    store = ReplayStore(folder, writer.buffer)
    for _ in range(50):
        writer.step()
    with pytest.raises(ReplayError, match=message):
        store.load(manifest)
    fresh = Writer(make_buffer(), seed=9)
    assert writer.buffer.counters() == fresh.buffer.counters() | {"written": [0, 0]}
    assert len(writer.buffer) == 0
    Writer(writer.buffer, seed=9).step()
    fresh.step()
    writer.buffer._generator.manual_seed(0)
    assert_same_buffer(writer.buffer, fresh.buffer)


@pytest.mark.slow
def test_missing_cut_off_and_foreign_segments_are_named(tmp_path: Path) -> None:
    _, _, manifests = filled(tmp_path, steps=8, saves=3)
    mark = tmp_path / "was_run"
    for segment in manifests[-1]["segments"]:
        path = tmp_path / segment["file"]
        whole = path.read_bytes()
        damaged = rf"{path.name}: (is damaged|is not)"
        for length in (*range(0, len(whole), len(whole) // 12), len(whole) - 1):
            path.write_bytes(whole[:length])
            assert_refused(tmp_path, manifests[-1], damaged)
        for content in (pickle.dumps(Trap(mark)), b"x", whole + whole[:-1]):
            path.write_bytes(content)
            assert_refused(tmp_path, manifests[-1], damaged)
        torch.save({"format": 1, "buffer": {}, "rows": Trap(mark)}, path)
        assert_refused(tmp_path, manifests[-1], rf"{path.name}: is damaged, or holds more")
        path.unlink()
        assert_refused(tmp_path, manifests[-1], rf"{path.name}: is missing")
        path.mkdir()
        assert_refused(tmp_path, manifests[-1], rf"{path.name}: can't be read")
        path.rmdir()
        path.write_bytes(whole)
    assert not mark.exists()
    ReplayStore(tmp_path, make_buffer()).load(manifests[-1])


@pytest.mark.slow
def test_a_flipped_bit_in_any_part_of_a_segment_is_noticed(tmp_path: Path) -> None:
    writer, _, manifests = filled(tmp_path, steps=12, saves=1)
    path = tmp_path / manifests[0]["segments"][0]["file"]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path) as parts:
        members = parts.infolist()
    assert len(members) > 12
    for member in members:
        # The part's name and contents: 30 bytes of header, the name, fill, the contents.
        name_length, fill = (int.from_bytes(whole[member.header_offset + at :][:2], "little") for at in (26, 28))
        start = member.header_offset + 30 + name_length + fill
        for place in start + rng.choice(member.file_size, min(3, member.file_size), replace=False):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            with pytest.raises(ReplayError, match=rf"{path.name}: is damaged"):
                ReplayStore(tmp_path, make_buffer()).load(manifests[0])
    refused = 0
    for place in rng.choice(len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        restored = make_buffer()
        try:
            ReplayStore(tmp_path, restored).load(manifests[0])
        except ReplayError:
            refused += 1
            assert restored.num_frames == 0
        else:  # it lay in what fills the file up to round places
            assert_same_buffer(restored, writer.buffer)
    assert refused > 60


def test_segments_of_another_run_or_time_are_refused(tmp_path: Path) -> None:
    _, _, manifests = filled(tmp_path / "a", steps=8, saves=3)
    other = Writer(make_buffer(), seed=1)
    store = ReplayStore(tmp_path / "b", other.buffer)
    for _ in range(3):
        for _ in range(8):
            other.step()
        store.save()
    one, two = sorted((tmp_path / "a").iterdir())[:2]
    whole = one.read_bytes()
    for foreign in (two, tmp_path / "b" / one.name):
        one.write_bytes(foreign.read_bytes())
        assert_refused(tmp_path / "a", manifests[-1], rf"{one.name}: is not the file that the snapshot was")
    for content in (
        {"rows": {}},
        [1],
        {"format": 1, "buffer": {}, "rows": 3},
        {"format": 9, "buffer": {}, "rows": {}},
    ):
        torch.save(content, one)
        assert_refused(tmp_path / "a", manifests[-1], rf"{one.name}: (is not|has segment format 9)")
    one.write_bytes(whole)
    ReplayStore(tmp_path / "a", make_buffer()).load(manifests[-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nstep": 2}, "nstep 3 instead of 2"),
        ({"frame_stack": 2}, "frame_stack 3 instead of 2"),
        ({"capacity": 80}, "slots 30 instead of 40"),
        ({"num_envs": 3}, "num_envs 2 instead of 3"),
        ({"state_dim": 1}, r"entries .*'state': \[2\].* instead of .*'state': \[1\]"),
        ({"frame_shape": (4, 4)}, "entries"),
        ({"frame_shape": None}, "entries"),
    ],
)
def test_a_buffer_of_other_settings_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    _, _, manifests = filled(tmp_path, steps=8, saves=1)
    with pytest.raises(ReplayError, match=f"is of a replay buffer with .*{message}"):
        ReplayStore(tmp_path, make_buffer(**changes)).load(manifests[0])


def without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {other: value for other, value in mapping.items() if other != key}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        *((lambda m, key=key: without(m, key), "damaged") for key in ("format", "buffer", "counters", "generator")),
        (lambda m: None, "damaged"),
        (lambda m: [1], "damaged"),
        (lambda m: m | {"format": 0}, "format 0, this version reads format 1"),
        (lambda m: m | {"buffer": 3}, "damaged"),
        (lambda m: m | {"generator": torch.zeros(3)}, "damaged"),
        (lambda m: m | {"generator": "x"}, "damaged"),
        (lambda m: m | {"counters": {}}, "damaged"),
        (lambda m: m | {"counters": m["counters"] | {"known": [9, 10**9]}}, "damaged"),
        (lambda m: m | {"counters": m["counters"] | {"lost": [0]}}, "damaged|gap"),
        (lambda m: m | {"counters": m["counters"] | {"written": [10**9, 10**9]}}, "gap"),
        (lambda m: m | {"segments": m["segments"][:-1]}, "gap"),
        (lambda m: m | {"segments": m["segments"][1:]}, "gap"),
        (lambda m: m | {"segments": m["segments"][:1] + m["segments"][2:]}, "gap"),
        (lambda m: m | {"segments": [{"file": "segment_000001.pt"}]}, "damaged"),
        (
            lambda m: m | {"segments": [segment | {"file": "../x"} for segment in m["segments"]]},
            "no segment's name",
        ),
    ],
)
def test_damaged_manifests_are_refused(tmp_path: Path, damage: Callable[[dict[str, Any]], Any], message: str) -> None:
    _, _, manifests = filled(tmp_path, steps=3, saves=4)
    assert len(manifests[-1]["segments"]) > 2
    assert_refused(tmp_path, damage(manifests[-1]), message)


def test_a_manifest_in_a_snapshot_reads_back(tmp_path: Path) -> None:
    """Snapshots hold manifests; refusals are errors of the user's files."""
    writer, store, _ = filled(tmp_path / "replay")
    path = checkpoint.save(tmp_path / "snapshot.pt", {"run": {"replay": store.save()}})
    restored = make_buffer(seed=1)
    ReplayStore(tmp_path / "replay", restored).load(checkpoint.load(path)["run"]["replay"])
    assert_same_buffer(writer.buffer, restored)
    assert issubclass(ReplayError, UserError)


# --- shares ---


@given(seed=st.integers(0, 99), steps=st.lists(st.integers(1, 50), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_what_shares_store_any_number_of_them_restores(
    seed: int, steps: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shares")
    writers = [Writer(make_buffer(share=Share(rank, 2)), seed=2 * seed + rank) for rank in range(2)]
    stores = [ReplayStore(folder, writer.buffer, Share(rank, 2)) for rank, writer in enumerate(writers)]
    for count in steps:
        for writer in writers:
            for _ in range(count):
                writer.step()
        saved = stores[0].saved()  # the one that writes
        manifest = stores[0].save(joined([store.unsaved(saved) for store in stores]))
    whole = make_buffer(num_envs=4, capacity=120)
    ReplayStore(folder, whole).load(manifest)
    rows, parts = live_rows(whole), [live_rows(writer.buffer) for writer in writers]
    for key, value in rows.items():
        assert torch.equal(value, torch.cat([part[key] for part in parts]))
    assert whole.counters() == {
        key: writers[0].buffer.counters()[key] + writers[1].buffer.counters()[key] for key in whole.counters()
    }
    for rank, writer in enumerate(writers):
        restored = make_buffer(share=Share(rank, 2))
        ReplayStore(folder, restored, Share(rank, 2)).load(manifest)
        assert_same_buffer(restored, writer.buffer)
    # And those of four processes are what one has.
    quarter = make_buffer(num_envs=1, capacity=30, share=Share(2, 4))
    ReplayStore(folder, quarter, Share(2, 4)).load(manifest)
    assert quarter.counters() == {key: counter[2:3] for key, counter in whole.counters().items()}


def test_shares_of_a_batch_draw_apart() -> None:
    writers = [Writer(make_buffer(share=Share(rank, 2)), seed=0) for rank in range(2)]
    for writer in writers:
        for _ in range(40):
            writer.step()
    alone = Writer(make_buffer(), seed=0)
    for _ in range(40):
        alone.step()
    both = [writer.buffer.sample(8) for writer in writers]
    whole = alone.buffer.sample(16)
    assert torch.equal(torch.cat([batch.action for batch in both]), whole.action)
    assert not torch.equal(both[0].action, both[1].action)
