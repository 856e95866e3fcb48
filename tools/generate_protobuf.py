#!/usr/bin/env python3
"""Generate the protobuf code of `pawl.wire` from its schemas; with --check, prove that what is there is what comes out.

Needs grpcio-tools and mypy-protobuf, in the locked versions. Exit codes: 0 written or up to date, 1 out of date,
2 usage, 3 the generator failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"
WIRE = Path("pawl/wire")
SCHEMAS = ("signal", "records")
SUFFIXES = ("_pb2.py", "_pb2.pyi")


def generate(into: Path) -> None:
    """Write the generated files below the folder `into`. Raises: CalledProcessError."""
    # protoc looks for its plug-in on PATH; it lies beside this interpreter.
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"--proto_path={SOURCES}",
            f"--plugin=protoc-gen-mypy={plugin}",
            f"--python_out={into}",
            f"--mypy_out=quiet:{into}",
            *(str(SOURCES / WIRE / f"{schema}.proto") for schema in SCHEMAS),
        ],
        check=True,
    )


def outdated(fresh: Path) -> list[str]:
    """The generated files that are missing or differ from those below `fresh`."""
    names = [f"{schema}{suffix}" for schema in SCHEMAS for suffix in SUFFIXES]
    return [
        name
        for name in names
        if not (SOURCES / WIRE / name).is_file()
        or (SOURCES / WIRE / name).read_bytes() != (fresh / WIRE / name).read_bytes()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is out of date")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            generate(SOURCES)
            return 0
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder))
            names = outdated(Path(folder))
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the generator failed: {error}", file=sys.stderr)
        return 3
    for name in names:
        print(f"src/{WIRE / name} is not what its schema generates: run tools/generate_protobuf.py")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
