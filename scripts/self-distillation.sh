#!/usr/bin/env bash
# Rounds of self-distillation: every round trains a fresh model on the targets and on the distributions of the
# model of the round before. Says of each how well it translates, and how evenly its parameters contribute.
#
# Usage: scripts/self-distillation.sh --data DIR --rounds R --out DIR [options] [scripts/train.sh's flags...]
#
#   --data DIR         dataset made by data-prep/
#   --rounds R         rounds after round 0, which has no teacher
#   --out DIR          roundN/ (see scripts/train.sh), roundN.sensitivity.json, rounds.md (the table)
#   --method METHOD    of round 0: plain or intra (default: plain)
#   --weight W         share of the loss that is distance to the teacher (default: 0.5)
#   --temperature T    of the distributions in that distance (default: 1)
#   --python PATH      interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the
#                      checkout, else python3)
#
# All other flags go to scripts/train.sh in every round: --preset, --updates, --seed, --dropout 0.2. The rounds after
# round 0 differ from plain training by their teacher alone, whatever --method made that one: with
# intra-distillation, whose passes teach each other, in every round, one could not tell which of the two did it.
# Translated is the test split, by each round's best checkpoint; sensitivity is that on the validation split.
# Repeated, finished rounds are skipped and an interrupted one continues.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

data='' rounds='' out='' method=plain weight=0.5 temperature=1 python_flag='' passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) need_value "$@"; data=$2; shift 2 ;;
    --rounds) need_value "$@"; rounds=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --method) need_value "$@"; method=$2; shift 2 ;;
    --weight) need_value "$@"; weight=$2; shift 2 ;;
    --temperature) need_value "$@"; temperature=$2; shift 2 ;;
    --python) need_value "$@"; python_flag=$2; shift 2 ;;
    --help) usage; exit ;;
    --data=* | --rounds=* | --out=* | --method=* | --weight=* | --temperature=* | --python=*)
      die "give ${1%%=*} and its value as two words, not '$1'" ;;
    --teacher | --teacher=*) die "--teacher is every round's own matter; see scripts/train.sh for one training" ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $rounds ]] || die "--rounds is missing: how many models are to learn from the one before"
[[ -n $out ]] || die "--out is missing: the folder of the rounds"
need_dataset --data "$data"
need_count --rounds "$rounds"
[[ $method == plain || $method == intra ]] || die "--method must be plain or intra, not '$method'"
find_python "$python_flag"
export FAIRSEQ_INTRA_PYTHON=$python
make_folder --out "$out"
out=$(cd -- "$out" && pwd)
lock_folder "$out"

reports=() evaluations=()
for ((round = 0; round <= rounds; round++)); do
  run=$out/round$round report=$out/round$round.sensitivity.json
  best=$run/checkpoints/checkpoint_best.pt
  evaluation=${best%.pt}.test.json
  how=(--method "$method")
  if [[ $round -gt 0 ]]; then
    how=(--method self-distillation --teacher "$teacher" --distillation-weight "$weight"
      --distillation-temperature "$temperature")
  fi
  say "round $round of $rounds: ${how[*]:0:2}"
  "$checkout/scripts/train.sh" --data "$data" --out "$run" "${how[@]}" "${passed[@]}" 9>&-
  [[ -f $evaluation ]] || "$checkout/scripts/evaluate.sh" --checkpoint "$best" --data "$data" 9>&-
  [[ -f $report ]] ||
    "$python" -m fairseq_intra.cli sensitivity --checkpoint "$best" --data "$data" --output "$report"
  teacher=$best reports+=("$report") evaluations+=("$evaluation")
done
"$python" -m fairseq_intra.cli sensitivity-table "${reports[@]}" --evaluations "${evaluations[@]}" \
  >"$out/.rounds.partial"
publish "$out/.rounds.partial" "$out/rounds.md"
cat -- "$out/rounds.md"
