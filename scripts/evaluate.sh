#!/usr/bin/env bash
# Translates splits with a trained model and scores them with sacreBLEU against the raw reference.
#
# Usage: scripts/evaluate.sh --checkpoint FILE --data DIR [options] [fairseq-generate's flags...]
#
# Its flags are those of `fairseq-intra evaluate`, which this is, and
#   --python PATH      interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                      checkout, else python3)
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command evaluate "$@"
