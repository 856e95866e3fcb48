"""The tool around mutmut: which mutants it tries, what it calls them, and when it is not content."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from tools import mutation
from tools.mutants import Mutant, changes_words_only, functions_at, mutants_of
from tools.mutation import Choice, Reason, UsageError, judge, outdated, read_reasons, sample, wilson

SOURCE = """
class Counter:
    def step(self, by: int) -> int:
        if by < 1:
            raise ValueError("too small")
        return self.at + by
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one file of a library, committed once."""
    (tmp_path / "src" / "pawl").mkdir(parents=True)
    (tmp_path / "src" / "pawl" / "counter.py").write_text(SOURCE, "utf-8")
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    monkeypatch.setattr(mutation, "WORK", tmp_path / "mutants")
    monkeypatch.chdir(tmp_path)
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(tmp_path, *command)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def a_mutant(number: int, *, before: str = "a < b", after: str = "a <= b", words_only: bool = False) -> Mutant:
    name = f"pawl.counter.x_step__mutmut_{number}"
    return Mutant(name, "pawl.counter.step", before, after, words_only, Path("src/pawl/counter.py"), "")


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_mutant_is_named_by_its_function_and_its_change(checkout: Path) -> None:
    """Issue: the names of survivors are stable "across code changes"; mutmut's numbers are not."""
    path = Path("src/pawl/counter.py")

    def changes() -> set[tuple[str, str, str]]:
        return {(each.function, each.before, each.after) for each in mutants_of(checkout, path)}

    first = changes()
    assert ("pawl.counter.Counter.step", "return self.at + by", "return self.at - by") in first
    # Two more lines in the function: every mutant of before is still called the same.
    (checkout / path).write_text(SOURCE.replace("        if by", "        by = by * 2\n        # Check\n        if by"))
    assert first < changes()


def test_words_of_a_refusal(checkout: Path) -> None:
    """A text put otherwise is told apart from a condition, a type or a value."""
    found = {each.after: each.words_only for each in mutants_of(checkout, Path("src/pawl/counter.py"))}
    assert found["raise ValueError(None)"]
    assert found['raise ValueError("TOO SMALL")']
    assert not found["if by <= 1:"]
    assert not found["return self.at - by"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("raise BadMac('no')", "raise BadMac(None)", True),
        ("raise TooLarge(f'over {limit}')", "raise TooLarge(None)", True),
        ("_require(a < b, 'no')", "_require(a < b, None)", True),
        ("raise BadMac('no')", "raise NoSession('no')", False),
        ("raise BadMac('no')", "return None", False),
        ("_require(a < b, 'no')", "_require(a <= b, 'no')", False),
        ("_require(a < b, 'no')", "_require(None, 'no')", False),
        # Its last argument is an attribute that callers read.
        ("raise CallbackTrouble(what, 'raised')", "raise CallbackTrouble(what, 'RAISED')", False),
        ("return 'no'", "return 'NO'", False),
    ],
)
def test_what_is_only_words(before: str, after: str, words: bool) -> None:
    """A rule that took more for words would hide survivors."""
    first, second = (f"def f(a, b):\n    {line}\n" for line in (before, after))
    assert changes_words_only(first, second) is words


# -- which mutants ----------------------------------------------------------------------------------------------------


def test_the_sample_hardly_moves_when_mutants_come() -> None:
    """A mutant's place in the order of a seed does not depend on the others."""
    few, more = [a_mutant(number) for number in range(100)], [a_mutant(number) for number in range(101)]
    first, second = sample(few, 30, seed=1), sample(more, 30, seed=1)
    assert len(set(first) & set(second)) >= 29
    assert set(first) != set(sample(few, 30, seed=2))


def test_functions_at_lines() -> None:
    """Decorators belong to their function; what is outside of all functions touches none."""
    source = "A = 1\n\n@cache\ndef f():\n    return A\n\nclass C:\n    B = 2\n    def g(self):\n        return 1\n"
    assert functions_at(source, "pawl.x", {3}) == {"pawl.x.f"}
    assert functions_at(source, "pawl.x", {5, 10}) == {"pawl.x.f", "pawl.x.C.g"}
    assert functions_at(source, "pawl.x", {1, 2, 8}) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("by < 1", "by < 2"),
        ('            raise ValueError("too small")\n', "            return 0\n"),
        ("        return self.at + by\n", ""),
    ],
    ids=["changed", "replaced", "only removed"],
)
def test_what_a_change_touches(checkout: Path, old: str, new: str) -> None:
    """Issue: "on pull requests only what the diff touches"."""
    path = checkout / "src" / "pawl" / "counter.py"
    path.write_text(SOURCE.replace(old, new) + "\n\nclass Other:\n    def none(self) -> int:\n        return 1\n")
    git(checkout, "commit", "-q", "-a", "-m", "second")
    base = mutation.base_of(["origin/main", "HEAD", "HEAD~1"])
    assert base is not None
    named = {"pawl.counter.Counter.step", "pawl.counter.Other.none"}
    assert mutation.touched(base) == {Path("src/pawl/counter.py"): named}
    # A new file that git does not know yet, all of it.
    (checkout / "src" / "pawl" / "new.py").write_text("def f() -> int:\n    return 1\n")
    assert mutation.touched(base)[Path("src/pawl/new.py")] == {"pawl.new.f"}


def test_no_commit_to_compare_with(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone may lack `origin/main`, and its first commit a parent: then a few of all, or a refusal; never nothing."""
    monkeypatch.setattr(mutation, "ROOMS", ("counter.py",))
    chosen = mutation.choose(["origin/main", "HEAD~1"], 3, 1)
    assert len(chosen.tried) == 3
    with pytest.raises(UsageError, match="origin/main, HEAD~1"):
        mutation.choose(["origin/main", "HEAD~1"], None, 1)


def test_every_test_of_the_library_is_tried() -> None:
    """A file of tests that is forgotten in pyproject.toml kills nothing. Three need the gate, one the peer; left out."""
    settings = tomllib.loads((mutation.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    selected = {name for name in settings["pytest_add_cli_args_test_selection"] if name.startswith("tests/test_")}
    there = {f"tests/{path.name}" for path in (mutation.ROOT / "tests").glob("test_*.py")}
    assert there - selected == {
        "tests/test_texts.py",
        "tests/test_residual_risks.py",
        "tests/test_conflicts.py",
        "tests/test_node_import.py",
    }


# -- judging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval(part: int, whole: int, low: float, high: float) -> None:
    """Source: Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3."""
    assert wilson(part, whole) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


ALL_KILLED = [a_mutant(number, after=f"a <= {number}") for number in range(10)]
REASON = Reason("pawl.counter.step", frozenset({("a < b", "a <= 9")}), "the same for every b")


@pytest.mark.parametrize(
    ("survivors", "reasons", "least", "code"),
    [
        (0, [], 0.9, 0),
        (1, [REASON], 0.9, 0),
        # Without a reason, too few killed, a reason for one that is killed.
        (1, [], 0.9, 1),
        (2, [Reason("pawl.counter.step", frozenset({("a < b", "a <= 9"), ("a < b", "a <= 8")}), "x")], 0.9, 1),
        (2, [Reason("pawl.counter.step", frozenset({("a < b", "a <= 9"), ("a < b", "a <= 8")}), "x")], 0.0, 0),
        (0, [REASON], 0.9, 1),
    ],
)
def test_when_it_is_content(survivors: int, reasons: list[Reason], least: float, code: int) -> None:
    """Issue: "at least 90 % killed, each survivor with a reason"."""
    found = {each.name: "survived" if 10 - at <= survivors else "killed" for at, each in enumerate(ALL_KILLED)}
    assert judge(Choice("ten", ALL_KILLED, ALL_KILLED, least), found, reasons) == code


def test_words_need_no_entry() -> None:
    """The one class of survivors whose reason can be seen from the mutant."""
    words = a_mutant(1, words_only=True)
    assert judge(Choice("one", [words], [words], 0.0), {words.name: "survived"}, []) == 0


def test_no_verdict_is_incomplete() -> None:
    """A run that was stopped is no success."""
    found = {each.name: "not checked" if not at else "killed" for at, each in enumerate(ALL_KILLED)}
    assert judge(Choice("ten", ALL_KILLED, ALL_KILLED, 0.9), found, []) == 4


def test_a_reason_for_no_mutant_is_told() -> None:
    """The function changed: its reasons are looked at again. A reason for another file is left alone."""
    stale = Reason("pawl.counter.step", frozenset({("a > b", "a >= b")}), "x")
    elsewhere = Reason("pawl.other.step", frozenset({("a > b", "a >= b")}), "x")
    (line,) = outdated([stale, elsewhere], ALL_KILLED, [])
    assert "a > b" in line


def test_a_line_that_is_there_twice() -> None:
    """One of the two mutants survives, for a reason; that the other is killed does not make the reason wrong."""
    twice = [a_mutant(1), a_mutant(2)]
    found = {twice[0].name: "killed", twice[1].name: "survived"}
    reason = Reason("pawl.counter.step", frozenset({("a < b", "a <= b")}), "x")
    assert judge(Choice("two", twice, twice, 0.0), found, [reason]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "[[survivor]]\nwhy = 'x'\n",
        "[[survivor",
        "survivor = 3",
        "[[survivor]]\nfunction = 'f'\nwhy = 'x'\nchanges = [['a']]",
    ],
)
def test_reasons_that_cannot_be_read(text: str) -> None:
    """A reason that is dropped without a word would let a survivor through, or not."""
    with pytest.raises(UsageError):
        read_reasons(text)


def test_every_reason_is_for_a_mutant() -> None:
    """What tests/survivors.toml names is there: a change to one of its functions shows here at once."""
    reasons = read_reasons(mutation.SURVIVORS.read_text("utf-8"))
    there = [
        mutant
        for path in mutation.sources()
        if any(reason.function.startswith(".".join(path.with_suffix("").parts[1:]) + ".") for reason in reasons)
        for mutant in mutants_of(mutation.ROOT, path)
    ]
    assert outdated(reasons, there, []) == []
    known = {each.function for each in there}
    assert [reason.function for reason in reasons if reason.function not in known] == []


def test_two_runs_at_once(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second would delete the first one's tests: every mutant from there on would count as killed."""
    with mutation.alone():
        assert mutation.main(["--sample", "3"]) == 2
    assert "another run" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--sample", "0"], ["--sample", "many"], ["--since", "no-such-commit"]])
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    """One clear line and exit code 2."""
    (checkout / "tests").mkdir()
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(mutation.main(arguments))
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
