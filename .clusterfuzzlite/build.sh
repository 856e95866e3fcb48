#!/bin/bash -eu
# Build each entry point as one file, with its dictionary, its options and its corpus beside it. Run in the images of
# ClusterFuzzLite and OSS-Fuzz, which set SRC and OUT and bring compile_python_fuzzer. tests/fuzz/test_fleets.py runs it
# without them.
cd "$SRC/pawl"

# What the project is built with is locked too, so that nothing is fetched by its newest release.
if [ -z "${PAWL_INSTALLED:-}" ]; then
  python3 -m pip install --no-deps --require-hashes -r requirements/dev.txt
  python3 -m pip install --no-deps --no-build-isolation .
fi

# Entry points that need a program which the image has not are left out.
python3 - >"$OUT/entries.txt" <<'PYTHON'
from pawl_gate.fuzzing.entries import ENTRIES

for entry in ENTRIES.values():
    if not entry.needs:
        print(entry.name, entry.most_bytes)
PYTHON

while read -r name most_bytes; do
  if [ -n "${PAWL_ONLY:-}" ] && [ "$name" != "$PAWL_ONLY" ]; then continue; fi
  # Makers and their data are found by name when they are run, which PyInstaller cannot see.
  compile_python_fuzzer "fuzz/$name.py" --paths fuzz --copy-metadata pawl-signal \
    --collect-submodules pawl --collect-submodules pawl_spec \
    --collect-submodules pawl_gate.fuzzing --collect-submodules pawl_gate.engines \
    --collect-submodules pawl_gate.targets --collect-data pawl_gate
  printf '[libfuzzer]\nmax_len = %s\n' "$most_bytes" >"$OUT/$name.options"
  if [ -f "fuzz/$name.dict" ]; then cp "fuzz/$name.dict" "$OUT/"; fi
  if [ -d "corpus/$name" ]; then
    python3 -m zipfile -c "$OUT/${name}_seed_corpus.zip" "corpus/$name/"
  fi
done <"$OUT/entries.txt"
rm "$OUT/entries.txt"
