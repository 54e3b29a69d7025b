#!/usr/bin/env bash
# BLEU against the share of parameters that are removed, those that contribute least first and most first, for one or
# several checkpoints: as a table and as a picture.
#
# Usage: scripts/pruning-curve.sh --checkpoint FILE [--checkpoint FILE ...] --data DIR --out DIR [options]
#          [scripts/evaluate.sh's flags...]
#
#   --checkpoint FILE  a model, as fairseq-train saved it
#   --data DIR         dataset made by data-prep/
#   --out DIR          NAME.sensitivity.json, NAME/ORDER-RATIO.test.json, pruning-curve.{md,json,png,svg}
#   --ratios "R ..."   shares to remove, 0 to 1 (default: "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9")
#   --python PATH      interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                      checkout, else python3)
#
# NAME is that of the run's folder (RUN/checkpoints/checkpoint_best.pt is RUN), with the file's name behind it where
# that is not checkpoint_best.pt. Sensitivity is computed on the validation split, BLEU on the test split by
# scripts/evaluate.sh, to which all other flags go: a model with much removed may never end a sentence, and
# --max-len-b 30 saves most of the time that this takes. Norms and biases stay. Repeated, finished points are skipped.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

checkpoints=() data='' out='' ratios='0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9' python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --checkpoint) need_value "$@"; checkpoints+=("$2"); shift 2 ;;
    --data) need_value "$@"; data=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --ratios) need_value "$@"; ratios=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --checkpoint=* | --data=* | --out=* | --ratios=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    --average | --split) die "$1 is not for pruned checkpoints, which are evaluated one by one on the test split" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ ${#checkpoints[@]} -gt 0 ]] || die "--checkpoint is missing: the model's file"
[[ -n $out ]] || die "--out is missing: the folder of the curves"
need_dataset --data "$data"
read -ra ratios <<<"$ratios"
for ratio in "${ratios[@]}"; do
  [[ $ratio =~ ^(0|1|0?\.[0-9]+|[01]\.0+)$ ]] || die "--ratios must be numbers between 0 and 1, not '$ratio'"
done

# name_of FILE: what the checkpoint is called in folder, table and picture.
name_of() {
  local folder
  folder=$(cd -- "$(dirname -- "$1")" && pwd)
  [[ $(basename -- "$folder") != checkpoints ]] || folder=$(dirname -- "$folder")
  printf '%s' "$(basename -- "$folder")"
  [[ $(basename -- "$1") == checkpoint_best.pt ]] || printf '.%s' "$(basename -- "$1" .pt)"
}

names=()
for checkpoint in "${checkpoints[@]}"; do
  [[ -f $checkpoint ]] || die "--checkpoint $checkpoint: no such file"
  name=$(name_of "$checkpoint")
  [[ " ${names[*]} " != *" $name "* ]] ||
    die "two of the checkpoints would be called $name; give each an --out of its own"
  names+=("$name")
done
find_python "$python_flag"
export FAIRSEQ_INTRA_PYTHON=$python
make_folder --out "$out"
lock_folder "$out"

# point CHECKPOINT FOLDER NAME ORDER RATIO: evaluates the pruned checkpoint, which is not kept.
point() {
  local pruned=$2/$3.pt
  [[ ! -f $2/$3.test.json ]] || return 0
  "$python" -m fairseq_intra.cli prune --checkpoint "$1" --scores "$2.sensitivity.json" --order "$4" --ratio "$5" \
    --output "$pruned" >&2
  "$checkout/scripts/evaluate.sh" --checkpoint "$pruned" --data "$data" "${passed[@]}" >&2 9>&-
  rm -f -- "$pruned"
}

folders=()
for number in "${!checkpoints[@]}"; do
  checkpoint=${checkpoints[number]} folder=$out/${names[number]}
  mkdir -p -- "$folder"
  keep_arguments "$folder" "$(printf '%s\n' "# checkpoint $(sha256sum <"$checkpoint" | cut -c1-64)" \
    "# data $(sha256sum <"$data/manifest.json" | cut -c1-64)" "${passed[@]}")"
  [[ -f $folder.sensitivity.json ]] ||
    "$python" -m fairseq_intra.cli sensitivity --checkpoint "$checkpoint" --data "$data" \
      --output "$folder.sensitivity.json" >&2
  for ratio in "${ratios[@]}"; do
    if [[ $ratio =~ ^0(\.0+)?$ ]]; then
      point "$checkpoint" "$folder" whole ascending 0
      continue
    fi
    for order in ascending descending; do
      point "$checkpoint" "$folder" "$order-$ratio" "$order" "$ratio"
    done
  done
  folders+=("$folder")
done
"$python" -m fairseq_intra.cli plot-pruning "${folders[@]}" --output "$out/pruning-curve"
