"""How much a step derives, counted while it runs."""

from __future__ import annotations

from pawl.crypto import kdf


class Work:
    """How many chain steps and key derivations an operation caused: calls of `pawl.crypto.kdf` in a `with` block."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        # Whatever is there now: a broken variant may have put something else in its place.
        self._real = kdf.step_chain, kdf.root_step, kdf.message_keys, kdf.group_message_keys
        step_chain, root_step, message_keys, group_message_keys = self._real

        def counted_step_chain(chain_key: bytes) -> tuple[bytes, bytes]:
            self.count += 1
            return step_chain(chain_key)

        def counted_root_step(root_key: bytes, shared_secret: bytes) -> tuple[bytes, bytes]:
            self.count += 1
            return root_step(root_key, shared_secret)

        def counted_message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
            self.count += 1
            return message_keys(seed)

        def counted_group_message_keys(seed: bytes) -> tuple[bytes, bytes]:
            self.count += 1
            return group_message_keys(seed)

        kdf.step_chain, kdf.root_step, kdf.message_keys = counted_step_chain, counted_root_step, counted_message_keys
        kdf.group_message_keys = counted_group_message_keys

    def __exit__(self, *error: object) -> None:
        kdf.step_chain, kdf.root_step, kdf.message_keys, kdf.group_message_keys = self._real
