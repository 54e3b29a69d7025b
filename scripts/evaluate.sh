#!/usr/bin/env bash
# Translates a split with a trained model and scores it with sacreBLEU against the raw reference.
#
# Usage: scripts/evaluate.sh --checkpoint FILE --data DIR [options] [fairseq-generate's flags...]
#
#   --checkpoint FILE  the model, as fairseq-train saved it
#   --data DIR         dataset made by data-prep/
#   --split NAME       valid or test (default: test)
#   --wmt-set NAME     instead a test set of WMT by sacreBLEU's name, such as wmt14/full: its source text, which the
#                      dataset's SentencePiece model cuts, against its reference; downloaded to sacreBLEU's cache
#   --metrics LIST     bleu, and with it any of chrf and ter, as one word (default: "bleu chrf")
#   --average N        evaluate the mean of the last N numbered checkpoints in FILE's folder instead
#   --beam N           beam size (default: 5)
#   --lenpen X         length penalty (default: 1)
#   --max-tokens N     source tokens a batch (default: 8000)
#   --python PATH      interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                      checkout, else python3)
#
# Prints the scores with their signatures. Beside the checkpoint it leaves NAME.SPLIT.json (scores and how they were
# made), .hyp (the hypotheses, in the order of the split) and .ref (the reference); for a WMT set SPLIT is its name,
# with _ in place of /. Sentences are translated in batches of equal length, sorted over the whole split.
# SACREBLEU is the folder of sacreBLEU's cache (default: ~/.sacrebleu).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

checkpoint='' data='' split='' wmt_set='' metrics='bleu chrf' average='' beam=5 lenpen=1 max_tokens=8000 python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --checkpoint) need_value "$@"; checkpoint=$2; shift 2 ;;
    --data) need_value "$@"; data=$2; shift 2 ;;
    --split) need_value "$@"; split=$2; shift 2 ;;
    --wmt-set) need_value "$@"; wmt_set=$2; shift 2 ;;
    --metrics) need_value "$@"; metrics=$2; shift 2 ;;
    --average) need_value "$@"; average=$2; shift 2 ;;
    --beam) need_value "$@"; beam=$2; shift 2 ;;
    --lenpen) need_value "$@"; lenpen=$2; shift 2 ;;
    --max-tokens) need_value "$@"; max_tokens=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --checkpoint=* | --data=* | --split=* | --wmt-set=* | --metrics=* | --average=* | --beam=* | --lenpen=* | \
      --max-tokens=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $checkpoint ]] || die "--checkpoint is missing: the model's file"
[[ -f $checkpoint ]] || die "--checkpoint $checkpoint: no such file"
need_dataset --data "$data"
[[ -z $wmt_set || -z $split ]] || die "--split and --wmt-set exclude each other"
split=${split:-test}
[[ $split == valid || $split == test ]] || die "--split must be valid or test, not '$split'"
need_count --beam "$beam"
need_count --max-tokens "$max_tokens"
[[ $lenpen =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--lenpen must be a number of at least 0, not '$lenpen'"
[[ $metrics =~ ^(bleu|chrf|ter)( (bleu|chrf|ter))*$ && $metrics == *bleu* ]] ||
  die "--metrics must be bleu, and with it any of chrf and ter, not '$metrics'"
[[ -z $average ]] || need_count --average "$average"
find_python "$python_flag"
# Started by a worker of torchrun or srun, fairseq-interactive would wait for the other workers.
unset WORLD_SIZE RANK LOCAL_RANK MASTER_ADDR MASTER_PORT SLURM_STEP_NODELIST SLURM_JOB_NODELIST

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

common=(--user-dir "$checkout/fairseq_intra" "${device[@]}" --path "$checkpoint" --beam "$beam" --lenpen "$lenpen"
  --max-tokens "$max_tokens")
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
if [[ -n $wmt_set ]]; then
  split=$wmt_set
  source_text=$("$python" -m fairseq_intra.cli wmt-source --wmt-set "$wmt_set" --data "$data")
  # As large a buffer as any set: it is what fairseq-interactive sorts by length.
  command=(-m fairseq_cli.interactive "$data/bin" "${common[@]}" --input "$source_text" --buffer-size 1000000
    --bpe sentencepiece --sentencepiece-model "$data/spm/joint.model" "${passed[@]}")
  generated=$scratch/log
else
  command=(-m fairseq_cli.generate "$data/bin" "${common[@]}" --gen-subset "$split" --post-process sentencepiece
    --no-progress-bar --results-path "$scratch" "${passed[@]}")
  generated=$scratch/generate-$split.txt
fi
say "translating $split with $checkpoint"
"$python" "${command[@]}" >"$scratch/log" 2>&1 ||
  die "fairseq-${command[1]#fairseq_cli.} failed: $(grep -v '^ ' "$scratch/log" | tail -n 1)"
"$python" -m fairseq_intra.cli score --generated "$generated" --data "$data" --split "$split" \
  --checkpoint "$checkpoint" --beam "$beam" --lenpen "$lenpen" --metrics "$metrics" --flags="${passed[*]}" \
  --output "${checkpoint%.pt}.${split//\//_}"
