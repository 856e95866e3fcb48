"""Broken stores that the campaigns below them must catch, each by the invariant that names its fault.

They are not in the catalogue of `pawl mutants`: what they break is seen only when the power goes, or a medium fails.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final
from unittest import mock

from pawl.errors import CorruptStore
from pawl.storage import sqlite_file
from pawl.storage.contract import Store
from pawl.storage.json_file import JSONFileStore, _JSONTransaction
from pawl.storage.memory import MemoryStore
from pawl.storage.seal import Seal
from pawl.storage.sqlite import SQLiteStore, _SQLiteTransaction
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Edited
from pawl_gate.targets.variant import Variant


class Synchronous(Variant):
    """SQLite syncs less than the store promises."""

    def __init__(self, level: str) -> None:
        self.name = f"control:synchronous-{level.lower()}"
        self._settings = tuple(
            f"PRAGMA synchronous = {level}" if setting.startswith("PRAGMA synchronous") else setting
            for setting in sqlite_file.SETTINGS
        )

    def patched(self) -> AbstractContextManager[object]:
        """With these settings."""
        return mock.patch.object(sqlite_file, "SETTINGS", self._settings)


class MadeAnew(Variant):
    """A store that is damaged is taken for empty: its file goes, and a new one is made."""

    name = "control:damaged-is-empty"

    def reopen(self, opened: Callable[[], Store]) -> Store:
        """A new store where the old one is damaged."""
        try:
            return opened()
        except CorruptStore:
            return MemoryStore()


@dataclass(frozen=True, slots=True)
class Control:
    """A broken store, the kind of store that it is, and the invariants of which one at least must speak up."""

    kind: str
    breaks: tuple[str, ...]
    what: str
    variant: Variant


def _slip(name: str, store: str, breaks: tuple[str, ...], what: str, *edits: Edit) -> tuple[str, Control]:
    return name, Control(store, breaks, what, Edited(f"control:{name}", edits))


LOSES: Final = ("ATM-01", "ATM-02")
"""What is acknowledged and gone: whichever the history comes to first."""

POWER_LOSS: Final[dict[str, Control]] = dict(
    (
        ("synchronous-off", Control("sqlite", LOSES, "SQLite never syncs.", Synchronous("OFF"))),
        ("synchronous-normal", Control("sqlite", LOSES, "SQLite syncs at checkpoints only.", Synchronous("NORMAL"))),
        _slip(
            "commit-error-ignored",
            "sqlite",
            ("ATM-01", "ATM-02", "ATM-05", "CTR-01", "CTR-03"),
            "An error of COMMIT is ignored.",
            Edit(SQLiteStore._commit, "raise commit_refusal(error) from error", "pass"),
        ),
        _slip(
            "json-file-not-synced",
            "json",
            LOSES,
            "A new JSON file is put in the old one's place without having been synced.",
            Edit(JSONFileStore._write, "os.fsync(file.fileno())", "pass"),
        ),
        _slip(
            "json-folder-not-synced",
            "json",
            LOSES,
            "The folder is not synced after a JSON file was replaced.",
            Edit(JSONFileStore._write, "sync_folder(folder)", "pass"),
        ),
        _slip(
            "json-written-in-place",
            "json",
            (*LOSES, "ATM-05"),
            "A JSON file is written over, not replaced.",
            Edit(JSONFileStore._write, "os.O_WRONLY | os.O_CREAT | os.O_EXCL", "os.O_WRONLY | os.O_CREAT | os.O_TRUNC"),
            Edit(
                JSONFileStore._write,
                "folder, draft = os.path.dirname(self._file), self._draft()",
                "folder = os.path.dirname(self._file); draft = self._file",
            ),
            Edit(JSONFileStore._write, "os.replace(draft, self._file)", "pass"),
        ),
        _slip(
            "log-taken-as-it-is",
            "sqlite",
            LOSES,
            "What the log holds when a store is opened is read, synced or not.",
            # Its checkpoint at opening, and the one after the first transaction, each make the log durable.
            Edit(SQLiteStore._settle, "self._checkpoint()", "return"),
            Edit(SQLiteStore.__init__, "CHECKPOINT_COMMITS if has_log(file) else 0", "0"),
        ),
        _slip(
            "json-name-taken-as-it-is",
            "json",
            LOSES,
            "What a JSON file holds when it is read is used, whether its name is synced or not.",
            Edit(JSONFileStore._refresh, "sync_folder(os.path.dirname(self._file))", "pass"),
        ),
    )
)
"""By name: caught when the power goes."""

DAMAGE: Final[dict[str, Control]] = dict(
    (
        _slip(
            "checksum-left-out",
            "sqlite",
            ("ATM-06",),
            "The checksum of a record is not looked at.",
            Edit(
                Seal.open,
                "if not rest or self._checksum(table, place, row.version, rest) != row.value[:CHECKSUM_BYTES]:",
                "if not rest:",
            ),
        ),
        _slip(
            "damaged-keys-not-missed",
            "sqlite",
            ("ATM-06",),
            "A record whose key is damaged is taken for one that is not there.",
            Edit(
                _SQLiteTransaction._check_missing,
                "if self._seal.is_for(table, key, self._layout.sealed(table._value_, stored), version):",
                "if False:",
            ),
        ),
        _slip(
            "structure-not-checked",
            "sqlite",
            ("ATM-06",),
            "The structure of a SQLite file is not checked when it is opened.",
            Edit(sqlite_file._check_structure, "if pages * page_bytes <= MAX_CHECKED_BYTES:", "if False:"),
        ),
        ("damaged-is-empty", Control("sqlite", ("ATM-06",), "A store that is damaged is made anew.", MadeAnew())),
        ("damaged-is-empty-json", Control("json", ("ATM-06",), "A store that is damaged is made anew.", MadeAnew())),
    )
)
"""By name: caught when a bit flips."""

DISK: Final[dict[str, Control]] = dict(
    (
        _slip(
            "full-disk-ignored",
            "sqlite",
            ("ATM-05", "CTR-01", "CTR-02", "CTR-03", "CTR-04"),
            "An error of COMMIT is ignored.",
            Edit(SQLiteStore._commit, "raise commit_refusal(error) from error", "pass"),
        ),
        _slip(
            "full-disk-ignored-json",
            "json",
            ("ATM-05", "CTR-01", "CTR-03", "CTR-04"),
            "A JSON file that could not be written is taken for written.",
            Edit(_JSONTransaction.__exit__, "inner.__exit__(type(failure), failure, failure.__traceback__)", "return"),
        ),
        _slip(
            "engine-errors-raw",
            "sqlite",
            ("PAR-01",),
            "What the engine refuses at the beginning of a transaction is raised as it is.",
            Edit(SQLiteStore._begin, "raise refusal(error) from error", "raise"),
        ),
    )
)
"""By name: caught when a disk gives trouble."""

BELOW: Final[dict[str, tuple[str, Control]]] = {
    **{name: ("power-loss", control) for name, control in POWER_LOSS.items()},
    **{name: ("disk", control) for name, control in DISK.items()},
    **{name: ("damage", control) for name, control in DAMAGE.items()},
}
"""All of them, each with the campaign that must catch it."""
