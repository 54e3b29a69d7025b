#!/usr/bin/env bash
# Breaks the formulas on purpose, one place at a time (a sign, a term, a comparison), and prints what no test noticed.
#
# Usage: scripts/mutants.sh [--files "NAME..."] [--jobs N] [--venv DIR]
#
#   --files "NAME..."  modules to break, of loss/definitions, loss/closed_form, loss/chunked,
#                      loss/functional, loss/distillation and adaptive_alpha
#                      (default: all of them)
#   --jobs N           how many to try in parallel (default: the number of cores)
#   --venv DIR         the environment; mutmut is installed into it (default: .venv in the checkout)
#
# A quarter of an hour and more on two cores, on a copy of the checkout. Each survivor is printed as a difference: it
# needs a test, unless it changes nothing that could be noticed (where alpha is 1, `<=` and `<` give the same).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

modules='loss/definitions loss/closed_form loss/chunked loss/functional loss/distillation adaptive_alpha'
files=$modules jobs=$(getconf _NPROCESSORS_ONLN) venv=$checkout/.venv
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --files) need_value "$@"; files=$2; shift 2 ;;
    --jobs) need_value "$@"; jobs=$2; shift 2 ;;
    --venv) need_value "$@"; venv=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) die "unknown flag '$1' (see $program --help)" ;;
  esac
done
need_count --jobs "$jobs"
sources=()
for file in $files; do
  [[ " $modules " == *" $file "* ]] || die "--files: '$file' is not one of $modules"
  sources+=("\"fairseq_intra/$file.py\"")
done
join() {
  local IFS=,
  printf '%s' "$*"
}

"$checkout/scripts/install.sh" --venv "$venv"
venv=$(cd -- "$venv" && pwd)
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$checkout/scripts/constraints.txt" mutmut

copy=$(mktemp -d)
trap 'rm -rf -- "$copy"' EXIT
cp -r -- "$checkout"/{fairseq_intra,tests,pyproject.toml} "$copy"
cat >>"$copy/pyproject.toml" <<EOT

[tool.mutmut]
source_paths = [$(join "${sources[@]}")]
pytest_add_cli_args_test_selection = [
  "tests/loss/test_definitions.py", "tests/loss/test_loss.py", "tests/loss/test_loss_on_features.py",
  "tests/loss/test_distillation.py", "tests/loss/test_regression_loss.py", "tests/test_adaptive_alpha.py",
  "tests/test_task.py", "tests/test_late_start.py",
  # It trains with the whole checkout.
  "--deselect=tests/test_late_start.py::test_a_run_resumed_across_the_switch_is_the_uninterrupted_one",
]
also_copy = ["fairseq_intra", "tests"]
EOT
cd -- "$copy"
say "trying every mutant of $files; this takes a while"
"$venv/bin/python" -m mutmut run --max-children "$jobs" >"$copy/log" 2>&1 </dev/null ||
  die "mutmut failed: $(tail -n 3 "$copy/log")"
total=$(tr '\r' '\n' <"$copy/log" | grep -oE '/[0-9]+ ' | tail -n 1 | tr -d '/ ')
# A mutant that hangs is noticed.
survivors=$("$venv/bin/python" -m mutmut results 2>/dev/null |
  awk '$2 != "killed" && $2 != "timeout" { sub(":", "", $1); print $1 }')
for name in $survivors; do
  printf '\n%s\n' "$name"
  "$venv/bin/python" -m mutmut show "$name" 2>/dev/null | grep '^[-+]' || true
done
say "$(wc -w <<<"$survivors") of $total mutants survived"
