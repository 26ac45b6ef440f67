#!/usr/bin/env bash
# Runs Python on CPU kernels built with AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of the checkout: tests or random cases.
#
#     tools/ops/sanitize.sh PYTHON -m pytest --capture=sys -p no:cacheprovider tests/ops
#     tools/ops/sanitize.sh PYTHON -W ignore tests/fuzz/run_fuzz.py --seconds 600 --leak-mb 1000
#
# pytest must not catch what the sanitizers print. They keep what was freed for a while, which run_fuzz.py would take for a leak.
set -euo pipefail

python=$(command -v "$1")
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
shift
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/main"
cp -r dht_mm tests tools pyproject.toml "$copy/main"
if [ -d ../shared ]; then ln -s "$(cd ../shared && pwd)" "$copy/shared"; fi
cd "$copy/main"

export CUDA_VISIBLE_DEVICES=
CXX=g++ CXXFLAGS='-g -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS
  -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all' "$python" tools/ops/build_library.py

# The sanitizer must come before everything else in the process, together with the library whose exceptions it watches. Python and
# torch keep memory until the end on purpose, so leaks are not looked for. A size beyond all memory is torch's to refuse.
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export DHT_MM_OPS_BACKEND=auto OMP_NUM_THREADS=2
"$python" "$@"
