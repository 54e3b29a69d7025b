#!/usr/bin/env bash
# All measurements on one GPU: tests, kernels, loss, steps, memory, launches, largest batches, trainings.
#
# Usage: benchmarks/gpu.sh --out DIR [options]
#
#   --out DIR          each figure a JSON file; repeated, it resumes, and prints the tables for benchmarks/README.md
#   --minutes N        starts nothing new after so many (default: 9)
#   --parts PART...    only these: tests launch loss step host largest training (default: all)
#   --rounds N         timed rounds, after one to warm up (default: 9)
#   --data DATASET...  to train on, as prepare-parallel.sh makes them (default: no trainings)
#   --preset PRESET    of these trainings, as for scripts/train.sh (default: paper)
#   --updates N        of each of these trainings (default: 4000)
#   --rehearse         every part on the CPU with tiny sizes
#
# FAIRSEQ_INTRA_PYTHON is the interpreter (default: .venv of the checkout, else python3).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"
for word; do
  case $word in
    --rehearse) export TRITON_INTERPRET=1 ;;
    --help | -h) usage; exit ;;
  esac
done
find_python
exec "$python" "$checkout/benchmarks/gpu.py" "$@"
