"""Power losses and failing operations below the stores, in short; and stores that must not survive them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pawl.errors import OutcomeUnknown
from pawl.storage import JSONFileStore, SQLiteStore, Store, Table
from pawl_gate.trials import TrialReport, power_loss
from pawl_gate.trials.controls import POWER_LOSS
from pawl_gate.trials.faulty_disk import SECTOR, Disk, Failed
from pawl_gate.trials.power_loss import FaultyMedium

LOSSES = 50
SEEDS_OF_A_CONTROL = 20


def quiet(line: str) -> None:
    """No progress."""


def lost(disk: Disk, folder: Path, seed: int) -> dict[str, bytes]:
    into = folder.parent / f"after-{seed}"
    into.mkdir()
    disk.lose(Random(seed), into)
    return {file.name: file.read_bytes() for file in into.iterdir()}


# -- the disk itself ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "disk"
    made.mkdir()
    (made / "file").write_bytes(b"a" * 4 * SECTOR)
    return made


def overwrite(disk: Disk, path: Path, data: bytes, offset: int = 0) -> None:
    handle = os.open(path, os.O_WRONLY)
    disk.write(str(path), offset, data, lambda part: os.pwrite(handle, part, offset))
    os.close(handle)


def test_what_was_not_synced_is_lost_by_sectors(folder: Path) -> None:
    """Each sector is as it was or as it became, and over some losses both are seen, torn writes too."""
    disk, path = Disk(folder), folder / "file"
    overwrite(disk, path, b"b" * 2 * SECTOR)
    seen = {lost(disk, folder, seed)["file"] for seed in range(60)}
    old, new, rest = b"a" * SECTOR, b"b" * SECTOR, b"a" * 2 * SECTOR
    assert seen == {old + old + rest, new + new + rest, old + new + rest, new + old + rest}


def test_what_was_synced_stays(folder: Path) -> None:
    """Control: after a sync nothing is lost."""
    disk, path = Disk(folder), folder / "file"
    overwrite(disk, path, b"b" * 700)
    disk.sync(str(path))
    assert not disk.unsynced
    assert {lost(disk, folder, seed)["file"] for seed in range(20)} == {path.read_bytes()}


def test_a_rename_may_outlive_the_content(folder: Path) -> None:
    """A name that came to the disk before what it names: an empty or torn file in the place of the old one."""
    disk, new = Disk(folder), folder / "new"
    disk.create(str(new), lambda: new.touch())
    overwrite(disk, new, b"n" * 1000)
    disk.replace(str(new), str(folder / "file"))
    seen = {lost(disk, folder, seed)["file"] for seed in range(60)}
    assert {b"a" * 4 * SECTOR, b"n" * 1000, b""} <= seen


def test_names_are_lost_in_order_until_the_folder_is_synced(folder: Path) -> None:
    """Of two links the second alone never stays."""
    disk = Disk(folder)
    for name in ("one", "two"):
        disk.link(str(folder / "file"), str(folder / name))
    seen = {tuple(sorted(lost(disk, folder, seed))) for seed in range(40)}
    assert seen == {("file",), ("file", "one"), ("file", "one", "two")}
    disk.sync_folder()
    assert {tuple(sorted(lost(disk, folder, seed))) for seed in range(40, 60)} == {("file", "one", "two")}


def test_a_failed_sync_is_not_made_good_by_a_later_one(folder: Path) -> None:
    """As on Linux: the pages count as clean afterwards; only who writes them again brings them to the disk."""
    disk, path = Disk(folder), folder / "file"
    overwrite(disk, path, b"b" * SECTOR)
    disk.fail("sync-fails")
    with pytest.raises(Failed):
        disk.sync(str(path))
    disk.sync(str(path))
    assert b"a" * 4 * SECTOR in {lost(disk, folder, seed)["file"] for seed in range(20)}
    overwrite(disk, path, b"b" * SECTOR)
    disk.sync(str(path))
    assert {lost(disk, folder, seed)["file"][:1] for seed in range(20, 40)} == {b"b"}


def test_nothing_works_without_power(folder: Path) -> None:
    """The operation in which it goes is the last one."""
    disk, path = Disk(folder), folder / "file"
    disk.strike(1)
    disk.sync(str(path))
    with pytest.raises(Failed):
        disk.sync(str(path))
    assert disk.dead
    with pytest.raises(Failed):
        disk.read(path.read_bytes)


# -- stores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", power_loss.STORES)
def test_power_losses(store: str, tmp_path: Path) -> None:
    """ATM-01, ATM-02, CTR-01, CTR-02: "after a crash at any point, the reopened store holds exactly the state before or
    exactly the state after", in a step, a checkpoint, in creating, opening and closing; and failing operations, ATM-05.
    """
    report = power_loss.run(store, LOSSES, 3, quiet, tmp_path)
    assert report.broken == []
    assert report.counted["power losses"] >= LOSSES
    for where in ("in creating", "in a step", "in opening", "in closing", "at rest"):
        assert report.counted[f"power losses {where}"]
    assert any(name.startswith("steps with ") for name in report.counted)
    assert {"ATM-01", "ATM-02", "ATM-05", "CTR-01", "CTR-02", "CTR-03", "CTR-08"} <= report.checked.keys()
    # Nothing is left behind.
    assert [each for place in tmp_path.iterdir() for each in place.iterdir()] == []


@pytest.mark.parametrize("name", POWER_LOSS)
def test_a_broken_store_loses(name: str, tmp_path: Path) -> None:
    """Control: each fault is seen, by an invariant that names it."""
    control = POWER_LOSS[name]
    found: TrialReport | None = None
    for seed in range(SEEDS_OF_A_CONTROL):
        place = tmp_path / str(seed)
        place.mkdir()
        found = power_loss.run(control.kind, 50, seed, quiet, place, control=name)
        if {each.invariant for each in found.broken} & set(control.breaks):
            break
    assert found is not None
    assert {each.invariant for each in found.broken} & set(control.breaks)


def test_one_seed_gives_one_run(tmp_path: Path) -> None:
    """What was found can be found again."""
    counted = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        counted.append(power_loss.run("json", 30, 11, quiet, tmp_path / name).counted)
    assert counted[0] == counted[1]


# -- what a process leaves behind that was not synced ------------------------------------------------------------------


def put(store: Store, value: bytes) -> None:
    with store.transaction() as tx:
        row = tx.get(Table.SESSION, b"n")
        tx.put(Table.SESSION, b"n", value, version=0 if row is None else row.version)


def value(store: Store) -> bytes | None:
    with store.transaction() as tx:
        row = tx.get(Table.SESSION, b"n")
    return None if row is None else row.value


@pytest.mark.parametrize(("kind", "opened"), [("sqlite", SQLiteStore), ("json", JSONFileStore)])
def test_what_is_read_after_a_death_is_not_lost_with_the_power(kind: str, opened: type[Store], tmp_path: Path) -> None:
    """ATM-02: a process died between writing and syncing; the next one reads what it wrote, may say "duplicate" because
    of it, and no power loss takes it back.
    """
    places = iter(range(1000))

    def place() -> Path:
        made = tmp_path / str(next(places))
        made.mkdir()
        return made

    medium = FaultyMedium(kind, place())
    with medium.using():
        store = medium.open()
        put(store, b"old")
    medium.disk.fail("sync-fails", times=1_000_000)
    if kind == "json":
        # The file's own sync works: the folder's does not.
        medium.disk.fail("sync-fails", after=medium_operations(medium, store), times=1_000_000)
    with medium.using(), pytest.raises(OutcomeUnknown):
        put(store, b"new")
    disk = medium.disk.outlive(place())
    disk.fail("", times=0)
    medium.drop(store)
    # Control: without anybody's doing it may be lost.
    left = []
    for seed in range(20):
        there = place()
        disk.lose(Random(seed), there)
        with closing(opened(there / power_loss.FILE[kind])) as again:  # type: ignore[call-arg]
            left.append(value(again))
    assert set(left) == {b"old", b"new"}
    medium = FaultyMedium(kind, disk.folder, disk)
    with medium.using():
        store = medium.open()
        assert value(store) == b"new"
    for seed in range(20):
        there = place()
        disk.lose(Random(seed), there)
        with closing(opened(there / power_loss.FILE[kind])) as again:  # type: ignore[call-arg]
            assert value(again) == b"new"
    medium.drop(store)


def medium_operations(medium: FaultyMedium, store: Store) -> int:
    """Operations on files of one commit, but for the last one."""
    before = medium.disk.operations
    medium.disk.fail("", times=0)
    with medium.using():
        put(store, b"old")
    return medium.disk.operations - before - 1
