"""The mutants of a source file, as mutmut makes them, each with a name that outlives changes elsewhere.

mutmut numbers the mutants of a function, and the numbers shift whenever the function changes. So a mutant is named here
by its function and by what it changes: the lines before and after.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Final

from mutmut.mutation.data import LineSpan, SourceFileMutationData
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import mangled_name_from_mutant_name, orig_function_and_class_names_from_key

NOT_CHECKED: Final = "not checked"
"""mutmut's word for a mutant without a verdict."""

TELLING: Final = frozenset({"_check_callable", "_check_int", "_require"})
"""Functions of the library that refuse with their last argument as the text."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change to one function."""

    name: str
    """mutmut's own name, as `mutmut show` takes it."""
    function: str
    """`pawl.wire.varint.read_varint`, `pawl.identity.IdentityPolicy.decide`."""
    before: str
    """The lines that it changes, with single spaces; empty if it only adds some."""
    after: str
    words_only: bool
    """It changes the words of a refusal and nothing else: `changes_words_only`."""
    path: Path
    """The file, from the root of the repository."""
    digest: str
    """mutmut's digest of the function: a verdict counts for this one only."""


def mutants_of(root: Path, path: Path) -> list[Mutant]:
    """The mutants of the file `path`, from the folder `root`."""
    made = mutate_file_contents(str(path), (root / path).read_text("utf-8"))
    lines = made.code.splitlines()
    module = ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")
    found = []
    for generated in made.mutant_names:
        name, mangled = f"{module}.{generated}", mangled_name_from_mutant_name(generated)
        original = _source(lines, made.line_span_by_function_name, f"{mangled}__mutmut_orig", mangled)
        changed = _source(lines, made.line_span_by_function_name, generated, mangled)
        function, owner = orig_function_and_class_names_from_key(name)
        found.append(
            Mutant(
                name,
                ".".join(part for part in (module, owner, function) if part),
                *differing(original, changed),
                changes_words_only(original, changed),
                path,
                made.hash_by_function_name[mangled],
            )
        )
    return found


def _source(lines: list[str], spans: Mapping[str, LineSpan], generated: str, mangled: str) -> str:
    """The source of a generated function, under the name that its original and all its mutants share."""
    span = spans[generated]
    return textwrap.dedent("\n".join(lines[span.start - 1 : span.end])).replace(f"def {generated}(", f"def {mangled}(")


def differing(original: str, changed: str) -> tuple[str, str]:
    """The lines that only one of the two has, with single spaces."""
    old, new = original.splitlines(), changed.splitlines()
    before: list[str] = []
    after: list[str] = []
    for kind, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            before += old[start:end]
            after += new[new_start:new_end]
    return " ".join(" ".join(before).split()), " ".join(" ".join(after).split())


def changes_words_only(original: str, changed: str) -> bool:
    """Whether two versions of a function refuse the same with the same types, and differ in the words alone."""
    return _wordless(original) == _wordless(changed)


# One original has hundreds of mutants.
@lru_cache(maxsize=2)
def _wordless(source: str) -> str:
    """The syntax of a function, without the texts of its refusals. mutmut changes a text or puts None in its place."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        # A second argument is more than words: `CallbackTrouble(callback, why)` keeps its reason.
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and len(node.exc.args) == 1:
            call = node.exc
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TELLING:
            call = node
        else:
            continue
        last = call.args[-1]
        if isinstance(last, ast.JoinedStr) or (isinstance(last, ast.Constant) and isinstance(last.value, str | None)):
            call.args.pop()
    return ast.dump(tree)


def verdicts(mutants: Iterable[Mutant]) -> dict[str, str]:
    """What mutmut found of each, by name, as it says it: `killed`, `survived`, `timeout`, `no tests`, `not checked`."""
    files: dict[Path, SourceFileMutationData] = {}
    found = {}
    for each in mutants:
        if each.path not in files:
            files[each.path] = SourceFileMutationData(path=each.path)
            files[each.path].load()
        data = files[each.path]
        generated = each.name.rpartition(".")[2]
        # What was found of a former version of the function says nothing about this one.
        same = data.hash_by_function_name.get(mangled_name_from_mutant_name(generated)) == each.digest
        found[each.name] = status_by_exit_code[data.exit_code_by_key.get(each.name)] if same else NOT_CHECKED
    return found


def functions_at(source: str, module: str, lines: set[int]) -> set[str]:
    """The functions and methods of a source that any of `lines` belongs to, decorators included."""
    found = set()

    def look(body: list[ast.stmt], owner: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{owner}.{node.name}")
            elif isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                if lines & set(range(first, (node.end_lineno or first) + 1)):
                    found.add(f"{owner}.{node.name}")

    look(ast.parse(source).body, module)
    return found
