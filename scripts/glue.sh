#!/usr/bin/env bash
# GLUE: fine-tunes a checkpoint on every task, plain and with intra-distillation, over seeds, and makes the table.
#
# Usage: scripts/glue.sh --glue DIR --checkpoint FILE --out DIR [options] [finetune.sh's flags...]
#
#   --glue DIR        GLUE as it is distributed: <task>/train.tsv and dev.tsv (MNLI: dev_matched.tsv)
#   --checkpoint FILE model.pt of fairseq's archive roberta.base, or of another model; none: from scratch
#   --out DIR         data/<task>/, the runs as <task>.<method>.seed<N>/, logs/ and table.md
#   --vocabulary DIR  dict.txt, and encoder.json and vocab.bpe, or sentencepiece.bpe.model (default: the checkpoint's
#                     folder; RoBERTa's archives have the first alone, the other two are published beside them)
#   --tasks LIST      of CoLA SST-2 MRPC STS-B QQP MNLI QNLI RTE, as one word (default: all), or names of one's own
#                     tasks in the same layout (data-prep/prepare-glue.sh --help)
#   --methods LIST    plain, intra or both, as one word (default: "plain intra")
#   --seeds LIST      random seeds, as one word (default: "1 2 3")
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# All other flags go to finetune.sh: --epochs 3 --arch roberta_large --lr 2e-5; those of the method, such as
# --num-iter and --alpha, to the runs of intra-distillation alone. Nothing is downloaded. Runs follow one another, each
# on one GPU. Repeated, finished runs are skipped and interrupted ones go on. A run that fails does not stop the others;
# it is named at the end, the exit status is 1, and the table leaves its task and seed out.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

glue='' checkpoint='' out='' vocabulary='' tasks=(CoLA SST-2 MRPC STS-B QQP MNLI QNLI RTE) methods=(plain intra)
seeds=(1 2 3) python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --glue) need_value "$@"; glue=$2; shift 2 ;;
    --checkpoint) need_value "$@"; checkpoint=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --vocabulary) need_value "$@"; vocabulary=$2; shift 2 ;;
    --tasks) need_value "$@"; read -ra tasks <<<"$2"; shift 2 ;;
    --methods) need_value "$@"; read -ra methods <<<"$2"; shift 2 ;;
    --seeds) need_value "$@"; read -ra seeds <<<"$2"; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --data | --method | --seed | --dry-run) die "$1 is for scripts/finetune.sh alone" ;;
    --glue=* | --checkpoint=* | --out=* | --vocabulary=* | --tasks=* | --methods=* | --seeds=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $glue ]] || die "--glue is missing: the folder of the tasks"
[[ -n $out ]] || die "--out is missing: the folder of the runs"
[[ -z $checkpoint || -f $checkpoint ]] || die "--checkpoint $checkpoint: no such file"
vocabulary=${vocabulary:-${checkpoint:+$(dirname -- "$checkpoint")}}
[[ -n $vocabulary ]] || die "--vocabulary is missing: the folder of dict.txt and the pieces"
((${#tasks[@]})) || die "--tasks is empty; it takes names of tasks, such as 'CoLA RTE'"
for task in "${tasks[@]}"; do
  [[ -d $glue/$task ]] || die "--glue $glue has no folder $task"
done
need_methods "${methods[@]}"
need_seeds "${seeds[@]}"
find_python "$python_flag"
export FAIRSEQ_INTRA_PYTHON=$python

make_folder --out "$out/logs"
lock_folder "$out"
for task in "${tasks[@]}"; do
  "$checkout/data-prep/prepare-glue.sh" --input "$glue/$task" --vocabulary "$vocabulary" --out "$out/data/$task" 9>&-
done
from=()
if [[ -n $checkpoint ]]; then from=(--checkpoint "$checkpoint"); fi
total=$((${#tasks[@]} * ${#methods[@]} * ${#seeds[@]})) number=0 failed=() runs=()
for seed in "${seeds[@]}"; do
  for task in "${tasks[@]}"; do
    both=1 pair=()
    for method in "${methods[@]}"; do
      run=$task.$method.seed$seed number=$((number + 1))
      say "$number of $total: $run"
      if "$checkout/scripts/finetune.sh" --data "$out/data/$task" "${from[@]}" --method "$method" --seed "$seed" \
        --out "$out/$run" "${passed[@]}" >"$out/logs/$run.log" 2>&1 9>&-; then
        pair+=("$out/$run")
      else
        say "$run failed: $(tail -n 1 "$out/logs/$run.log")"
        failed+=("$run") both=0
      fi
    done
    if ((both)); then runs+=("${pair[@]}"); fi
  done
done
if [[ " ${methods[*]} " == *" plain "* && " ${methods[*]} " == *" intra "* ]] && ((${#runs[@]})); then
  show_table "$out" "$python" -m fairseq_intra.cli task-table "${runs[@]}"
else
  say "no table: it needs runs of both methods"
fi
((${#failed[@]} == 0)) || die "${#failed[@]} of $total runs failed: ${failed[*]} (see $out/logs)"
