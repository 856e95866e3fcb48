"""Edits: words of the library's source are changed while a variant runs, never before or after."""

from __future__ import annotations

import pytest

from pawl.session import double_ratchet, x3dh
from pawl.session.rows import PeerRows
from pawl_gate.controls import CONTROLS
from pawl_gate.controls.edits import Edit, EditError, compiled, edited, getter
from pawl_gate.controls.variants import parse_known_key
from pawl_gate.controls.weakenings import WEAKENINGS
from pawl_gate.targets.inprocess import InProcessTarget

COUNTER = Edit(double_ratchet.send, "counter + 1)", "counter)")
SEED = Edit(
    double_ratchet.send, "ChainKey(next_key), counter + 1)), seed", "ChainKey(next_key), counter + 1)), bytes(32)"
)


def test_a_function_is_changed_and_put_back() -> None:
    """The change is there inside the block, and gone after it, also where the block fails."""
    real = double_ratchet.send.__code__
    with edited([COUNTER]):
        assert double_ratchet.send.__code__ is not real
    assert double_ratchet.send.__code__ is real
    with pytest.raises(ZeroDivisionError), edited([COUNTER]):
        raise ZeroDivisionError
    assert double_ratchet.send.__code__ is real


def test_what_was_changed_is_the_words_alone() -> None:
    """The changed function returns what the changed words say."""
    with edited([SEED]):
        assert double_ratchet.send.__code__.co_name == "send"
        assert bytes(32) in double_ratchet.send.__code__.co_consts or "bytes" in double_ratchet.send.__code__.co_names
    assert "bytes" not in double_ratchet.send.__code__.co_names


def test_variants_do_not_disturb_each_other() -> None:
    """One variant inside another, of the same function: each leaves what it found."""
    real = double_ratchet.send.__code__
    with edited([COUNTER]):
        one = double_ratchet.send.__code__
        with edited([SEED]):
            assert double_ratchet.send.__code__ not in (real, one)
        assert double_ratchet.send.__code__ is one
    assert double_ratchet.send.__code__ is real


@pytest.mark.parametrize("old", ["no such words", "session"])
def test_words_that_do_not_stand_there_once(old: str) -> None:
    """Where the code moved on, an edit says so: a fault that changes nothing would be found to survive, or worse."""
    with pytest.raises(EditError, match=r"double_ratchet\.send holds"), edited([Edit(double_ratchet.send, old, "")]):
        pass


def test_what_is_no_plain_function() -> None:
    """A class cannot be edited; a property's function can."""
    with pytest.raises(EditError, match="no plain function"):
        compiled((Edit(PeerRows, "a", "b"),))
    with pytest.raises(EditError, match="no property"):
        getter(PeerRows, "pinned")


def test_keys_read_by_a_variant_are_forgotten() -> None:
    """The reader of public keys remembers the last ones: what a broken one has read, the real one reads anew."""
    from pawl.crypto.keys import PublicKey
    from pawl.errors import InvalidKey

    wrong = b"\x06" + bytes([9]) + bytes(31)
    with CONTROLS["key-type-unchecked"].make()._variant.patched():
        assert PublicKey.deserialize(wrong).data == wrong[1:]
    with pytest.raises(InvalidKey):
        PublicKey.deserialize(wrong)
    with pytest.raises(InvalidKey):
        parse_known_key(wrong)


@pytest.mark.parametrize("name", CONTROLS)
def test_every_fault_fits_the_code_and_is_undone(name: str) -> None:
    """Each variant can be put in place, and everything that it changes is as it was afterwards."""
    watched = (double_ratchet.send, double_ratchet.advance, double_ratchet.derive, x3dh.respond, PeerRows.apply)
    before = [each.__code__ for each in watched]
    variant = CONTROLS[name].make()
    assert isinstance(variant, InProcessTarget)
    with variant._variant.patched():
        pass
    assert [each.__code__ for each in watched] == before


@pytest.mark.parametrize("name", WEAKENINGS)
def test_every_weakening_fits_the_specification(name: str) -> None:
    """Each names words that stand in the predicate, once, and says what it does not look at."""
    with edited(WEAKENINGS[name].edits):
        pass
    assert WEAKENINGS[name].what.endswith(".")
