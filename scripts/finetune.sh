#!/usr/bin/env bash
# Fine-tunes a checkpoint on one task of classes or numbers: plain, or with intra-distillation. All else is the same.
#
# Usage: scripts/finetune.sh --data DIR --checkpoint FILE --method METHOD --out DIR [options] [fairseq-train's flags...]
#
# It is `fairseq-intra finetune` of this checkout, whose --help has the options, and with --python PATH another
# interpreter (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else python3).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command finetune "$@"
