"""Refuse an artifact that its build provenance does not name: before a release is published.

    python -m tools.check_provenance --bundle FILE --repository OWNER/NAME --ref refs/tags/v1 ARTIFACT ...

The bundle is one that Sigstore made (JSON, one object or one a line), with an in-toto statement of SLSA provenance in
its envelope. Each artifact must be a subject of a statement by name and SHA-256, built from that repository and ref,
and no subject may be missing among the artifacts. The signature is not checked here, which needs the signers' roots:
the workflow lets `gh attestation verify` do that. Exit codes: 0 all are named, 1 something is not, 2 usage.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
PAYLOAD = "application/vnd.in-toto+json"
MAX_BYTES = 16 * 1024 * 1024
"""Bytes of a bundle: many times those of a release."""


class Refused(Exception):
    """The provenance is none, or is not that of these artifacts; one line says what is wrong."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description="refuse an artifact that its build provenance does not name")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--repository", required=True, metavar="OWNER/NAME")
    parser.add_argument("--ref", required=True)
    parser.add_argument("artifact", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    try:
        check(options.bundle, options.artifact, repository=options.repository, ref=options.ref)
    except Refused as error:
        print(f"provenance: refused: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"provenance: cannot read {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"provenance: it names all {len(options.artifact)} artifacts", file=sys.stderr)
    return 0


def check(bundle: Path, artifacts: Sequence[Path], *, repository: str, ref: str) -> None:
    """Hold artifacts to a provenance. Raises: Refused, OSError."""
    subjects: dict[str, str] = {}
    for statement in statements(bundle):
        source(statement, repository=repository, ref=ref)
        for name, digest in named(statement):
            if subjects.setdefault(name, digest) != digest:
                raise Refused(f"{name} has two digests")
    given = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in artifacts}
    if len(given) != len(artifacts):
        raise Refused("two artifacts have one name")
    for name, digest in given.items():
        if name not in subjects:
            raise Refused(f"{name} is not named by it")
        if subjects[name] != digest:
            raise Refused(f"{name} is another file than the one that was built")
    if missing := sorted(subjects.keys() - given.keys()):
        raise Refused(f"{missing[0]} was built, and is not here")


def statements(bundle: Path) -> list[dict[str, Any]]:
    """The statements of a bundle. Raises: Refused, OSError."""
    with bundle.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Refused(f"the bundle is longer than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8").strip()
        try:
            bundles = [json.loads(text)]
        except ValueError:
            bundles = [json.loads(line) for line in text.splitlines()]
        found = []
        for one in bundles:
            envelope = one["dsseEnvelope"]
            if envelope["payloadType"] != PAYLOAD or not envelope["signatures"]:
                raise Refused("the envelope is not a signed in-toto statement")
            found.append(json.loads(base64.b64decode(envelope["payload"], validate=True)))
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise Refused(f"the bundle is none: {type(error).__name__}") from None
    if not found:
        raise Refused("the bundle is empty")
    return found


def source(statement: dict[str, Any], *, repository: str, ref: str) -> None:
    """Hold a statement to where it must come from. Raises: Refused."""
    try:
        kinds = statement["_type"], statement["predicateType"]
        workflow = statement["predicate"]["buildDefinition"]["externalParameters"]["workflow"]
        where, at = workflow["repository"], workflow["ref"]
    except (KeyError, TypeError):
        raise Refused("it does not say what was built from what") from None
    if kinds != (STATEMENT, PROVENANCE):
        raise Refused("it is no SLSA provenance, version 1")
    if where != f"https://github.com/{repository}":
        raise Refused(f"it was built from {where!r:.100}")
    if at != ref:
        raise Refused(f"it was built at {at!r:.100}")


def named(statement: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and SHA-256 of each subject. Raises: Refused."""
    try:
        found = [(one["name"], one["digest"]["sha256"]) for one in statement["subject"]]
    except (KeyError, TypeError):
        raise Refused("a subject has no name or no SHA-256") from None
    if not found or not all(isinstance(part, str) for pair in found for part in pair):
        raise Refused("it names nothing")
    return found


if __name__ == "__main__":
    sys.exit(main())
