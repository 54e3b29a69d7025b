#!/usr/bin/env bash
# Fine-tunes a checkpoint on one task of classes or numbers: plain, or with intra-distillation. All else is the same.
#
# Usage: scripts/finetune.sh --data DIR --checkpoint FILE --method METHOD --out DIR [options] [fairseq-train's flags...]
#
#   --data DIR         a task, as data-prep/prepare-glue.sh makes it
#   --checkpoint FILE  a model that fairseq can fine-tune, such as model.pt of the archive roberta.base; none: the
#                      model is trained from scratch
#   --method METHOD    plain, or intra: K = 3, alpha = 1
#   --out DIR          the run: arguments.txt, run.json, train.log, checkpoints/checkpoint_best.pt
#   --epochs N         epochs (default: 10)
#   --seed N           random seed (default: 1)
#   --dry-run          print the command for fairseq-train, and do nothing
#   --python PATH      interpreter that has fairseq (default: as scripts/train.sh)
#
# All other flags go to fairseq-train and win: --arch roberta_large --lr 2e-5, and --alpha 1.5 --adaptive-alpha 1
# --div JS, which are left out with --method plain; with --method intra also --freeze-encoder. The rest is RoBERTa's
# recipe: roberta_base, dropout 0.1, weight decay 0.1, a learning rate that falls to 0 after 6 % of warm-up, the task's
# batch and rate. One GPU, or the CPU; fp16 on a GPU. Repeated, an interrupted run goes on and a finished one is left
# alone. checkpoint_best.pt is the epoch best on the dev set.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

data='' checkpoint='' method='' out='' epochs=10 seed=1 dry_run='' python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) need_value "$@"; data=$2; shift 2 ;;
    --checkpoint) need_value "$@"; checkpoint=$2; shift 2 ;;
    --method) need_value "$@"; method=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --epochs) need_value "$@"; need_count "$@"; epochs=$2; shift 2 ;;
    --seed) need_value "$@"; seed=$2; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --data=* | --checkpoint=* | --method=* | --out=* | --epochs=* | --seed=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $out ]] || die "--out is missing: the folder of the run"
need_dataset --data "$data"
need_seed --seed "$seed"
[[ -z $checkpoint || -f $checkpoint ]] || die "--checkpoint $checkpoint: no such file"
case $method in
  plain) method_flags=(--task sentence_prediction --criterion sentence_prediction) ;;
  intra) method_flags=(--task sentence_prediction_intra_distillation
    --criterion intra_distillation_sentence_prediction --num-iter 3 --alpha 1) ;;
  *) die "--method must be plain or intra, not '$method'" ;;
esac
[[ $method == intra ]] || drop_method_flags "${passed[@]}"
find_python "$python_flag"

read -r task metric regression classes examples batch rate < <("$python" -c '
import json, sys
made = json.load(open(sys.argv[1], encoding="utf-8"))
names = ("task", "metric", "regression", "num_classes")
print(*(made[name] for name in names), made["splits"]["train"]["examples"], made["batch_size"], made["learning_rate"])
' "$data/manifest.json") || die "--data $data is not of data-prep/prepare-glue.sh"
updates=$((epochs * ((examples + batch - 1) / batch)))
flags=(--arch roberta_base --max-positions 512 --shorten-method truncate --init-token 0 --separator-token 2
  --num-classes "$classes" --dropout 0.1 --attention-dropout 0.1 --weight-decay 0.1 --optimizer adam
  --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --clip-norm 0 --lr-scheduler polynomial_decay --lr "$rate"
  --total-num-update "$updates" --warmup-updates $((updates * 6 / 100)) --max-update "$updates" --max-epoch "$epochs"
  --batch-size "$batch" --required-batch-size-multiple 1 --no-epoch-checkpoints --log-interval 20 --seed "$seed"
  --best-checkpoint-metric "$metric" --maximize-best-checkpoint-metric "${method_flags[@]}")
case $metric in
  mcc) flags+=(--report-mcc) ;;
  f1) flags+=(--report-acc-and-f1) ;;
  pearson) flags+=(--report-pearson-and-spearman) ;;
esac
if [[ $regression == True ]]; then flags+=(--regression-target); fi
if [[ $(gpu_count) -gt 0 ]]; then
  flags+=(--fp16)
else
  flags+=(--cpu)
  tune_cpu
fi
flags+=("${passed[@]}")
# Unlike --restore-file, it leaves the choice to the run's own last checkpoint once there is one.
start=()
if [[ -n $checkpoint ]]; then start=(--finetune-from-model "$checkpoint"); fi
command=("$python" -m fairseq_cli.train "$data" --user-dir "$checkout/fairseq_intra" --distributed-world-size 1
  "${start[@]}" "${flags[@]}" --save-dir "$out/checkpoints" --no-progress-bar --log-format simple)
if [[ -n $dry_run ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi

make_folder --out "$out"
lock_folder "$out"
from=none
if [[ -n $checkpoint ]]; then from=$(sha256sum <"$checkpoint" | cut -c1-64); fi
keep_arguments "$out" "$(printf '%s\n' "# data $(sha256sum <"$data/manifest.json" | cut -c1-64)" "# checkpoint $from" "${flags[@]}")"
printf '{"task": "%s", "metric": "%s", "method": "%s", "seed": %s}\n' "$task" "$metric" "$method" "$seed" >"$out/run.json"
if [[ -f $out/finished ]]; then
  say "$out is finished"
  exit
fi

say "fine-tuning $method in $out"
train_logged "$out/train.log" "${command[@]}"
[[ -f $out/checkpoints/checkpoint_best.pt ]] || die "fairseq-train wrote no checkpoint; see $out/train.log"
# Of a large model a gigabyte and more, of use to a run that goes on alone.
rm -f -- "$out/checkpoints/checkpoint_last.pt"
date --utc +%FT%TZ >"$out/finished"
