#!/usr/bin/env bash
# All measurements on one GPU: tests, kernels, loss, steps, memory, launches, largest batches, trainings.
#
# Usage: benchmarks/gpu.sh --out DIR [--minutes 9] [--parts PART...] [--data DATASET...] [--updates N] [--rehearse]
#
# Repeated, it resumes; each figure is a JSON file in DIR. At the end of
# each call it prints the tables for benchmarks/README.md. --parts does only these: tests, launch, loss, step,
# host, largest, training. --rehearse does every part on the CPU with tiny sizes. FAIRSEQ_INTRA_PYTHON is the
# interpreter (default: .venv of the checkout, else python3).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"
find_python
for word; do
  if [[ $word == --rehearse ]]; then export TRITON_INTERPRET=1; fi
done
exec "$python" "$checkout/benchmarks/gpu.py" "$@"
