#!/usr/bin/env bash
# Zero-shot cross-lingual transfer: fine-tunes a multilingual encoder on one language and tests it on all others, plain
# beside intra-distillation, over seeds, to a table by language.
#
# Usage: scripts/zero-shot.sh --task TASK --input DIR --pretrained DIR --out DIR [options] [fairseq-train's flags...]
#
#   --task TASK       ner: names in text, entity-level F1; xnli: pairs of sentences, accuracy
#   --input DIR       ner: LANG/{train,dev,test} as in WikiANN's archives (a word, a tab or space, its tag; IOB2);
#                     xnli: XNLI-1.0/xnli.{dev,test}.tsv and XNLI-MT-1.0/multinli/multinli.train.en.tsv, as unpacked
#   --pretrained DIR  an archive of fairseq's, unpacked: model.pt, dict.txt, and sentencepiece.bpe.model (xlmr.base) or
#                     encoder.json and vocab.bpe (roberta.base)
#   --out DIR         data/, the runs as METHOD.seedN/, and table.md
#   --source LANG     the language trained on (default: en)
#   --langs LIST      languages tested, as one word (default: all whose test is there)
#   --methods LIST    plain, intra or both, as one word (default: "plain intra")
#   --seeds LIST      random seeds, as one word (default: 1)
#   --epochs N        of each training (default: 10 for ner, 3 for xnli)
#   --batch N         sentences of an update, over all GPUs (default: 32)
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# All other flags go to fairseq-train: --arch roberta_large, --lr 1e-5, --max-positions 128; those of the method
# (--num-iter, --alpha, --div, --passes) to the runs of intra-distillation alone, which have K = 3 and alpha = 1. The
# encoder is roberta_base with dropout 0.1, and learns with Adam at 2e-5, which rises for 6 % of all updates and then
# falls to 0. Tested is the checkpoint that is best on the dev set of the language trained on. Repeated, finished runs
# are skipped and interrupted ones go on. The runs come one after another, each on all GPUs that there are.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/workers.sh
source "$checkout/scripts/workers.sh"

task='' input='' pretrained='' out='' source=en langs=() methods=(plain intra) seeds=(1) epochs='' batch=32
python_flag='' given=() task_flags=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --task) need_value "$@"; task=$2; shift 2 ;;
    --input) need_value "$@"; input=$2; shift 2 ;;
    --pretrained) need_value "$@"; pretrained=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --source) need_value "$@"; source=$2; shift 2 ;;
    --langs) need_value "$@"; read -ra langs <<<"$2"; shift 2 ;;
    --methods) need_value "$@"; read -ra methods <<<"$2"; shift 2 ;;
    --seeds) need_value "$@"; read -ra seeds <<<"$2"; shift 2 ;;
    --epochs) need_value "$@"; need_count "$@"; epochs=$2; shift 2 ;;
    --batch) need_value "$@"; need_count "$@"; batch=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --task=* | --input=* | --pretrained=* | --out=* | --source=* | --langs=* | --methods=* | --seeds=* | --epochs=* | \
      --batch=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    --seed | --method) die "$1: here it is ${1}s, with one or more" ;;
    *) given+=("$1"); shift ;;
  esac
done
[[ $task == ner || $task == xnli ]] || die "--task must be ner or xnli, not '$task'"
[[ -d $input ]] || die "--input '$input' is not a folder"
[[ -n $out ]] || die "--out is missing: the folder of the runs"
for file in model.pt dict.txt; do
  [[ -f $pretrained/$file ]] || die "--pretrained '$pretrained' holds no $file (an archive such as xlmr.base, unpacked)"
done
need_methods "${methods[@]}"
need_seeds "${seeds[@]}"
[[ -z ${WORLD_SIZE:-} ]] || die "it starts the trainings itself: run it once, not under torchrun"
find_python "$python_flag"
gpus=$(gpu_count)
find_workers "$gpus"
((batch % workers == 0)) || die "--batch $batch is no multiple of the $workers GPUs"

tool() {
  "$python" -m fairseq_intra.cli "$@"
}

make_folder --out "$out"
lock_folder "$out"
keep_arguments "$out" "$(printf '%s\n' "task $task" "input $(realpath -- "$input")" "source $source" \
  "langs ${langs[*]}" "encoder $(cat -- "$pretrained/dict.txt" "$pretrained/model.pt" | sha256sum | cut -c1-64)")"
data=$out/data
if [[ ! -d $data ]]; then
  say "binarising $input"
  languages=()
  ((${#langs[@]} == 0)) || languages=(--languages "${langs[@]}")
  tool prepare-transfer --task "$task" --input "$input" --source "$source" --encoder "$pretrained" --output "$data" \
    "${languages[@]}" >&2
fi
# The number of sentences to learn from, of labels, and the languages to test.
read -r sentences classes tested < <("$python" -c 'import json, sys
made = json.load(open(sys.argv[1], encoding="utf-8"))
train = made["splits"]["train"]
print(train.get("sentences", train.get("pairs")), len(made["labels"]), *made["languages"])' "$data/manifest.json")
read -ra tested <<<"$tested"

if [[ $task == ner ]]; then
  name=token_classification metric=f1 epochs=${epochs:-10}
else
  name=sentence_prediction metric=accuracy epochs=${epochs:-3}
  task_flags=(--num-classes "$classes" --init-token 0 --separator-token 2 --shorten-method truncate)
fi
batches=$(((sentences + batch - 1) / batch))
updates=$((batches * epochs))
flags=(--arch roberta_base --max-positions 512 --dropout 0.1 --attention-dropout 0.1 --weight-decay 0.01
  --optimizer adam --adam-betas '(0.9,0.98)' --adam-eps 1e-6 --lr 2e-5 --lr-scheduler polynomial_decay
  --warmup-updates $((updates * 6 / 100)) --total-num-update "$updates" --max-update "$updates" --clip-norm 1
  --best-checkpoint-metric "$metric" --maximize-best-checkpoint-metric --no-epoch-checkpoints --log-interval 50
  "${task_flags[@]}")
if ((gpus)); then
  flags+=(--fp16)
else
  flags+=(--cpu)
  tune_cpu
fi

evaluations=()
for seed in "${seeds[@]}"; do
  for method in "${methods[@]}"; do
    run=$out/$method.seed$seed
    best=$run/checkpoints/checkpoint_best.pt
    if [[ $method == intra ]]; then
      how=(--task "${name}_intra_distillation" --criterion "intra_distillation_$name" --num-iter 3 --alpha 1)
      passed=("${given[@]}")
    else
      how=(--task "$name" --criterion "$name")
      drop_method_flags "${given[@]}"
    fi
    how+=(--seed "$seed" "${flags[@]}" "${passed[@]}")
    make_folder --out "$run"
    keep_arguments "$run" "$(printf '%s\n' "# batch $batch" "${how[@]}")"
    if [[ ! -f $run/finished ]]; then
      say "training $method, seed $seed, in $run"
      train_logged "$run/train.log" "$python" -m fairseq_cli.train "$data" --user-dir "$checkout/fairseq_intra" \
        --finetune-from-model "$pretrained/model.pt" --batch-size $((batch / workers)) \
        --required-batch-size-multiple 1 "${launch[@]}" "${how[@]}" --save-dir "$run/checkpoints" \
        --no-progress-bar --log-format simple >&2 9>&-
      [[ -f $best ]] || die "fairseq-train wrote no checkpoint; see $run/train.log"
      tool evaluate-transfer --checkpoint "$best" --data "$data" >&2
      date --utc +%FT%TZ >"$run/finished"
    fi
    for lang in "${tested[@]}"; do
      evaluations+=("${best%.pt}.$lang.json")
    done
  done
done
if ((${#methods[@]} < 2)); then
  say "no table: it needs both methods"
  exit
fi
show_table "$out" tool transfer-table "${evaluations[@]}"
