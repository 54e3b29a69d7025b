#!/usr/bin/env bash
# prepare-parallel.sh: sentence-aligned text, {train,valid,test}.{SRC,TGT}, to data for fairseq.
#
#   data-prep/prepare-parallel.sh --input TEXT --src de --tgt en --out DATA --lowercase --clean
#
# What each step makes is a folder in --out; README.md beside this script has their formats. Repeated, it resumes
# behind the last step that was finished; a finished folder is only checked.
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
  exec "$python" -m fairseq_intra.cli prepare parallel --help
fi

steps=(
  raw      # read as UTF-8, blank pairs of train left out; --clean by Moses' rule, --lowercase
  spm      # one SentencePiece model (unigram) of both sides of raw/train
  encoded  # its subwords of every split
  bin      # fairseq-preprocess, with one dictionary for both sides
)
exec "$python" -m fairseq_intra.cli prepare parallel --steps "${steps[*]}" "${flags[@]}"
