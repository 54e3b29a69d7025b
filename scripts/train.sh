#!/usr/bin/env bash
# Trains one translation model: plain, with intra-distillation, or from a teacher. All else is the same for each.
#
# Usage: scripts/train.sh --data DIR --method METHOD --out DIR [options] [fairseq-train's flags...]
#
# It is `fairseq-intra train` of this checkout, whose --help has the options, and with --python PATH another interpreter
# (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else python3).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command train "$@"
