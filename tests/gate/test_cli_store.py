"""`pawl store check|migrate|import`: exit codes, one line for an error, and a file that is never touched by a look."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pawl import Device, JSONFileStore, PublicKey, SQLiteStore
from pawl_gate import cli
from pawl_gate.cli import store as cli_store
from tests.storage.test_migration import rows_of, write_old
from tests.test_node_import import Node, ours

Output = pytest.CaptureFixture[str]


def run(capsys: Output, *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["store", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(params=["bob.db", "bob.json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    with closing(JSONFileStore(path) if path.suffix == ".json" else SQLiteStore(path)) as store:
        Device(store).generate_prekeys(5)
    return path


def test_a_whole_store(path: Path, capsys: Output) -> None:
    before = path.read_bytes()
    code, out, err = run(capsys, "check", path)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{path} is whole: 6 records"
    code, out, _ = run(capsys, "check", path, "--json")
    document = json.loads(out)
    assert (code, document["exitCode"], document["damage"]) == (0, 0, [])
    assert (document["records"]["prekey"], document["records"]["local"]) == (5, 1)
    assert path.read_bytes() == before


def test_a_store_of_any_name(path: Path, capsys: Output) -> None:
    """A whole store is not called damaged because of its file's name."""
    other = path.rename(path.with_name("bob.json" if path.suffix == ".db" else "bob.store"))
    code, out, _ = run(capsys, "check", other)
    assert (code, out.splitlines()[0]) == (0, f"{other} is whole: 6 records")


def test_a_damaged_store(path: Path, capsys: Output) -> None:
    whole = path.read_bytes()
    if path.suffix == ".json":
        path.write_bytes(whole.replace(b'"prekey":', b'"perkey":'))
    else:
        with closing(sqlite3.connect(path)) as editor:
            editor.execute("UPDATE prekey SET value = zeroblob(90) WHERE key = x'00000003'")
            editor.commit()
    before = path.read_bytes()
    code, out, err = run(capsys, "check", path)
    assert (code, err) == (1, "")
    assert out.splitlines()[0] == f"{path} is damaged"
    code, out, _ = run(capsys, "check", path, "--json")
    assert (code, len(json.loads(out)["damage"])) == (1, 1)
    assert path.read_bytes() == before


def test_a_half_store(path: Path, capsys: Output) -> None:
    path.write_bytes(path.read_bytes()[:-100])
    assert run(capsys, "check", path)[0] == 1


def test_no_store(tmp_path: Path, capsys: Output) -> None:
    for what in ("check", "migrate"):
        code, out, err = run(capsys, what, tmp_path / "nothing.db")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_migrating(tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "old.db"
    write_old(path, 2, rows_of(2, count=3))
    code, out, err = run(capsys, "check", path)
    assert (code, out) == (2, "")
    assert "migrate" in err
    backup = tmp_path / "copy.db"
    assert run(capsys, "migrate", path, "--backup", backup) == (0, f"{path} migrated from schema 2 to 4\n", "")
    assert backup.exists()
    assert run(capsys, "migrate", path) == (0, f"{path} has schema 4 already\n", "")
    assert run(capsys, "check", path)[0] == 0
    assert json.loads(run(capsys, "migrate", path, "--json")[1]) == {"former": 4, "schema": 4, "exitCode": 0}
    path.write_bytes(b"no database" * 100)
    code, out, _ = run(capsys, "migrate", path)
    assert (code, "is as it was" in out) == (1, True)


@pytest.mark.node_peer
@pytest.mark.parametrize("name", ["bob.db", "bob.json"])
def test_importing(tmp_path: Path, capsys: Output, name: str) -> None:
    node = Node()
    try:
        node("establish", "alice", "bob", oneTime=True)
        node.talk("alice", "bob", "hello")
        (tmp_path / "export").write_text(node("export", "bob"))
        more = ("--from", "node-libsignal", tmp_path / "export", "--store", tmp_path / name)
        code, out, err = run(capsys, "import", *more, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["sessions"] == 1
        # Never into what is there.
        assert run(capsys, "import", *more)[0] == 2
        store: Any = JSONFileStore(tmp_path / name) if name.endswith(".json") else SQLiteStore(tmp_path / name)
        from tests.test_node_import import ALICE

        message = node("encrypt", "alice", "bob", text="on")
        assert Device(store).decrypt(ALICE, ours(message)) == b"on"
        store.close()
    finally:
        node.close()


@pytest.mark.parametrize("name", ["bob.db", "bob.json"])
def test_what_cannot_be_imported_leaves_nothing(tmp_path: Path, capsys: Output, name: str) -> None:
    (tmp_path / "export").write_text("{}")
    more = ("--from", "node-libsignal", "--store", tmp_path / name)
    for file in ("export", "nothing"):
        code, out, err = run(capsys, "import", *more, tmp_path / file)
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert [each.name for each in tmp_path.iterdir()] == ["export"]


@pytest.mark.node_peer
def test_a_store_that_another_made_meanwhile_is_left_alone(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came into being after the look whether there is one: refused, and not tidied away."""
    path = tmp_path / "bob.db"
    real = cli_store._open

    def overtaken(path: Path) -> Any:
        with closing(SQLiteStore(path)) as store:
            made.append(Device(store).identity_key)
        return real(path)

    made: list[PublicKey] = []
    node = Node()
    try:
        (tmp_path / "export").write_text(node("export", "bob"))
    finally:
        node.close()
    monkeypatch.setattr(cli_store, "_open", overtaken)
    code, out, err = run(capsys, "import", "--from", "node-libsignal", tmp_path / "export", "--store", path)
    assert (code, out, "not empty" in err) == (2, "", True)
    with closing(SQLiteStore(path)) as store:
        assert [Device(store).identity_key] == made
