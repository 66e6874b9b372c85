#!/usr/bin/env bash
# Compiles the kernel sources that the emulator runs with nvcc, for sm_80 and sm_90, warnings as errors: g++ cannot see a
# mistake in the text of an instruction. A kernel that spills more than nvcc_allowed.txt grants it fails too. Says so and
# succeeds where there is no nvcc. NVCC names the compiler.
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
    awk -v arch="$arch" -v source="$source" '
      FNR == NR { if ($1 == arch) allowed[$2] = $3; next }
      /Compiling entry function/ { split($0, part, "\x27"); kernel = part[2] }
      /bytes spill stores/ {
        bytes = 0
        for (i = 2; i < NF; ++i) if ($(i + 2) == "spill" && $i + 0 > bytes) bytes = $i + 0
        limit = 0
        for (name in allowed) if (index(kernel, name)) limit = allowed[name]
        if (bytes > limit) { print "nvcc check: " source " spills " bytes " bytes for " arch ": " kernel; bad = 1 }
      }
      END { exit bad }' tests/emulator/nvcc_allowed.txt "$work/log" || exit 1
  done
done

echo "nvcc check: $# sources for sm_80 and sm_90"
