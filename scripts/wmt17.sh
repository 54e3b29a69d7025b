#!/usr/bin/env bash
# WMT'17 English-German: trains one model, plain or with intra-distillation, and scores it on WMT's test sets.
#
# Usage: scripts/wmt17.sh --data DIR --method METHOD --out DIR [options] [train.sh's flags...]
#
#   --data DIR        dataset made by data-prep/prepare-wmt17-en-de.sh
#   --method METHOD   plain, rdrop (R-Drop), intra or late
#   --out DIR         the run, as of scripts/train.sh
#   --size SIZE       base: transformer_wmt_en_de, 100,000 updates (default); big: transformer_vaswani_wmt_en_de_big
#   --wmt-sets LIST   test sets by sacreBLEU's names, as a quoted list (default: "wmt14/full wmt17")
#   --average N       evaluate the mean of the last N checkpoints (default: 5)
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# All other flags go to train.sh: --batch-tokens N (default: 32768), --max-tokens N, --updates N, --seed N, --dry-run.
# The batch is what it is on any number of GPUs; a number that does not divide it is rejected. On one machine:
#
#   scripts/wmt17.sh --data DATA --method intra --out RUN
#
# On several, the same command on each by torchrun (here two of 8 GPUs; HOST is one of them):
#
#   torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --no-python \
#     scripts/wmt17.sh --data DATA --method intra --out RUN
#
# or once by Slurm, with a task for each GPU; DATA and RUN lie where all machines see them:
#
#   srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 --kill-on-bad-exit=1 \
#     scripts/wmt17.sh --data DATA --method intra --out RUN
#
# Both methods beside each other: fairseq-intra table RUNS/*/checkpoints/average5.wmt*.json
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

out='' size=base wmt_sets='wmt14/full wmt17' average=5 python_flag='' data='' dry_run='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --data=* | --out=* | --size=* | --wmt-sets=* | --average=* | --python=*)
      set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --data) need_value "$@"; data=$2; passed+=("$1" "$2"); shift 2 ;;
    --out) need_value "$@"; out=$2; passed+=("$1" "$2"); shift 2 ;;
    --size) need_value "$@"; size=$2; shift 2 ;;
    --wmt-sets) need_value "$@"; wmt_sets=$2; shift 2 ;;
    --average) need_value "$@"; need_count "$@"; average=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --dry-run) dry_run=1; passed+=("$1"); shift ;;
    --help | -h) usage; exit ;;
    --preset | --preset=*) die "--preset follows from --size" ;;
    *) passed+=("$1"); shift ;;
  esac
done
case $size in
  base) preset=wmt ;;
  big) preset=wmt-big ;;
  *) die "--size must be base or big, not '$size'" ;;
esac
find_python "$python_flag"
export FAIRSEQ_INTRA_PYTHON=$python

pass_signals "$checkout/scripts/train.sh" --preset "$preset" ${passed[@]+"${passed[@]}"}
# Of the workers that torchrun or srun started, the first scores.
if [[ -n $dry_run || ${RANK:-${SLURM_PROCID:-0}} != 0 ]]; then exit; fi
for wmt_set in $wmt_sets; do
  scored=$out/checkpoints/average$average.${wmt_set//\//_}.json
  if [[ -f $scored ]]; then
    say "$wmt_set is scored: $scored"
    continue
  fi
  pass_signals "$checkout/scripts/evaluate.sh" --checkpoint "$out/checkpoints/checkpoint_best.pt" --data "$data" \
    --average "$average" --wmt-set "$wmt_set"
done
