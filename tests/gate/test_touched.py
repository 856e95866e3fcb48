"""What a change touches, in small repositories of their own, and what `pawl verify --changed-since` makes of it.

It errs on the side of more: whatever may break an invariant touches it. The ids in it are examples.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pawl_gate import cli, verify
from pawl_gate.scenarios import scenarios
from pawl_gate.traceability import named, touched
from pawl_gate.traceability.touched import Code, GitError, select
from pawl_gate.verify import BUDGETS, Selection
from pawl_spec.invariants import INVARIANTS
from tools.examples import ROOT

EVERY = frozenset(entry.id for entry in INVARIANTS if entry.predicate is not None)

FILES = {
    "src/lib/__init__.py": "from lib.device import Device\n",
    "src/lib/device.py": "from lib import keys\n# One message, one key (CTR-03).\n",
    "src/lib/keys.py": "# Deleted at once (KEY-01, KEY-02).\n",
    "src/lib/words.py": "x = 1\n",
    "src/lib/native.c": "/* Parsed once (PAR-02). */\n",
    "docs/x.md": "what (CTR-01) says\n",
    "driver.py": "import lib\n",
}


def git(at: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.invalid", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *arguments], cwd=at, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def since_main(root: Path, code: Code | None = None) -> Selection:
    return select("main", root, code or Code(root / "src" / "lib", judges=("driver.py", "spec/")))


def write(root: Path, name: str, text: str = "y = 2\n", *, more: bool = True) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if more and path.is_file() else "") + text)


def test_nothing_changed_touches_nothing(repository: Path) -> None:
    """The list of what is left out is the whole catalogue."""
    chosen = since_main(repository)
    assert (chosen.judged, chosen.files, set(chosen.left_out)) == (frozenset(), (), EVERY)
    assert chosen.commit == git(repository, "rev-parse", "main")


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("src/lib/device.py", {"CTR-03"}),
        # What imports it may break by it.
        ("src/lib/keys.py", {"CTR-03", "KEY-01", "KEY-02"}),
        ("src/lib/native.c", {"PAR-02"}),
        ("docs/x.md", set()),
        ("README.md", set()),
    ],
)
def test_code_touches_what_it_names(repository: Path, name: str, ids: set[str]) -> None:
    """And what the files name that import it. A page of documentation names much and can break nothing."""
    write(repository, name)
    chosen = since_main(repository)
    assert chosen.files == (name,)
    assert chosen.judged == ids
    assert set(chosen.left_out) == EVERY - ids


@pytest.mark.parametrize("name", ["driver.py", "spec/new.py", "src/lib/words.py", "src/lib/new.py"])
def test_what_may_break_anything_touches_all(repository: Path, name: str) -> None:
    """The driver, what judges, and code that leads to no id: all are judged, and it says why."""
    write(repository, name)
    chosen = since_main(repository)
    assert chosen.judged == EVERY
    assert chosen.left_out == {}
    assert name in chosen.why


def test_what_a_file_named_before_counts(repository: Path) -> None:
    """A change that takes the id away with the code, or the whole file, touches it all the same."""
    write(repository, "src/lib/device.py", "from lib import keys\n# (CTR-04)\n", more=False)
    assert since_main(repository).judged == {"CTR-03", "CTR-04"}
    (repository / "src/lib/device.py").unlink()
    (repository / "src/lib/keys.py").rename(repository / "src/lib/new_keys.py")
    assert since_main(repository).judged == {"CTR-03", "KEY-01", "KEY-02"}


def test_where_branches_parted(repository: Path) -> None:
    """What others did on main since then is not this change's."""
    git(repository, "checkout", "-q", "-b", "mine")
    write(repository, "src/lib/native.c")
    git(repository, "commit", "-q", "-a", "-m", "mine")
    git(repository, "checkout", "-q", "main")
    write(repository, "src/lib/keys.py")
    git(repository, "commit", "-q", "-a", "-m", "theirs")
    git(repository, "checkout", "-q", "mine")
    assert since_main(repository).judged == {"PAR-02"}


def test_without_code_everything_is_judged(repository: Path) -> None:
    """Where nothing says which code is whose, a change touches all; no change touches none."""
    assert select("main", repository, None).judged == frozenset()
    write(repository, "README.md")
    assert select("main", repository, None).judged == EVERY


@pytest.mark.parametrize("since", ["nowhere", "--output=x", "main:driver.py", ""])
def test_what_is_no_revision_is_refused(repository: Path, since: str) -> None:
    """An option in the place of a revision does not reach git as one."""
    with pytest.raises(GitError):
        select(since, repository, None)
    assert not (repository / "x").exists()


def test_names_of_files_are_taken_as_they_are(repository: Path) -> None:
    """Blanks, line ends and letters of any kind."""
    write(repository, "src/lib/a b\nü.c", "// (PAR-03)\n")
    chosen = since_main(repository)
    assert chosen.files == ("src/lib/a b\nü.c",)
    assert chosen.judged == {"PAR-03"}


def test_links_and_packages_are_left_aside(repository: Path) -> None:
    """Code of others is no code of this one, and a link leads nowhere."""
    write(repository, "src/lib/node_modules/x.js", "// (PAR-01)\n")
    (repository / "src" / "lib" / "link.c").symlink_to(repository / "docs" / "x.md")
    assert set(named.places(repository / "src" / "lib", repository)) == {"CTR-03", "KEY-01", "KEY-02", "PAR-02"}
    (place,) = named.places(repository / "src" / "lib", repository)["PAR-02"]
    assert (place.file, place.line) == ("src/lib/native.c", 1)


def test_pawls_own_code_leads_to_every_judged_invariant() -> None:
    """In the checkout: a change of any file of the library touches something, and all of it together everything."""
    folder = ROOT / named.LIBRARY
    ids = set().union(*(named.names_in(named.read(path)) for path in named.files(folder) if path.suffix == ".py"))
    assert ids >= EVERY
    importers = touched._importers(folder)
    assert folder / "device.py" in importers[folder / "device_base.py"]
    assert folder / "session" / "cipher.py" in touched._all_importers(folder / "errors.py", importers)
    assert folder / "crypto" / "keys.py" not in touched._all_importers(folder / "device.py", importers)


# -- the command ------------------------------------------------------------------------------------------------------

Output = pytest.CaptureFixture[str]


@pytest.fixture
def checkout(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that is taken for Pawl's checkout, and a small budget."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr("pawl_gate.explain.checkout", lambda: repository)
    monkeypatch.setattr(named, "LIBRARY", "src/lib")
    monkeypatch.setattr(named, "library", dict)
    few = [scenario for scenario in scenarios() if scenario.name in ("forged-bundle-first", "conversation", "copies")]
    monkeypatch.setattr(verify, "scenarios", lambda: few)
    monkeypatch.setattr(verify.corpus, "load", lambda folder: [])
    monkeypatch.setitem(BUDGETS, "smoke", replace(BUDGETS["smoke"], walks=3, examples=1, shrink_steps=300, scopes=()))
    return repository


def run(*argv: str) -> int:
    return cli.main(["verify", "--no-report", "--changed-since", "main", *argv])


def test_only_what_is_touched_is_judged(checkout: Path, capsys: Output) -> None:
    """CTR-03 is broken and touched: 1. Touched is something else: the rest is left out, and it says so."""
    write(checkout, "src/lib/device.py")
    assert run("--target", "control:duplicate-accepted", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert [finding["id"] for finding in document["findings"]] == ["CTR-03"]
    assert document["changed"]["judged"] == ["CTR-03"]
    verdicts = {entry["id"]: entry["verdict"] for entry in document["invariants"]}
    # What the target cannot be judged on is unsupported, whatever was touched.
    assert {id_ for id_, verdict in verdicts.items() if verdict == "unsupported"} <= EVERY - {"CTR-03"}
    assert {id_ for id_, verdict in verdicts.items() if verdict in ("left out", "unsupported")} == EVERY - {"CTR-03"}
    git(checkout, "checkout", "-q", ".")
    write(checkout, "src/lib/native.c")
    run("--target", "control:duplicate-accepted", "--seed", "1")
    out = capsys.readouterr().out
    assert "CTR-03 does not hold" not in out
    assert "left out, its code was not changed: " in " ".join(out.split())
    assert " changed since main (" in out


def test_nothing_touched_is_not_run(checkout: Path, capsys: Output) -> None:
    """There is nothing to judge: exit code 0 without a run, and each report says that nothing was."""
    write(checkout, "docs/x.md")
    assert run("--target", "control:duplicate-accepted", "--junit", "j.xml") == 0
    out = capsys.readouterr().out
    assert out.startswith("nothing to judge\n")
    assert "none of it is code in src/lib" in out
    assert 'failures="0" errors="0"' in Path("j.xml").read_text("utf-8")


def test_an_expected_finding_that_is_left_out_has_not_vanished(
    checkout: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever did not look cannot say that it is gone."""
    monkeypatch.setattr(verify.Report, "gaps", [])
    target = "control:duplicate-accepted"
    entries = [{"id": "CTR-03", "reason": "known"}, {"id": "IDC-03", "reason": "known"}]
    Path("known.json").write_text(json.dumps({"target": target, "findings": entries}))
    git(checkout, "add", "known.json")
    git(checkout, "commit", "-q", "-m", "known")
    write(checkout, "src/lib/device.py")
    assert run("--target", target, "--expect", "known.json") == 0
    assert "exactly the 1 expected findings" in capsys.readouterr().out


def test_of_code_of_ones_own(checkout: Path, capsys: Output, make_driver: Callable[[], str]) -> None:
    """`--code`: comments in any language lead reports to the code, and a change to what is judged."""
    write(checkout, "src/lib/native.c")
    run("--driver", make_driver(), "--code", "src/lib", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["changed"]["judged"] == ["PAR-02"]
    write(checkout, "my/driver")
    run("--driver", make_driver(), "--code", "src/lib", "--json")
    document = json.loads(capsys.readouterr().out)
    assert set(document["changed"]["judged"]) == EVERY


@pytest.fixture
def make_driver(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A driver's command, behind which another target stands."""
    from pawl_gate.targets.registry import find_target

    monkeypatch.setattr("pawl_gate.cli.verify.find_target", lambda args: find_target("pawl"))

    def make() -> str:
        if not (checkout / "my" / "driver").exists():
            write(checkout, "my/driver", "x")
            git(checkout, "add", "my")
            git(checkout, "commit", "-q", "-m", "driver", "my")
        return "./my/driver --fast"

    return make
