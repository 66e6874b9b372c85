#!/usr/bin/env bash
# Checks everything that needs a GPU, on a machine that has one and no network: bench/gpu_check.sh --part build|test|bench
# [--out FOLDER]. PYTHON names the interpreter. bench/README.md tells more; the steps are in bench/gpu_check.py.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
for toolkit in "${CUDA_HOME:-}" /usr/local/cuda; do
  if [ -n "$toolkit" ] && [ -d "$toolkit/bin" ]; then PATH=$PATH:$toolkit/bin; fi
done
export PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_OFFLINE=1
exec "${PYTHON:-python3}" -m bench.gpu_check "$@"
