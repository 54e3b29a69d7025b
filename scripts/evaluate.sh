#!/usr/bin/env bash
# Translates a split with a trained model and scores it with sacreBLEU against the raw reference.
#
# Usage: scripts/evaluate.sh --checkpoint FILE --data DIR [options] [fairseq-generate's flags...]
#
#   --checkpoint FILE  the model, as fairseq-train saved it
#   --data DIR         dataset made by data-prep/
#   --split NAME       valid or test (default: test)
#   --average N        evaluate the mean of the last N numbered checkpoints in FILE's folder instead
#   --beam N           beam size (default: 5)
#   --lenpen X         length penalty (default: 1)
#   --max-tokens N     source tokens a batch (default: 8000)
#   --python PATH      interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                      checkout, else python3)
#
# Prints BLEU and chrF with their signatures. Beside the checkpoint it leaves NAME.SPLIT.json (scores and
# how they were made), .hyp (the hypotheses, in the order of the split) and .ref (the reference).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

checkpoint='' data='' split=test average='' beam=5 lenpen=1 max_tokens=8000 python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --checkpoint) need_value "$@"; checkpoint=$2; shift 2 ;;
    --data) need_value "$@"; data=$2; shift 2 ;;
    --split) need_value "$@"; split=$2; shift 2 ;;
    --average) need_value "$@"; average=$2; shift 2 ;;
    --beam) need_value "$@"; beam=$2; shift 2 ;;
    --lenpen) need_value "$@"; lenpen=$2; shift 2 ;;
    --max-tokens) need_value "$@"; max_tokens=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --checkpoint=* | --data=* | --split=* | --average=* | --beam=* | --lenpen=* | --max-tokens=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $checkpoint ]] || die "--checkpoint is missing: the model's file"
[[ -f $checkpoint ]] || die "--checkpoint $checkpoint: no such file"
need_dataset --data "$data"
[[ $split == valid || $split == test ]] || die "--split must be valid or test, not '$split'"
need_count --beam "$beam"
need_count --max-tokens "$max_tokens"
[[ $lenpen =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--lenpen must be a number of at least 0, not '$lenpen'"
[[ -z $average ]] || need_count --average "$average"
find_python "$python_flag"

if [[ -n $average ]]; then
  folder=$(dirname -- "$checkpoint")
  checkpoint=$folder/average$average.pt
  "$python" -m fairseq_intra.cli average --last "$average" --folder "$folder" --output "$checkpoint"
fi
device=()
if [[ $(gpu_count) == 0 ]]; then
  device=(--cpu)
  tune_cpu
fi

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
say "translating $split with $checkpoint"
"$python" -m fairseq_cli.generate "$data/bin" --user-dir "$checkout/fairseq_intra" "${device[@]}" \
  --path "$checkpoint" --gen-subset "$split" --beam "$beam" --lenpen "$lenpen" --max-tokens "$max_tokens" \
  --post-process sentencepiece --no-progress-bar --results-path "$scratch" "${passed[@]}" >"$scratch/log" 2>&1 ||
  die "fairseq-generate failed: $(grep -v '^ ' "$scratch/log" | tail -n 1)"
"$python" -m fairseq_intra.cli score --generated "$scratch/generate-$split.txt" --data "$data" --split "$split" \
  --checkpoint "$checkpoint" --beam "$beam" --lenpen "$lenpen" --flags="${passed[*]}" \
  --output "${checkpoint%.pt}.$split"
