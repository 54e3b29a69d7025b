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
#                     alpha 5 (default); tiny: two CPU cores and minutes, little data (the quickstart's);
#                     wmt, wmt-big: transformer_wmt_en_de or its big one (see scripts/wmt17.sh)
#   --updates N       number of updates (default: the preset's)
#   --batch-tokens N  tokens of an update, over all workers (default: the preset's)
#   --max-tokens N    tokens that a worker takes at once (default: its share, at most what the preset says)
#   --seed N          random seed (default: 1)
#   --dry-run         print the command for fairseq-train, and do nothing
#   --python PATH     interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                     checkout, else python3)
#
# All other flags go to fairseq-train and win over the preset's: --arch transformer --dropout 0.2, and those of the
# method (--num-iter 2 --alpha 1 --div JS), which are left out unless --method is intra. fp16 is used where there is a
# GPU, but for the preset tiny. Repeated, an interrupted run continues from its last checkpoint and a finished one is
# left alone; a run is not continued with other arguments or other data.
#
# A worker is started on every GPU that CUDA_VISIBLE_DEVICES lets it see; under torchrun or srun, every worker
# runs this script. --update-freq follows from the batch and the number of workers, so that the batch is the
# same on any machine, and a run may continue on another.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/workers.sh
source "$checkout/scripts/workers.sh"

data='' method='' out='' preset=paper updates='' seed=1 batch_tokens='' max_tokens_given='' dry_run='' python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) need_value "$@"; data=$2; shift 2 ;;
    --method) need_value "$@"; method=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --preset) need_value "$@"; preset=$2; shift 2 ;;
    --updates) need_value "$@"; updates=$2; shift 2 ;;
    --seed) need_value "$@"; seed=$2; shift 2 ;;
    --batch-tokens) need_value "$@"; need_count "$@"; batch_tokens=$2; shift 2 ;;
    --max-tokens) need_value "$@"; need_count "$@"; max_tokens_given=$2; shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --data=* | --method=* | --out=* | --preset=* | --updates=* | --seed=* | --batch-tokens=* | --max-tokens=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    --update-freq*) die "--update-freq follows from --batch-tokens, --max-tokens and the number of workers" ;;
    --distributed-*) die "${1%%=*} is set by this script; start it with torchrun or srun for more than one machine" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $method ]] || die "--method is missing: plain, intra or self-distillation"
[[ $method == intra ]] || drop_method_flags "${passed[@]}"
[[ -n $out ]] || die "--out is missing: the folder of the run"
need_dataset --data "$data"
need_seed --seed "$seed"
[[ -z $updates ]] || need_count --updates "$updates"
find_python "$python_flag"

flags=(--share-all-embeddings --label-smoothing 0.1 --optimizer adam --adam-betas '(0.9,0.98)'
  --lr-scheduler inverse_sqrt --clip-norm 0 --seed "$seed")
paper_intra=(--num-iter 3 --alpha 5 --adaptive-alpha 1 --temperature-p 5 --temperature-q 10 --div X)
case $preset in
  paper)
    flags+=(--arch transformer_iwslt_de_en --dropout 0.3 --attention-dropout 0.1 --weight-decay 0.0001 --adam-eps 1e-6
      --lr 5e-4 --warmup-updates 8000 --max-update "${updates:-50000}"
      --keep-last-epochs 10 --log-interval 100)
    batch=4096 most=4096
    intra_flags=("${paper_intra[@]}")
    ;;
  tiny)
    flags+=(--arch transformer --encoder-layers 2 --decoder-layers 2
      --encoder-embed-dim 128 --decoder-embed-dim 128
      --encoder-ffn-embed-dim 256 --decoder-ffn-embed-dim 256
      --encoder-attention-heads 4 --decoder-attention-heads 4 --dropout 0.3 --weight-decay 0.0001
      --lr 2e-3 --warmup-updates 150 --max-update "${updates:-1000}"
      --validate-interval-updates 100 --save-interval-updates 100 --keep-interval-updates 1
      --no-epoch-checkpoints --log-interval 20)
    batch=1000 most=1000
    intra_flags=(--num-iter 3 --alpha 1 --adaptive-alpha 0 --div X)
    ;;
  wmt | wmt-big)
    if [[ $preset == wmt ]]; then
      flags+=(--arch transformer_wmt_en_de --dropout 0.1 --lr 7e-4)
    else
      flags+=(--arch transformer_vaswani_wmt_en_de_big --dropout 0.3 --lr 5e-4)
    fi
    flags+=(--weight-decay 0 --warmup-updates 4000 --warmup-init-lr 1e-7 --max-update "${updates:-100000}"
      --validate-interval-updates 2000 --save-interval-updates 2000 --keep-interval-updates 10
      --no-epoch-checkpoints --log-interval 100)
    batch=32768 most=4096
    intra_flags=("${paper_intra[@]}")
    ;;
  *) die "--preset must be paper, tiny, wmt or wmt-big, not '$preset'" ;;
esac
case $method in
  plain) flags+=(--task translation --criterion label_smoothed_cross_entropy) ;;
  intra) flags+=(--task translation_intra_distillation --criterion intra_distillation "${intra_flags[@]}") ;;
  self-distillation) flags+=(--task translation --criterion self_distillation) ;;
  *) die "--method must be plain, intra or self-distillation, not '$method'" ;;
esac
gpus=$(gpu_count)
if ((gpus)); then
  if [[ $preset != tiny ]]; then flags+=(--fp16); fi
else
  flags+=(--cpu)
  tune_cpu
fi
flags+=("${passed[@]}")
batch=${batch_tokens:-$batch}
find_workers "$gpus"
plan_batch "$batch" "$most" "$max_tokens_given"
command=("$python" -m fairseq_cli.train "$data/bin" --user-dir "$checkout/fairseq_intra"
  --max-tokens "$max_tokens" --update-freq "$update_freq" "${launch[@]}" "${flags[@]}"
  --save-dir "$out/checkpoints" --no-progress-bar --log-format simple)
if [[ -n $dry_run ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi

make_folder --out "$out"
log=$out/train.log
if ((rank)); then
  # What is said here is what the first worker does not say; it has the run's files in its care.
  log=$out/train.rank$rank.log
else
  lock_folder "$out"
  arguments=$(printf '%s\n' "# data $(sha256sum <"$data/manifest.json" | cut -c1-64)" "# batch $batch" "${flags[@]}")
  keep_arguments "$out" "$arguments"
fi
if [[ -f $out/finished ]]; then
  say "$out is finished"
  exit
fi

say "training $method in $out"
# fairseq would read these too, and draw other conclusions from them.
unset SLURM_STEP_NODELIST SLURM_JOB_NODELIST
train_logged "$log" "${command[@]}"
if ((rank)); then exit; fi
[[ -f $out/checkpoints/checkpoint_last.pt ]] || die "fairseq-train wrote no checkpoint; see $out/train.log"
date --utc +%FT%TZ >"$out/finished"
say "finished: $out/checkpoints/checkpoint_best.pt"
