#!/usr/bin/env bash
# Run the Technology Compatibility Kit of A2A against a gateway and a worker: PYTHON is that of the project.
#
# The kit is no package: a git repository gives it at a pinned commit. A2A_TCK_SOURCE names another copy of it. Without
# one that can be reached, the kit is left out by name.
set -euo pipefail
cd "$(dirname "$0")/.."

COMMIT=357c4a87afa2818731590647cccbea31c31733a2 # branch 1.0-dev, the branch for A2A 1.0; the tags are of 0.3
SOURCE=${A2A_TCK_SOURCE:-https://github.com/a2aproject/a2a-tck}
KIT=$PWD/build/a2a-tck
PYTHON=${1:?the interpreter of the project}

if [ "$(git -C "$KIT" rev-parse HEAD 2>/dev/null)" != "$COMMIT" ]; then
  rm -rf "$KIT"
  git init --quiet "$KIT"
  if ! GIT_TERMINAL_PROMPT=0 git -C "$KIT" fetch --quiet --depth 1 "$SOURCE" "$COMMIT"; then
    rm -rf "$KIT"
    echo "skipped: the compatibility kit of A2A, because $SOURCE does not answer; A2A_TCK_SOURCE names another copy" >&2
    exit 0
  fi
  git -C "$KIT" checkout --quiet FETCH_HEAD
fi
if [ ! -e "$KIT/.venv/.installed" ]; then
  "$PYTHON" -m venv --clear "$KIT/.venv"
  "$KIT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check "$KIT"
  touch "$KIT/.venv/.installed"
fi
A2A_TCK=$KIT TCK_PYTHON=$KIT/.venv/bin/python TCK_REPORT=$PWD/build/a2a-tck-report \
  "$PYTHON" -m pytest -n 0 tests/conformance
