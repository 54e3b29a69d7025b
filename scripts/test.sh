#!/usr/bin/env bash
# Runs the test suite on a fresh machine: installs into a virtual environment, then pytest; without arguments for
# pytest also the Triton kernels in Triton's interpreter, which a process has to be started with.
#
# Usage: scripts/test.sh [--python PYTHON] [--venv DIR] [pytest's arguments...]
#
#   --python PYTHON  the interpreter to build the environment on (see scripts/install.sh)
#   --venv DIR       the environment (default: .venv in the checkout)
#
# Everything else goes to pytest: scripts/test.sh tests/test_loss.py -k gradcheck
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

install_flags=() venv=$checkout/.venv
while [[ $# -gt 0 ]]; do
  case $1 in
    --python) need_value "$@"; install_flags+=(--python "$2"); shift 2 ;;
    --venv) need_value "$@"; venv=$2; shift 2 ;;
    --help) usage; exit ;;
    *) break ;;
  esac
done

"$checkout/scripts/install.sh" --venv "$venv" "${install_flags[@]}"
venv=$(cd -- "$venv" && pwd)
cd -- "$checkout"
if [[ $# -gt 0 ]]; then exec "$venv/bin/python" -m pytest "$@"; fi
"$venv/bin/python" -m pytest --numprocesses auto --dist loadfile
if "$venv/bin/python" -c 'import triton' 2>/dev/null; then
  say "the Triton kernels in Triton's interpreter"
  TRITON_INTERPRET=1 "$venv/bin/python" -m pytest tests/test_closed_form_triton.py
else
  say "Triton has no release for this platform: its kernels are not tested here"
fi
