#!/usr/bin/env python3
"""A driver that answers at once: it makes no key and reads no JSON, so that what is timed is the gate and the pipes.

What it says has the form of a session's messages, its plaintext in the place of the ciphertext, so that the gate finds
in it all that it looks for. It keeps to the driver contract as far as honest traces go.
"""

from __future__ import annotations

import json
import os

HELLO = {
    "name": "instant",
    "version": "1",
    "protocol": 1,
    "message_versions": [3],
    "level": 1,
    "capabilities": ["restart", "reinstall", "approve"],
    "limits": {
        "forward_jump": 2000,
        "kept_per_chain": None,
        "kept_per_session": None,
        "receiving_chains": None,
        "archived_sessions": None,
        "derivations_per_message": None,
    },
    "profile": {"promotes": "never", "closes_chains": True},
}

KEY = "05" + "11" * 32
COUNTS = '"prekeys":[1],"signed_prekeys":[1],"sessions":0,"chains":1,"kept_chain":0,"kept_session":0,"durable":true'
STATE = '{"digest":"' + "22" * 32 + '",' + COUNTS + "}"
BUNDLE = (
    f'"registration_id":7,"device_id":1,"identity_key":"{KEY}","signed_prekey_id":1,"signed_prekey":"{KEY}",'
    f'"signature":"{"33" * 64}","prekey_id":%s,"prekey":%s'
)

# Version, ratchet key, counter 0, previous counter 0, and the field of the ciphertext; its MAC behind it.
HEAD = "330a21" + KEY + "1000180022"
MAC = "44" * 8


def between(line: str, begin: str, end: str) -> str:
    """What stands between two texts; empty where they are not there."""
    _, found, rest = line.partition(begin)
    return rest.partition(end)[0] if found else ""


def sent(plaintext: str) -> str:
    """The message of a plaintext, both as hex. The length takes one byte up to 127, else two."""
    size = len(plaintext) // 2
    length = f"{size:02x}" if size < 128 else f"{size & 127 | 128:02x}{size >> 7:02x}"
    return HEAD + length + plaintext + MAC


def read(data: str) -> str | None:
    """The plaintext of a message; None where it is none of ours."""
    if not data.startswith(HEAD) or not data.endswith(MAC):
        return None
    body = data[len(HEAD) : -len(MAC)]
    skip = 4 if int(body[:2] or "0", 16) > 127 else 2
    return body[skip:]


def answer(line: str) -> str:
    """The answer, but for its id."""
    verb = between(line, '"method":"', '"')
    party = between(line, '"party":', ",").rstrip("}")
    state = f'"state":{{"{party}":{STATE}}}'
    match verb:
        case "encrypt":
            data = sent(between(line, '"plaintext":"', '"'))
            return f'"result":{{"kind":"signal","data":"{data}",{state}}}'
        case "decrypt":
            text = read(between(line, '"data":"', '"'))
            if text is None:
                return f'"error":{{"code":-32000,"message":"no","data":{{"refusal":"bad-mac",{state}}}}}'
            return f'"result":{{"plaintext":"{text}",{state}}}'
        case "establish" | "approve" | "restart":
            return f'"result":{{{state}}}'
        case "bundle":
            prekey = ("1", f'"{KEY}"') if '"one_time":true' in line else ("null", "null")
            return f'"result":{{{BUNDLE % prekey},{state}}}'
        case "create" | "reinstall":
            return f'"result":{{"identity_key":"{KEY[:-2]}{int(party):02x}",{state}}}'
        case "observe":
            return f'"result":{STATE}'
        case "reset":
            return '"result":{}'
        case "hello":
            return f'"result":{json.dumps(HELLO)}'
    return '"error":{"code":-32601,"message":"no such verb"}'


def main() -> None:
    """Answer until stdin ends."""
    held = b""
    while chunk := os.read(0, 1 << 16):
        held += chunk
        if not held.endswith(b"\n"):
            continue
        for line in held.decode().splitlines():
            number = between(line, '"id":', ",")
            os.write(1, f'{{"jsonrpc":"2.0","id":{number},{answer(line)}}}\n'.encode())
        held = b""


if __name__ == "__main__":
    main()
