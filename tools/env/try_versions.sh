#!/usr/bin/env bash
# Runs the tests of what is plain PyTorch, and of the backbone, with other versions than those of `make test`.
#
#   tools/env/try_versions.sh FOLDER PYTHON TORCH [PACKAGE ...]
#   tools/env/try_versions.sh build/oldest python3.10 torch==2.6.0 numpy==1.26.0 pillow==10.1.0
#
# FOLDER becomes the environment; one that is there is used again. The compiled operators are those that lie in the checkout, whatever
# Python and torch built them: that one library serves all is part of what is tried. Further arguments of pytest go into PYTEST_ARGS.
set -euo pipefail
folder=$(realpath -m "$1") python=$2 torch=$3
packages=("${@:4}")
cd "$(dirname "$0")/../.."

TESTS=(tests/ops tests/tokenizer tests/features tests/embedding tests/encoder tests/structures tests/losses tests/converters tests/backbones
  tests/test_doctor.py)

if [ ! -e "$folder/complete" ]; then
  rm -rf "$folder"
  "$python" -m venv "$folder"
  pip=("$folder/bin/python" -m pip install -q --disable-pip-version-check)
  "${pip[@]}" "$torch" # alone and first, so that nothing else chooses the build
  "${pip[@]}" "$torch" "${packages[@]}" onedl-mmengine "opencv-python-headless<4.12" pytest pytest-xdist hypothesis scipy
  touch "$folder/complete"
fi
export PYTHONPATH=$PWD OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$folder/bin/python" -m dht_mm.doctor
"$folder/bin/python" -m pytest -q ${PYTEST_ARGS:-} "${TESTS[@]}"
