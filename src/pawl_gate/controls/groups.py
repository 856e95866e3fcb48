"""Groups: controls that break GRP."""

from __future__ import annotations

from pawl import Group
from pawl.group import cipher, own, sender_key
from pawl.group.own import OwnRows
from pawl.group.received import SenderRows
from pawl.storage.contract import Store, Table
from pawl.wire import group_messages
from pawl_gate.controls.atomicity import LateStore, OverwritingStore, PiecemealStore
from pawl_gate.controls.catalogue import control, slip
from pawl_gate.controls.edits import Edit
from pawl_gate.controls.variants import Patched
from pawl_gate.targets.passing import PassingStore, PassingTransaction
from pawl_gate.targets.variant import Variant

VERIFIED = "xeddsa.verify(chain.signing_key, message.signed, message.signature)"

# -- GRP-01 -----------------------------------------------------------------------------------------------------------

slip(
    "group-iteration-reused",
    "GRP-01",
    "One's own chain stays where it was after a message: the next one has the same key and IV.",
    Edit(
        sender_key.send,
        "SendingKey(chain_id, iteration + 1, ChainKey(next_key), signing)",
        "SendingKey(chain_id, iteration, chain_key, signing)",
    ),
)
slip(
    "group-chain-not-advanced",
    "GRP-01",
    "A chain on which a message came in order stays where it was.",
    Edit(
        sender_key.advance,
        "ReceivedChain(chain_id, signing_key, ChainKey(derived.chain_key), derived.iteration + 1, kept)",
        "chain",
    ),
)
slip(
    "group-skipped-keys-not-kept",
    "GRP-01",
    "The keys of group messages that were passed over are not kept.",
    Edit(sender_key.derive, "tuple(skipped))", "())"),
)
slip(
    "group-jump-bound-off-by-one",
    "GRP-01",
    "The largest jump on a group's chain that is allowed is refused.",
    Edit(sender_key.check_jump, "> MAX_FORWARD_JUMP", ">= MAX_FORWARD_JUMP"),
)
slip(
    "group-chain-known-by-its-id",
    "GRP-01",
    "A chain is taken for one that is held if it has the same id, with another signing key too.",
    Edit(
        sender_key.is_held, "each.chain_id == chain_id and each.signing_key == signing_key", "each.chain_id == chain_id"
    ),
)
slip(
    "group-earlier-iteration-unread",
    "GRP-01",
    "In the earlier layout every message of a group is taken for the first of its chain.",
    Edit(
        group_messages.decode_sender_key_message,
        "SenderKeyMessage(None, values[1], values[2], values[3]",
        "SenderKeyMessage(None, values[1], 0, values[3]",
    ),
)


@control("group-iteration-shared", "GRP-01")
class GroupIterationShared(Variant):
    """Two processes that send in a group at once both write their step: their messages share an iteration."""

    def store(self, durable: Store) -> Store:
        """A store in which the last writer wins."""
        return OverwritingStore(durable)


# -- GRP-02 -----------------------------------------------------------------------------------------------------------

slip(
    "group-signature-unchecked",
    "GRP-02",
    "The signature of a group message is not looked at.",
    Edit(cipher.open_message, VERIFIED, "pass"),
)
slip(
    "group-signature-checked-late",
    "GRP-02",
    "The signature of a group message is looked at when its keys are derived.",
    Edit(cipher.open_message, VERIFIED, "pass"),
    Edit(
        cipher.open_message,
        "    cipher_key, iv = kdf.group_message_keys(derived.seed)",
        f"    cipher_key, iv = kdf.group_message_keys(derived.seed)\n    {VERIFIED}",
    ),
)
slip(
    "group-signature-over-other-bytes",
    "GRP-02",
    "The signature is checked over the message written anew, not over the bytes received.",
    Edit(
        cipher.open_message,
        "message.signed, ",
        "encode_sender_key_body(distribution_id=message.distribution_id, chain_id=message.chain_id, "
        "iteration=message.iteration, ciphertext=message.ciphertext), ",
    ),
)

# -- GRP-03 -----------------------------------------------------------------------------------------------------------

slip(
    "group-chain-rewound",
    "GRP-03",
    "A distribution of a chain that is held takes it back to where it was given.",
    Edit(SenderRows.accept, "if same and held:", "if False:"),
    Edit(SenderRows.accept, "if held or self._is_retired(given):", "if self._is_retired(given):"),
)
slip(
    "group-chain-jumps-to-what-is-given",
    "GRP-03",
    "A distribution of a chain that is held puts it where the sender is, and what was passed over is not kept.",
    Edit(
        SenderRows.accept,
        "if same and held:",
        "if same and held and all(given.iteration <= each.iteration for each in self._keys.chains):",
    ),
    Edit(SenderRows.accept, "if held or self._is_retired(given):", "if self._is_retired(given):"),
)
slip(
    "group-retired-chain-forgotten",
    "GRP-03",
    "Which chains are gone is not looked up when a distribution comes: an old one begins anew.",
    Edit(SenderRows.accept, "if held or self._is_retired(given):", "if held:"),
    Edit(
        SenderRows._remember_retired,
        'self._tx.put(Table.RETIRED_SENDER_KEY, key, b"", version=0)',
        "pass",
    ),
    Edit(SenderRows._remember_retired, "if row is not None:", "if False:"),
)

# -- GRP-04 -----------------------------------------------------------------------------------------------------------

CREATED = "sender_key.create(self._rng, None if former is None else former.sending)"

slip(
    "group-rotation-keeps-the-chain",
    "GRP-04",
    "Whoever rotates goes on with the chain that the removed member has.",
    Edit(OwnRows.rotate, CREATED, "sender_key.create(self._rng) if former is None else former.sending"),
)
slip(
    "group-rotation-keeps-the-chain-key",
    "GRP-04",
    "A rotation makes a new id and signing key, and goes on with the chain key that the removed member has.",
    Edit(
        OwnRows.rotate,
        CREATED,
        f"{CREATED} if former is None else {CREATED}._replace(chain_key=former.sending.chain_key)",
    ),
)
slip(
    "group-rotation-steps-the-chain-key",
    "GRP-04",
    "The key of a new chain is made from that of the one before, which the removed member has.",
    Edit(
        OwnRows.rotate,
        CREATED,
        f"{CREATED} if former is None else sender_key.send({CREATED}._replace("
        "chain_key=former.sending.chain_key))[0]._replace(iteration=0)",
    ),
)

# -- GRP-05 -----------------------------------------------------------------------------------------------------------

slip(
    "group-senders-not-told-apart",
    "GRP-05",
    "The chains of all senders of a group are kept in one place: one member's message is taken for another's.",
    Edit(SenderRows.__init__, "address_key(sender)", "bytes([0, 1, 120, 1])"),
)
slip(
    "group-of-a-message-unchecked",
    "GRP-05",
    "The distribution id in a message is not compared with the group's.",
    Edit(Group._check_named, "if distribution_id != self._named:", "if False:"),
)
slip(
    "group-chain-outlives-the-identity",
    "GRP-05",
    "The chains that came under an identity which was replaced since still read messages.",
    Edit(SenderRows.chains, "if not sender_key.is_same(self._keys.identity, self._identity):", "if False:"),
)

# -- GRP-06 -----------------------------------------------------------------------------------------------------------


class _KeepsGroupKeys(PassingTransaction):
    def delete(self, table: Table, key: bytes, *, version: int) -> None:
        if table is not Table.KEPT_GROUP_KEY:
            super().delete(table, key, version=version)
        elif (row := super().get(table, key)) is not None:
            # Something is written, so that what is wrong is the key alone.
            super().put(table, key, row.value, version=version)


@control("group-kept-key-not-deleted", "GRP-06")
class GroupKeptKeyNotDeleted(Variant):
    """A kept key of a group is not deleted when it was used."""

    def store(self, durable: Store) -> Store:
        """A store that forgets to delete kept keys of groups."""
        return PassingStore(durable, _KeepsGroupKeys)


@control("group-kept-keys-unbounded", "GRP-06")
class GroupKeptKeysUnbounded(Patched):
    """More keys are kept in a chain of a group than stated."""

    patches = (
        ("pawl.group.sender_key.MAX_SKIPPED_KEYS_PER_CHAIN", 3_000),
        ("pawl.wire.group_records.MAX_SKIPPED_KEYS_PER_CHAIN", 3_000),
    )


@control("group-chains-unbounded", "GRP-06")
class GroupChainsUnbounded(Patched):
    """More chains of one sender are held than stated."""

    patches = (
        ("pawl.group.sender_key.MAX_SENDER_KEY_CHAINS", 50),
        ("pawl.wire.group_records.MAX_SENDER_KEY_CHAINS", 50),
    )


slip(
    "group-jump-twice-as-far",
    "GRP-06",
    "The distance to the next expected iteration may be twice what is stated.",
    Edit(sender_key.check_jump, "> MAX_FORWARD_JUMP", "> 2 * MAX_FORWARD_JUMP"),
)


@control("group-step-committed-late", "GRP-06")
class GroupStepCommittedLate(Variant):
    """A group message is handed out before the chain that made it is durable."""

    def store(self, durable: Store) -> Store:
        """A store that commits when the next transaction begins."""
        return LateStore(durable)


@control("group-step-half-written", "GRP-06")
class GroupStepHalfWritten(Variant):
    """The chain, the keys that are kept and the memory of what is gone are written one after the other."""

    def store(self, durable: Store) -> Store:
        """A store without transactions."""
        return PiecemealStore(durable)


# -- GRP-04, through sessions -----------------------------------------------------------------------------------------

slip(
    "group-chain-given-to-the-removed",
    "GRP-04",
    "A member who was removed is given the new chain like the others.",
    Edit(
        OwnRows.set_members,
        "self._tx.delete(Table.GROUP_MEMBER, self._key(address), version=there[address][1])",
        "pass",
    ),
)
slip(
    "group-removal-does-not-rotate",
    "GRP-04",
    "When a member is removed, the chain that it has is used on.",
    Edit(OwnRows.set_members, "if had_it:", "if False:"),
)
slip(
    "group-chain-given-once",
    "GRP-04",
    "A chain that was once given to a member is taken to have come.",
    Edit(own._has, "member.delivered and ", ""),
)
slip(
    "group-identity-of-a-member-not-looked-at",
    "GRP-04",
    "A member who has the chain under an identity that was replaced is no reason for a new one.",
    Edit(OwnRows._looked_at, "group.replaced == replaced", "True"),
)
