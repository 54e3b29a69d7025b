#!/usr/bin/env bash
# Trains one translation model: plain, with intra-distillation, or from a teacher. All else is the same for each.
#
# Usage: scripts/train.sh --data DIR --method METHOD --out DIR [options] [fairseq-train's flags...]
#
#   --data DIR        dataset made by data-prep/ (bin/, manifest.json)
#   --method METHOD   plain: label-smoothed cross-entropy; intra: intra-distillation; self-distillation:
#                     plain, and from an earlier model's distributions (--teacher FILE, a checkpoint)
#   --out DIR         the run: arguments.txt, train.log, checkpoints/
#   --preset PRESET   paper: transformer_iwslt_de_en, 50,000 updates of 4,096 tokens, K = 3, adaptive
#                     alpha 5 (default); tiny: two CPU cores and minutes, little data (the quickstart's)
#   --updates N       number of updates (default: the preset's)
#   --seed N          random seed (default: 1)
#   --python PATH     interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                     checkout, else python3)
#
# All other flags go to fairseq-train and win over the preset's: --arch transformer --dropout 0.2, and
# with --method intra --num-iter 2 --alpha 1 --div JS. fp16 is used where there is a GPU and the preset
# is the paper's. Repeated, an interrupted run continues from its last checkpoint and a finished one is
# left alone; a run is not continued with other arguments or other data.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

data='' method='' out='' preset=paper updates='' seed=1 python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) need_value "$@"; data=$2; shift 2 ;;
    --method) need_value "$@"; method=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --preset) need_value "$@"; preset=$2; shift 2 ;;
    --updates) need_value "$@"; updates=$2; shift 2 ;;
    --seed) need_value "$@"; seed=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --data=* | --method=* | --out=* | --preset=* | --updates=* | --seed=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $method ]] || die "--method is missing: plain, intra or self-distillation"
[[ -n $out ]] || die "--out is missing: the folder of the run"
need_dataset --data "$data"
need_seed --seed "$seed"
[[ -z $updates ]] || need_count --updates "$updates"
find_python "$python_flag"

flags=(--share-all-embeddings --label-smoothing 0.1 --optimizer adam --adam-betas '(0.9,0.98)'
  --lr-scheduler inverse_sqrt --weight-decay 0.0001 --clip-norm 0 --seed "$seed")
case $preset in
  paper)
    flags+=(--arch transformer_iwslt_de_en --dropout 0.3 --attention-dropout 0.1 --adam-eps 1e-6
      --lr 5e-4 --warmup-updates 8000 --max-tokens 4096 --max-update "${updates:-50000}"
      --keep-last-epochs 10 --log-interval 100)
    intra_flags=(--num-iter 3 --alpha 5 --adaptive-alpha 1 --temperature-p 5 --temperature-q 10 --div X)
    ;;
  tiny)
    flags+=(--arch transformer --encoder-layers 2 --decoder-layers 2
      --encoder-embed-dim 128 --decoder-embed-dim 128
      --encoder-ffn-embed-dim 256 --decoder-ffn-embed-dim 256
      --encoder-attention-heads 4 --decoder-attention-heads 4 --dropout 0.3
      --lr 2e-3 --warmup-updates 150 --max-tokens 1000 --max-update "${updates:-1000}"
      --validate-interval-updates 100 --save-interval-updates 100 --keep-interval-updates 1
      --no-epoch-checkpoints --log-interval 20)
    intra_flags=(--num-iter 3 --alpha 1 --adaptive-alpha 0 --div X)
    ;;
  *) die "--preset must be paper or tiny, not '$preset'" ;;
esac
case $method in
  plain) flags+=(--task translation --criterion label_smoothed_cross_entropy) ;;
  intra) flags+=(--task translation_intra_distillation --criterion intra_distillation "${intra_flags[@]}") ;;
  self-distillation) flags+=(--task translation --criterion self_distillation) ;;
  *) die "--method must be plain, intra or self-distillation, not '$method'" ;;
esac
if has_gpu; then
  if [[ $preset == paper ]]; then flags+=(--fp16); fi
else
  flags+=(--cpu)
  tune_cpu
fi
flags+=("${passed[@]}")

make_folder --out "$out"
lock_folder "$out"
arguments=$(printf '%s\n' "# data $(sha256sum <"$data/manifest.json" | cut -c1-64)" "${flags[@]}")
keep_arguments "$out" "$arguments"
if [[ -f $out/finished ]]; then
  say "$out is finished"
  exit
fi

say "training $method in $out"
if ! "$python" -m fairseq_cli.train "$data/bin" --user-dir "$checkout/fairseq_intra" "${flags[@]}" \
  --save-dir "$out/checkpoints" --no-progress-bar --log-format simple 2>&1 | tee -a "$out/train.log" |
  { grep --line-buffered -E '\| (train_inner|valid|train|WARNING|ERROR) \||[Ee]rror' || true; }; then
  die "fairseq-train failed; the whole log is $out/train.log"
fi
[[ -f $out/checkpoints/checkpoint_last.pt ]] || die "fairseq-train wrote no checkpoint; see $out/train.log"
date --utc +%FT%TZ >"$out/finished"
say "finished: $out/checkpoints/checkpoint_best.pt"
