#!/usr/bin/env bash
# prepare-glue.sh: one of GLUE's tasks, or one's own in the same layout, to data for fairseq's sentence_prediction.
#
#   data-prep/prepare-glue.sh --input GLUE/RTE --vocabulary roberta.base --out DATA
#
# Nothing is downloaded. Lines with another number of columns than the first are left out and counted. Repeated, a
# finished folder is left as it is; one that was made from other files is rejected.
# --python PATH is the Python that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else python3).

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

python_given='' help='' flags=()
while (($#)); do
  case $1 in
    --python) need_value "$@"; python_given=$2; shift 2 ;;
    --python=*) python_given=${1#*=}; shift ;;
    --help | -h) help=1; shift ;;
    *) flags+=("$1"); shift ;;
  esac
done
find_python "$python_given"
if [[ -n $help ]]; then
  usage
  exec "$python" -m fairseq_intra.cli prepare glue --help
fi

# The texts in the encoder's subwords, the labels, both by fairseq-preprocess.
exec "$python" -m fairseq_intra.cli prepare glue "${flags[@]}"
