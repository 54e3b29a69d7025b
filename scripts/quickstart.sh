#!/usr/bin/env bash
# The whole way on a fresh machine: install, real parallel text, plain training and intra-distillation with
# the same seed and number of updates, evaluation, the table. Minutes on two cores; no GPU needed.
#
# Usage: scripts/quickstart.sh [--lang LANG] [--updates N] [--seed N] [--out DIR] [--python PYTHON] [--venv DIR]
#
#   --lang LANG      ar de es fa he it nl or pl, translated into English (default: de)
#   --updates N      updates of each training (default: 1000)
#   --seed N         random seed of both trainings (default: 1)
#   --out DIR        where everything goes (default: quickstart in the checkout)
#   --python PYTHON  interpreter to build the environment on (see scripts/install.sh)
#   --venv DIR       the environment (default: .venv in the checkout)
#
# Downloads torch, fairseq and the like, and Python wheels whose interface translations are the text (about
# 110 MB for German, cached in $XDG_CACHE_HOME/fairseq_intra, see data-prep/prepare-l10n.sh). Repeated, what
# is prepared and trained is left as it is, and an interrupted training continues.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lang=de updates=1000 seed=1 out=$checkout/quickstart install_flags=() venv=$checkout/.venv
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --lang) need_value "$@"; lang=$2; shift 2 ;;
    --updates) need_value "$@"; updates=$2; shift 2 ;;
    --seed) need_value "$@"; seed=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --python) need_value "$@"; install_flags+=(--python "$2"); shift 2 ;;
    --venv) need_value "$@"; venv=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) die "unknown flag '$1' (see $program --help)" ;;
  esac
done
need_count --updates "$updates"
need_seed --seed "$seed"
[[ $lang =~ ^(ar|de|es|fa|he|it|nl|pl)$ ]] || die "--lang must be one of ar de es fa he it nl pl, not '$lang'"

began=$SECONDS
step() {
  say "[$(((SECONDS - began) / 60)) min] $*"
}

step "1/5 installing"
"$checkout/scripts/install.sh" --venv "$venv" ${install_flags[@]+"${install_flags[@]}"}
FAIRSEQ_INTRA_PYTHON=$(cd -- "$venv" && pwd)/bin/python
export FAIRSEQ_INTRA_PYTHON

data=$out/$lang-en
step "2/5 parallel text in $data"
# Few and short messages: the regime in which the effect can show within minutes (benchmarks/quickstart_search.md).
"$checkout/data-prep/prepare-l10n.sh" --lang "$lang" --out "$data" --train 2000 --max-words 14 --vocab-size 2000

for method in plain intra; do
  if [[ $method == plain ]]; then number=3; else number=4; fi
  run=$out/$lang-en.seed$seed.$updates.$method
  step "$number/5 $method: training and evaluation in $run"
  "$checkout/scripts/train.sh" --data "$data" --method "$method" --preset tiny --updates "$updates" --seed "$seed" \
    --out "$run"
  "$checkout/scripts/evaluate.sh" --checkpoint "$run/checkpoints/checkpoint_best.pt" --data "$data"
done

step "5/5 the table"
runs=("$out/$lang-en.seed$seed.$updates".{plain,intra})
"$FAIRSEQ_INTRA_PYTHON" -c "$run_checkout" "$checkout" table "${runs[@]}" >"$out/.table.partial"
mv -- "$out/.table.partial" "$out/table.md"
cat -- "$out/table.md"

printf '\nSample translations (%s to English):\n' "$lang"
for line in 1 2 3; do
  show() {
    printf '  %-9s %s\n' "$1" "$(sed -n "${line}p" "$2")"
  }
  show source "$data/raw/test.$lang"
  show reference "$data/raw/test.en"
  show plain "${runs[0]}/checkpoints/checkpoint_best.test.hyp"
  show intra "${runs[1]}/checkpoints/checkpoint_best.test.hyp"
  echo
done
cat <<EOT
What these numbers can say: whether everything works here, and how two models that differ only in the loss
compare after $updates updates on $(wc -l <"$data/raw/train.$lang") short interface messages, with one seed. What they cannot:
how good either method is. At equal updates intra-distillation has taken up to three times the computing time; the
paper's models are far larger and trained for 50,000 updates (README.md, "Result").
EOT
echo
show_translation "$(realpath -- "${runs[1]}/checkpoints/checkpoint_best.pt")" "$(realpath -- "$data")" "$lang"
step "done"
