#!/usr/bin/env bash
# Installs the plugin with the stack it is tested on into a virtual environment of its own.
#
# Usage: scripts/install.sh [--python PYTHON] [--venv DIR] [--extras LIST] [--cpu] [--stack legacy]
#
#   --python PYTHON  the interpreter to build on, 3.10 to 3.13 (default: the first of python3.11, python3.12,
#                    python3.13, python3.10, python3 that is one of these)
#   --venv DIR       the environment (default: .venv in the checkout)
#   --extras LIST    comma-separated: l10n, multi30k, plot, serve, transfer, test, which has the others (default: test)
#   --cpu            PyTorch's build for the CPU: 2.4 GB in all, not 5.4, on Linux; PIP_EXTRA_INDEX_URL has to name the
#                    index of these builds, which https://pytorch.org/get-started shows
#   --stack legacy   upstream fairseq 0.12.2, on Python 3.10
#
# The versions are those of scripts/constraints.txt. fairseq is installed from a wheel for Python 3.11 and 3.12 on
# Linux x86-64; elsewhere it is built, which needs a C++ compiler and about 3 minutes, and the wheel is kept in
# $XDG_CACHE_HOME/fairseq_intra (default: ~/.cache). Repeated, it does nothing while setup.py, the constraints and
# what is asked for stay as they are. pip's own environment variables (PIP_INDEX_URL and the like) are heeded.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

base='' venv=$checkout/.venv extras=test cpu='' stack=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --python) need_value "$@"; base=$2; shift 2 ;;
    --venv) need_value "$@"; venv=$2; shift 2 ;;
    --extras) need_value "$@"; extras=$2; shift 2 ;;
    --cpu) cpu=yes; shift ;;
    --stack) need_value "$@"; stack=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) die "unknown flag '$1' (see $program --help)" ;;
  esac
done
IFS=, read -r -a extra_list <<<"$extras"
for extra in "${extra_list[@]}"; do
  [[ $extra =~ ^(l10n|multi30k|plot|serve|transfer|test)$ ]] ||
    die "--extras: '$extra' is not one of l10n, multi30k, plot, serve, transfer, test"
done

# version_of PYTHON: prints 3.N, nothing where it does not run.
version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

[[ -z $stack || $stack == legacy ]] || die "--stack must be legacy, not '$stack'"
supported='^3\.1[0-3]$' take='3.10 to 3.13' one=3.12 candidates='python3.11 python3.12 python3.13 python3.10 python3'
if [[ $stack == legacy ]]; then supported='^3\.10$' take=3.10 one=3.10 candidates='python3.10 python3'; fi
get_one="take $take: uv venv --python $one, conda create -n py${one/./} python=$one or pyenv install $one, then --python PATH"
if [[ -n $base ]]; then
  [[ $(version_of "$base") =~ $supported ]] ||
    die "--python $base is Python '$(version_of "$base")', which no fairseq ${stack:+of the $stack stack }runs on; $get_one"
else
  for candidate in $candidates; do
    if [[ $(version_of "$candidate") =~ $supported ]]; then base=$candidate && break; fi
  done
  [[ -n $base ]] || die "no Python that fairseq runs on was found; $get_one"
fi
version=$(version_of "$base")
case $stack$version:$(uname -sm) in
  legacy*) fairseq='fairseq==0.12.2' ;;
  3.1[12]:'Linux x86_64') fairseq='' ;; # a requirement of setup.py
  *) fairseq='fairseq-fixed==0.12.3.1' ;;
esac

# The package itself stays in the checkout.
state="$checkout $("$base" -c 'import sys; print(sys.version)') $extras $cpu $fairseq $(cat "$checkout"/setup.py "$checkout"/scripts/{constraints,requirements-source}.txt | cksum)"
if [[ -f $venv/.installed && $(<"$venv/.installed") == "$state" ]]; then
  say "$venv is up to date"
  exit
fi

if [[ -n $fairseq ]]; then
  # Before anything is downloaded: what compiling an extension of Python needs.
  compiler=${CXX:-c++}
  headers=$("$base" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  command -v "${compiler%% *}" >/dev/null ||
    die "fairseq is built from source here and there is no C++ compiler '$compiler'; install one (Debian: apt install g++, Fedora: dnf install gcc-c++, macOS: xcode-select --install)"
  [[ -f $headers/Python.h ]] ||
    die "fairseq is built from source here and Python's headers are missing ($headers/Python.h); install them (Debian: apt install python3-dev, Fedora: dnf install python3-devel)"
fi

# --use-pep517: pip before 23.1, which Debian 12 and Python 3.10 bring, runs setup.py with the newest setuptools, and so
# fails at seqeval.
pip_flags=(--quiet --disable-pip-version-check --use-pep517 --constraint "$checkout/scripts/constraints.txt")
if [[ -z $cpu && $(uname -s) == Linux ]] && ! command -v nvidia-smi >/dev/null; then
  say "no NVIDIA GPU is seen: --cpu takes PyTorch's build for the CPU, 2.4 GB in all, not 5.4"
fi
say "making $venv with Python $version"
rm -f -- "$venv/.installed"
"$base" -m venv "$venv"
install() {
  "$venv/bin/python" -m pip install "${pip_flags[@]}" "$@"
}

# build_fairseq: builds the wheel, unless the cache has it; sets $wheel to its path.
build_fairseq() {
  local torch cache work log pid seconds=0 how=(--no-deps)
  # In the environment, whose torch it is linked with; but upstream's archive lacks sources of what it compiles where it
  # finds torch, and runs without them.
  if [[ $stack != legacy ]]; then how+=(--no-build-isolation); fi
  torch=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("torch"))')
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairseq_intra/fairseq/$fairseq-python$version-torch$torch
  mkdir -p -- "$cache"
  wheel=$(find "$cache" -maxdepth 1 -name '*.whl')
  [[ -z $wheel ]] || return 0
  work=$(mktemp -d "$cache/.build.XXXXXX")
  log=$cache/build.log
  say "building $fairseq: about 3 minutes of one core (log: $log)"
  "$venv/bin/python" -m pip wheel "${pip_flags[@]}" "${how[@]}" --wheel-dir "$work" "$fairseq" \
    >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    seconds=$((seconds + 1))
    if ((seconds % 30 == 0)); then say "still building, $seconds s"; fi
  done
  if ! wait "$pid"; then
    rm -rf -- "$work"
    die "building $fairseq failed; the whole log is $log, and it ends: $(tail -n 1 "$log")"
  fi
  # In one step, so that a broken build never leaves half a wheel.
  mv -- "$work"/*.whl "$cache"
  rm -rf -- "$work"
  wheel=$(find "$cache" -maxdepth 1 -name '*.whl')
}

say "torch and the rest"
if [[ -n $cpu ]]; then
  torch=$(sed -n 's/^torch==//p' "$checkout/scripts/constraints.txt")
  install "torch==$torch+cpu" ||
    die "--cpu: pip found no torch $torch+cpu; set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds, which https://pytorch.org/get-started shows"
fi
install --editable "${checkout}[$extras]"
if [[ -n $fairseq ]]; then
  install --requirement "$checkout/scripts/requirements-source.txt"
  build_fairseq
  # It comes under more than one name, all with the same files.
  "$venv/bin/python" -m pip uninstall --quiet --yes fairseq fairseq-fixed ve-fairseq 2>/dev/null
  install --no-deps "$wheel"
fi
printf '%s\n' "$state" >"$venv/.installed"
say "done: $venv/bin/fairseq-intra"
