#!/usr/bin/env bash
# Translates a split with a trained model and scores it with sacreBLEU against the raw reference.
#
# Usage: scripts/evaluate.sh --checkpoint FILE --data DIR [options] [fairseq-generate's flags...]
#
# Its flags are those of `fairseq-intra evaluate`, which this is, and
#   --python PATH      interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                      checkout, else python3)
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --python=*) python_flag=${1#*=}; shift ;;
    -h | --help) usage; passed=(--help); break ;;
    *) passed+=("$1"); shift ;;
  esac
done
find_python "$python_flag"
PYTHONSAFEPATH=1 exec "$python" -m fairseq_intra.cli evaluate "${passed[@]}"
