#!/usr/bin/env bash
# Runs the test suite on a fresh machine: installs into a virtual environment, checks style, shell scripts and types,
# then pytest, and the Triton kernels in Triton's interpreter, which a process has to be started with. Where there is a GPU,
# the tests that need one follow; the others do not see it.
#
# Usage: scripts/test.sh [--quick] [--python PYTHON] [--venv DIR] [--stack legacy] [--coverage] [pytest's arguments...]
#
#   --quick          under a minute: the checks, and tests of the loss, the passes, the schedule and the criterion, and
#                    one small preparation, training, evaluation and table
#   --python PYTHON  the interpreter to build the environment on, 3.10 to 3.13 (see scripts/install.sh)
#   --venv DIR       the environment (default: .venv in the checkout; .venv-legacy with --stack legacy)
#   --stack legacy   Python 3.10 and upstream fairseq 0.12.2 in place of the newest that works; without arguments
#                    for pytest, the tests of the plugin itself
#   --coverage       also which lines and branches of fairseq_intra/ no test ran, nor a command that a test started
#
# With arguments for pytest, only these run: scripts/test.sh tests/loss/test_loss.py -k gradcheck
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# What --stack legacy runs: the plugin in fairseq's own commands, the loss and the passes.
CORE=(loss patches/test_{safe_loading,resume}.py test_{adaptive_alpha,checkpoint,command_line,criterion}.py
  test_{micro_batches,model_outputs,passes,task}.py)
QUICK=(loss test_{adaptive_alpha,criterion,passes,whole_way}.py)
quick='' python_given='' venv='' stack='' pytest=(-m pytest) coverage=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --python=* | --venv=* | --stack=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --quick) quick=yes; shift ;;
    --python) need_value "$@"; python_given=$2; shift 2 ;;
    --venv) need_value "$@"; venv=$2; shift 2 ;;
    --stack) need_value "$@"; stack=$2; shift 2 ;;
    --coverage) coverage=yes pytest=(-m coverage run -m pytest); shift ;;
    --help | -h) usage; exit ;;
    *) break ;;
  esac
done
[[ -z $quick || $# -eq 0 ]] || die "--quick chooses the tests itself and takes no '$1'"
if [[ $stack == legacy ]]; then
  venv=${venv:-$checkout/.venv-legacy}
  if [[ $# -eq 0 && -z $quick ]]; then set -- "${CORE[@]/#/tests/}"; fi
fi
venv=${venv:-$checkout/.venv}

"$checkout/scripts/install.sh" --venv "$venv" ${python_given:+--python "$python_given"} ${stack:+--stack "$stack"}
bin=$(cd -- "$venv" && pwd)/bin
cd -- "$checkout"

# report [FLAGS...]: what was covered, where that was asked for.
report() {
  [[ -z $coverage ]] && return
  "$bin/python" -m coverage combine --quiet
  "$bin/python" -m coverage report "$@"
}

lint() {
  say "ruff, ShellCheck and mypy"
  "$bin/ruff" check --quiet
  "$bin/ruff" format --check --quiet
  # Of the scripts that a user runs; those that they source are read with them.
  "$bin/shellcheck" --external-sources .ci/run scripts/*.sh data-prep/*.sh benchmarks/*.sh
  "$bin/mypy"
}

test_triton() {
  if "$bin/python" -c 'import triton' 2>/dev/null; then
    say "the Triton kernels in Triton's interpreter"
    TRITON_INTERPRET=1 "$bin/python" "${pytest[@]}" tests/loss/test_triton.py
  else
    say "Triton has no release for this platform: its kernels are not tested here"
  fi
}

test_on_gpu() {
  if "$bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    say "the tests that need a GPU"
    "$bin/python" "${pytest[@]}" -m gpu tests/loss/test_triton.py tests/test_on_gpu.py
  fi
}

if [[ -n $coverage ]]; then "$bin/python" -m coverage erase; fi
if [[ $# -gt 0 ]]; then
  "$bin/python" "${pytest[@]}" "$@"
  report --fail-under 0
  exit
fi
lint
if [[ -n $quick ]]; then
  "$bin/python" "${pytest[@]}" --numprocesses 2 --dist loadfile "${QUICK[@]/#/tests/}"
  report --fail-under 0
  exit
fi
# In the order of tests/conftest.py, the longest first. test_wheel.py goes the whole way of test_whole_way.py, too.
"$bin/python" "${pytest[@]}" --numprocesses auto --dist loadfile --no-loadscope-reorder --ignore tests/test_whole_way.py
test_triton
test_on_gpu
report
