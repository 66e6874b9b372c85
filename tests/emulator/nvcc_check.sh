#!/usr/bin/env bash
# Compiles the kernel sources that the emulator runs with nvcc, for sm_80 and sm_90, warnings as errors: g++ cannot see a
# mistake in the text of an instruction. A kernel that spills registers fails too. Says so and succeeds where there is no
# nvcc. NVCC names the compiler.
set -euo pipefail

nvcc=${NVCC:-nvcc}
if ! command -v "$nvcc" >/dev/null; then
  echo "nvcc check: skipped, no nvcc on this machine"
  exit 0
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2046
set -- $(find csrc/cuda tests/emulator/kernels -name '*.cu' | sort)
for source in "$@"; do
  for arch in sm_80 sm_90; do
    "$nvcc" -std=c++20 --expt-relaxed-constexpr -arch="$arch" -Werror all-warnings -Xcompiler -Wall -Xptxas -v \
      -Icsrc -Itests -c "$source" -o "$work/object" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    if grep -E '[1-9][0-9]* bytes spill' "$work/log"; then
      echo "nvcc check: $source spills for $arch"
      exit 1
    fi
  done
done

echo "nvcc check: $# sources for sm_80 and sm_90"
