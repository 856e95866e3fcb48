"""Campaigns: rounds of units from one corpus, whose finds make the corpus of the next round.

A folder holds all of it: the plan, each input and finding by its content, what each does, a line for each unit that
came to its end, and a list of inputs for each round. A unit that comes twice is the same unit; one that is lost is
done again; whoever opens the folder later goes on at the first unit that is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pawl_gate.engines.corpus import files, name_of
from pawl_gate.fuzzing import unit as units
from pawl_gate.fuzzing.corpus import Corpus, Input, Origin, champions, load, write
from pawl_gate.fuzzing.entries import Entry
from pawl_gate.fuzzing.executors import Engine
from pawl_gate.fuzzing.facts import COSTLY, Facts, line_of, seeds
from pawl_gate.fuzzing.revision import pawl_version, revision, tools
from pawl_gate.fuzzing.unit import DONE, LIVE, Outcome, Point, Unit

FORMAT: Final = "pawl-campaign"
VERSION: Final = 1

TRIES: Final = 4
"""Of a unit that is lost or refused, until it is given up."""

LOOK: Final = 50
"""Inputs of one unit that only looks at them."""

TICK_SECONDS: Final = 5.0
"""Between two lines of progress."""


class Unfit(Exception):
    """The folder holds no campaign, or one that cannot go on here; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign is, as it is written down when it begins."""

    entries: tuple[str, ...]
    seed: int
    unit_seconds: int
    unit_runs: int
    lanes: int
    """Units of each entry point in a round."""
    revision: str
    tools: tuple[tuple[str, str], ...]


def plan(
    entries: Mapping[str, Entry], *, seed: int, unit_seconds: int, unit_runs: int = 0, jobs: int = 1, lanes: int = 0
) -> Plan:
    """A plan for what is here. `lanes` 0: as few as keep all jobs busy to the end of a round."""
    fitting = lanes or jobs // math.gcd(len(entries), jobs)
    return Plan(tuple(entries), seed, 0 if unit_runs else unit_seconds, unit_runs, fitting, revision(), tools())


@dataclass(slots=True)
class Standing:
    """One entry point in a campaign."""

    entry: Entry
    corpus: list[str] = field(default_factory=list)
    """Names of the inputs of this round."""
    pinned: set[str] = field(default_factory=set)
    features: dict[str, frozenset[str]] = field(default_factory=dict)
    """By name, of each input that was ever found."""
    checked: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def reached(self) -> frozenset[str]:
        """All features of all inputs."""
        return frozenset[str]().union(*self.features.values())


@dataclass(frozen=True, slots=True)
class Logged:
    """A unit that came to its end."""

    unit: str
    entry: str
    round: int
    at: float
    """Seconds of the campaign when it was there. Pauses do not count."""
    seconds: float
    executions: int
    points: tuple[Point, ...]
    inputs: tuple[str, ...]
    findings: tuple[str, ...]


@dataclass(slots=True)
class Moment:
    """How a campaign stands, for whoever shows it."""

    seconds: float
    round: int
    done: int
    due: int
    running: int
    executions: int
    rate: float
    """Executions a second, of all units together."""
    features: int
    findings: int


Progress = Callable[[Moment], None]


class Campaign:
    """A campaign in its folder."""

    def __init__(self, folder: Path, entries: Mapping[str, Entry], plan: Plan) -> None:
        """As it stands in the folder; use `begin` or `resume`."""
        self.folder, self.plan = folder, plan
        self.standing = {name: Standing(entries[name]) for name in plan.entries}
        self.log: dict[str, Logged] = {}
        self.round = -1
        self.lost: Counter[str] = Counter()
        """Why units were not done, with how often."""
        self.given_up: list[str] = []
        self._before = 0.0
        self._began = time.monotonic()

    # -- beginning and going on ---------------------------------------------------------------------------------------

    @classmethod
    def begin(cls, folder: Path, entries: Mapping[str, Entry], plan: Plan, corpora: Mapping[str, Corpus]) -> Campaign:
        """A new campaign from these corpora. Raises: Unfit, where the folder is not empty."""
        if folder.exists() and any(folder.iterdir()):
            raise Unfit(f"{folder} is not empty: --resume goes on with a campaign, another --out begins one")
        made = cls(folder, entries, plan)
        for name, standing in made.standing.items():
            inputs = dict(corpora.get(name, {}))
            if not inputs:
                origin = Origin("seed", pawl_version())
                inputs = {name_of(data): Input(data, origin) for data in seeds(standing.entry.maker)}
            for each in inputs.values():
                _keep(made._inputs(name), each.data)
            standing.corpus = sorted(inputs)
            standing.pinned = {each.name for each in inputs.values() if each.pinned}
        made._write_round()
        _write(folder / "campaign.json", {"format": FORMAT, "version": VERSION, **asdict(plan)})
        return made

    @classmethod
    def resume(cls, folder: Path, entries: Mapping[str, Entry]) -> Campaign:
        """Go on with the campaign of a folder. Raises: Unfit (none is there, or its code or tools are not these)."""
        made = cls.read(folder, entries)
        if (made.plan.revision, made.plan.tools) != (revision(), tools()):
            raise Unfit(
                f"{folder} was begun with revision {made.plan.revision} and {dict(made.plan.tools)}; here are "
                f"{revision()} and {dict(tools())}. Begin another from its inputs: --corpus {folder / 'corpus'}"
            )
        return made

    @classmethod
    def read(cls, folder: Path, entries: Mapping[str, Entry]) -> Campaign:
        """A campaign as its folder tells it, to be looked at. Raises: Unfit."""
        try:
            told = json.loads((folder / "campaign.json").read_text("utf-8"))
            if (told.pop("format"), told.pop("version")) != (FORMAT, VERSION):
                raise Unfit(f"{folder}: format and version are not {FORMAT} {VERSION}")
            tools_told = tuple((str(name), str(number)) for name, number in told.pop("tools"))
            plan = Plan(tuple(told.pop("entries")), tools=tools_told, **told)
            missing = [name for name in plan.entries if name not in entries]
            if missing:
                raise Unfit(f"{folder}: there is no entry point {missing[0]} here")
            made = cls(folder, entries, plan)
            made._read_round()
        except FileNotFoundError as error:
            raise Unfit(f"{folder} holds no campaign: there is no {Path(error.filename).name}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unfit(f"{folder} holds no campaign that can be read: {type(error).__name__}: {error}") from None
        made._read_log()
        for name, standing in made.standing.items():
            for path in files(made._facts(name)):
                made._know(standing, path.name, _read_facts(path))
        return made

    @property
    def seconds(self) -> float:
        """How long it has run, without pauses."""
        return self._before + time.monotonic() - self._began

    @property
    def executions(self) -> int:
        """Of all units."""
        return sum(each.executions for each in self.log.values())

    def findings(self) -> list[Path]:
        """The files of all findings."""
        return [path for name in self.plan.entries for path in files(self.folder / "findings" / name)
                if path.suffix != ".json"]  # fmt: skip

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        engine: Engine,
        *,
        seconds: float | None = None,
        rounds: int | None = None,
        progress: Progress = lambda moment: None,
    ) -> None:
        """Run until the time is over or so many rounds are done in all; what is begun is brought to its end."""
        self._began = time.monotonic()
        until = None if seconds is None else self.seconds + seconds
        while rounds is None or self.round < rounds:
            left = None if until is None else until - self.seconds
            if left is not None and left < 1 and self.round >= 0:
                break
            self._carry_out(engine, list(self._units(left, engine.jobs)), progress)
            if self.given_up:
                break
            self._next_round()
        self.write_corpora()

    def _units(self, left: float | None, jobs: int) -> Iterator[Unit]:
        """The units of this round that are not done. Round -1 looks at what is there to begin with."""
        if self.round < 0:
            for name, standing in self.standing.items():
                for at in range(0, len(standing.corpus), LOOK):
                    inputs = [self._input(name, each) for each in standing.corpus[at : at + LOOK]]
                    yield units.unit(
                        standing.entry, f"look.{name}.{at // LOOK}", seed=0, seconds=0, runs=0, inputs=inputs
                    )
            return
        seconds, count = self.plan.unit_seconds, self.plan.lanes * len(self.standing)
        if seconds and left is not None:
            # The last round is as long as there is time.
            seconds = min(seconds, max(int(left / math.ceil(count / jobs)), 1))
        for lane in range(self.plan.lanes):
            for name, standing in self.standing.items():
                id_ = f"{self.round}.{name}.{lane}"
                inputs = [self._input(name, each) for each in standing.corpus]
                yield units.unit(
                    standing.entry, id_, seed=self._seed(id_), seconds=seconds, runs=self.plan.unit_runs, inputs=inputs
                )

    def _seed(self, id_: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.plan.seed} {id_}".encode()).digest()[:4], "big")

    def _carry_out(self, engine: Engine, work: list[Unit], progress: Progress) -> None:
        """Have units done that are not, each until it is, or was tried often enough."""
        due = len(work)
        tries: Counter[str] = Counter()
        running: dict[Future[Outcome], Unit] = {}

        def begin(one: Unit) -> None:
            tries[one.id] += 1
            running[engine.executor.submit(units.run, one)] = one

        for one in work:
            if one.id not in self.log:
                begin(one)
        while running:
            ended, _ = wait(running, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                one = running.pop(future)
                try:
                    outcome = future.result()
                except Exception as error:
                    # The worker is gone, or could not even begin.
                    outcome = Outcome(one.id, units.LOST, f"{type(error).__name__}: {error}"[:300])
                if outcome.state == DONE:
                    self.take(one, outcome)
                    continue
                self.lost[outcome.why] += 1
                if tries[one.id] < TRIES:
                    begin(one)
                else:
                    self.given_up.append(f"{one.id}: {outcome.state}: {outcome.why}")
            progress(self._moment(due, len(running)))

    def take(self, work: Unit, outcome: Outcome) -> None:
        """Write down what a unit found. The same unit once more says nothing new."""
        if outcome.unit in self.log or outcome.state != DONE:
            return
        name = work.entry
        standing = self.standing[name]
        kept, findings = [], []
        for data, facts in outcome.found:
            if facts.state == COSTLY:
                continue
            kept.append(_keep(self._inputs(name), data))
            _write_facts(self._facts(name) / kept[-1], facts)
            self._know(standing, kept[-1], facts)
        for data, facts in outcome.findings:
            findings.append(_keep(self.folder / "findings" / name, data))
            told = {"entry": name, "unit": outcome.unit, **_facts_document(facts)}
            _write(self.folder / "findings" / name / f"{findings[-1]}.json", told)
        line = Logged(
            outcome.unit,
            name,
            self.round,
            self.seconds,
            outcome.seconds,
            outcome.executions,
            outcome.points,
            tuple(kept),
            tuple(findings),
        )
        self.log[outcome.unit] = line
        with (self.folder / "units.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line)) + "\n")

    def _know(self, standing: Standing, name: str, facts: Facts) -> None:
        standing.features[name] = facts.features
        standing.checked[name] = tuple(sorted(facts.checked))
        standing.sizes[name] = (self._inputs(standing.entry.name) / name).stat().st_size

    def _next_round(self) -> None:
        """For each feature its smallest input, and what is pinned."""
        for standing in self.standing.values():
            pinned = standing.pinned & standing.features.keys()
            standing.corpus = sorted(champions(standing.sizes, standing.features) | pinned)
        self.round += 1
        self._write_round()

    def _moment(self, due: int, running: int) -> Moment:
        live = list(LIVE.values())
        here = [each for each in self.log.values() if each.round == self.round]
        rates = [point.executions / point.seconds for point in live if point.seconds]
        if not rates:
            rates = [each.executions / each.seconds for each in here if each.seconds][-running or None :]
        return Moment(
            self.seconds,
            self.round,
            due - running,
            due,
            running,
            self.executions + sum(point.executions for point in live),
            sum(rates),
            sum(len(standing.reached) for standing in self.standing.values()),
            len(self.findings()),
        )

    # -- the folder ---------------------------------------------------------------------------------------------------

    def corpora(self) -> dict[str, dict[str, Input]]:
        """What each entry point's corpus has become."""
        origin = Origin(f"campaign, seed {self.plan.seed}", pawl_version())
        return {
            name: {
                each: Input(
                    self._input(name, each),
                    origin,
                    each in standing.pinned,
                    len(standing.features.get(each, ())),
                    standing.checked.get(each, ()),
                )
                for each in standing.corpus
            }
            for name, standing in self.standing.items()
        }

    def write_corpora(self) -> None:
        """Put them into the folder `corpus`, to be merged into others."""
        for name, corpus in self.corpora().items():
            write(self.folder / "corpus" / name, name, corpus)

    def lines(self) -> dict[str, set[int]]:
        """By file of the library, the lines that the inputs of all entry points came to."""
        found: dict[str, set[int]] = {}
        for standing in self.standing.values():
            for file, line in filter(None, map(line_of, standing.reached)):
                found.setdefault(file, set()).add(line)
        return found

    def _inputs(self, name: str) -> Path:
        return self.folder / "inputs" / name

    def _facts(self, name: str) -> Path:
        return self.folder / "facts" / name

    def _input(self, entry: str, name: str) -> bytes:
        return (self._inputs(entry) / name).read_bytes()

    def _write_round(self) -> None:
        told = {
            "round": self.round,
            "seconds": self.seconds,
            "corpus": {name: standing.corpus for name, standing in self.standing.items()},
            "pinned": {name: sorted(standing.pinned) for name, standing in self.standing.items()},
            "features": {name: len(standing.reached) for name, standing in self.standing.items()},
        }
        _write(self.folder / "round.json", told)

    def _read_round(self) -> None:
        told = json.loads((self.folder / "round.json").read_text("utf-8"))
        self.round, self._before = int(told["round"]), float(told["seconds"])
        for name, standing in self.standing.items():
            standing.corpus, standing.pinned = list(told["corpus"][name]), set(told["pinned"][name])

    def _read_log(self) -> None:
        path = self.folder / "units.jsonl"
        if not path.exists():
            return
        text = path.read_text("utf-8")
        for line in text.splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                # Its writer was ended in the middle of it: that unit is done again.
                continue
            points = tuple(Point(**point) for point in told.pop("points"))
            inputs, findings = tuple(told.pop("inputs")), tuple(told.pop("findings"))
            one = Logged(points=points, inputs=inputs, findings=findings, **told)
            self.log[one.unit] = one
            self._before = max(self._before, one.at)
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")


def _keep(folder: Path, data: bytes) -> str:
    """Write an input under its content's name, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    name = name_of(data)
    if not (folder / name).exists():
        half = folder.with_name(f".{folder.name}.half")
        half.write_bytes(data)
        half.replace(folder / name)
    return name


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    half.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    half.replace(path)


def _facts_document(facts: Facts) -> dict[str, Any]:
    return {
        "state": facts.state,
        "invariants": list(facts.invariants),
        "refusal": facts.refusal,
        "place": facts.place,
        "text": facts.text,
    }


def _write_facts(path: Path, facts: Facts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"state": facts.state, "features": sorted(facts.features), "checked": sorted(facts.checked)}
    half = path.parent.with_name(f".{path.parent.name}.half")
    half.write_bytes(zlib.compress(json.dumps(told).encode(), 1))
    half.replace(path)


def _read_facts(path: Path) -> Facts:
    told = json.loads(zlib.decompress(path.read_bytes()))
    return Facts(told["state"], features=frozenset(told["features"]), checked=frozenset(told["checked"]))


def starting_corpora(entries: Mapping[str, Entry], folder: Path | None) -> dict[str, Corpus]:
    """The corpora to begin with: those of the checkout, or those below a folder."""
    origin = Origin("before the manifest", pawl_version())
    return {name: load(entry.corpus if folder is None else folder / name, origin) for name, entry in entries.items()}
