"""Writers and the nursery: what is known of one that is killed, hangs or dies, and that none outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from pawl_gate.targets.base import HarnessBroken
from pawl_gate.trials import writers
from pawl_gate.trials.writers import Nursery, Said, Writer

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def opened(nursery: Nursery, path: Path) -> Writer:
    writer = nursery.start()
    writer.tell(["open", "sqlite", str(path), None], "open")
    [said] = hear(writer, 1)
    assert said.how == "done"
    return writer


def hear(writer: Writer, count: int) -> list[Said]:
    """The next so many results."""
    found: list[Said] = []
    for _ in range(600):
        found += writer.hear(0.1)
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} results of {count}")


def ends(process: int) -> bool:
    """Whether the process is gone, or will be."""
    for _ in range(600):
        try:
            state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_killed_writer_was_in_one_call(tmp_path: Path) -> None:
    """What was told and answered is known, the next one is lost, the rest never began; the next writer goes on."""
    with Nursery() as nursery:
        writer = opened(nursery, tmp_path / "pawl.db")
        for number in range(200):
            writer.tell(["bundle", 0], number)
        first = hear(writer, 3)
        rest = writer.kill()
        said = [*first, *rest]
        assert [each.asked for each in said] == list(range(len(said)))
        assert [each.how for each in said] == ["done"] * (len(said) - 1) + ["lost"]
        assert len(said) < 200
        assert all(one.ended <= other.began for one, other in pairwise(said))
        after = opened(nursery, tmp_path / "pawl.db")
        after.tell(["look"])
        [look] = hear(after, 1)
        assert len(said) - 1 <= len(look.value["prekeys"]) <= len(said)


def test_one_that_ends_by_itself_has_failed(tmp_path: Path) -> None:
    """No kill of ours explains it."""
    with Nursery() as nursery:
        writer = opened(nursery, tmp_path / "pawl.db")
        os.kill(writer.process, signal.SIGSTOP)
        writer.tell(["look"], "look")
        os.kill(writer.process, signal.SIGTERM)
        os.kill(writer.process, signal.SIGCONT)
        while not writer.ended:
            assert writer.hear(1.0) == []
        [said] = writer.end()
        assert (said.asked, said.how) == ("look", "failed")


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as hung, and is not waited for any more."""
    with Nursery() as nursery:
        writer = opened(nursery, tmp_path / "pawl.db")
        monkeypatch.setattr(writers, "HANG_SECONDS", 0.2)
        os.kill(writer.process, signal.SIGSTOP)
        writer.tell(["look"], "look")
        [said] = hear(writer, 1)
        assert (said.asked, said.how) == ("look", "hung")
        assert ends(writer.process)
        # Whoever goes on with it all the same is told nothing new.
        writer.tell(["look"])
        assert (len(writer), writer.hear(0), writer.kill(), writer.finish()) == (0, [], [], [])


def test_one_is_told_more_than_its_pipe_holds(tmp_path: Path) -> None:
    """What it says meanwhile is not lost, and neither waits for the other for ever."""
    with Nursery() as nursery:
        writer = opened(nursery, tmp_path / "pawl.db")
        for number in range(400):
            writer.tell(["encrypt", "x" * 1000, ["text"]], number)
        assert [(said.asked, said.how) for said in hear(writer, 400)] == [(n, "refused") for n in range(400)]


def test_several_at_once_in_one_process(tmp_path: Path) -> None:
    """asyncio tasks in threads of one process share the device: each has a result of its own, no prekey is made twice."""
    with Nursery() as nursery:
        writer = opened(nursery, tmp_path / "pawl.db")
        writer.tell(["together", [["bundle", 0]] * 6])
        [said] = hear(writer, 1)
        assert [how for _, _, how, _ in said.value] == ["done"] * 6
        assert len({value[0]["prekey_id"] for _, _, _, value in said.value}) == 6
        assert [each.how for each in writer.finish()] == []


def test_a_nursery_that_died_is_the_harness_broken(tmp_path: Path) -> None:
    with Nursery() as nursery:
        writer = opened(nursery, tmp_path / "pawl.db")
        nursery._process.kill()
        nursery._process.wait()
        with pytest.raises(HarnessBroken, match="has ended"):
            nursery.start()
        assert ends(writer.process)


def test_nobody_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Neither the nursery nor a writer that waits."""
    program = (
        "import sys, time\n"
        "from pawl_gate.trials.writers import Nursery\n"
        "nursery = Nursery()\n"
        "writer = nursery.start()\n"
        "print(nursery._process.pid, writer.process, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert parent.stdout is not None
    processes = [int(text) for text in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert [ends(process) for process in processes] == [True, True]


def test_a_writer_is_a_program(tmp_path: Path) -> None:
    """Lines of JSON in, lines of JSON out; what is refused is said by its code, also where there is no store."""
    calls = [
        ["look"],
        ["open", "json", str(tmp_path / "pawl.json"), None],
        ["encrypt", "bob", ["text"]],
        ["no-such-call"],
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "pawl_gate.trials.writer"],
        input="".join(json.dumps(call) + "\n" for call in calls),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=True,
    )
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [how for _, _, how, _ in results] == ["refused", "done", "refused", "failed"]
    assert [results[0][3], results[2][3]] == ["store-closed", "no-session"]
    assert ended.stderr == ""
