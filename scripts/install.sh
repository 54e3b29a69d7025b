#!/usr/bin/env bash
# Installs the plugin with the stack it is tested on into a virtual environment of its own.
#
# Usage: scripts/install.sh [--python PYTHON] [--venv DIR] [--extras LIST]
#
#   --python PYTHON  the interpreter to build on: 3.11 or 3.12 on Linux x86-64, or 3.10 with upstream
#                    fairseq 0.12.2 (default: the first of python3.11, python3.12, python3.10, python3
#                    that is one of these)
#   --venv DIR       the environment (default: .venv in the checkout)
#   --extras LIST    comma-separated: plot, test (default: test)
#
# The versions are those of scripts/constraints.txt. Repeated, it does nothing while setup.py and the
# constraints stay as they are. pip's own environment variables (PIP_INDEX_URL and the like) are heeded: without a
# GPU, PIP_EXTRA_INDEX_URL set to PyTorch's index of CPU builds makes it 1.3 GB in place of 5.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

base='' venv=$checkout/.venv extras=test
while [[ $# -gt 0 ]]; do
  case $1 in
    --python) need_value "$@"; base=$2; shift 2 ;;
    --venv) need_value "$@"; venv=$2; shift 2 ;;
    --extras) need_value "$@"; extras=$2; shift 2 ;;
    --help) usage; exit ;;
    *) die "unknown flag '$1' (see $program --help)" ;;
  esac
done

# version_of PYTHON: prints 3.N, nothing where it does not run.
version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

supported='Python 3.11 or 3.12 on Linux x86-64, or Python 3.10'
if [[ -n $base ]]; then
  [[ $(version_of "$base") =~ ^3\.1[012]$ ]] ||
    die "--python $base is Python '$(version_of "$base")'; fairseq runs on $supported"
else
  for candidate in python3.11 python3.12 python3.10 python3; do
    [[ $(version_of "$candidate") =~ ^3\.1[012]$ ]] && base=$candidate && break
  done
  [[ -n $base ]] || die "no Python that fairseq runs on was found; give --python PATH of $supported"
fi
version=$(version_of "$base")
if [[ $version != 3.10 && $(uname -sm) != 'Linux x86_64' ]]; then
  die "fairseq for Python $version comes as wheels for Linux x86-64 only, and this is $(uname -sm); use Python 3.10"
fi

# The package itself stays in the checkout.
state="$checkout $("$base" -c 'import sys; print(sys.version)') $extras $(cat "$checkout/setup.py" "$checkout/scripts/constraints.txt" | sha256sum)"
if [[ -f $venv/.installed && $(<"$venv/.installed") == "$state" ]]; then
  say "$venv is up to date"
  exit
fi

constraints=$checkout/scripts/constraints.txt
say "making $venv with Python $version (1.3 GB with a CPU build of torch, 5 GB with a CUDA build)"
rm -f -- "$venv/.installed"
"$base" -m venv "$venv"
install() {
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" "$@"
}
if [[ $version == 3.10 ]]; then
  say "fairseq 0.12.2 and what it needs"
  # Of seqeval there is only the source, which the pip of Python 3.10 builds wrongly unless told.
  install --use-pep517 --requirement "$checkout/scripts/requirements-py310.txt"
  install --no-deps fairseq==0.12.2
  install --no-deps --editable "$checkout"
  # The extras' own requirements, without fairseq's metadata, which pip would stop at.
  if [[ ,$extras, == *,test,* ]]; then install coverage hypothesis matplotlib pytest pytest-xdist tensorboardX; fi
  if [[ ,$extras, == *,plot,* ]]; then install matplotlib; fi
else
  say "torch, fairseq and the rest"
  install --editable "${checkout}[$extras]"
fi
printf '%s\n' "$state" >"$venv/.installed"
say "done: $venv/bin/fairseq-intra"
