# shellcheck shell=bash
# What every script of scripts/ and data-prep/ shares. Source it after `set -euo pipefail`.

# The folder's real place, whatever CDPATH is and by whatever link it was reached.
checkout=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
program=$(basename -- "$0")

# The help text is the comment at the head of the calling script: one text, read in both places.
usage() {
  awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
}

say() {
  printf '%s: %s\n' "$program" "$*" >&2
}

die() {
  printf '%s: error: %s\n' "$program" "$*" >&2
  exit 1
}

# need_value FLAG REMAINING_ARGUMENTS...: the flag's value must be there, must not be empty, as that of an unset variable is, and
# must not be another flag.
need_value() {
  if [[ $# -lt 2 || -z $2 || $2 == --* ]]; then
    die "$1 needs a value (see $program --help)"
  fi
}

# need_count FLAG VALUE: a whole number of at least 1.
need_count() {
  [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 must be a whole number of at least 1, not '$2'"
}

# need_seed FLAG VALUE: a whole number, 0 included.
need_seed() {
  [[ $2 =~ ^[0-9]+$ ]] || die "$1 must be a whole number, not '$2'"
}

# find_python [PATH]: sets $python to the interpreter that runs fairseq: the one given (--python), else
# $FAIRSEQ_INTRA_PYTHON, else the checkout's .venv (scripts/install.sh makes it), else python3.
find_python() {
  python=${1:-${FAIRSEQ_INTRA_PYTHON:-}}
  if [[ -z $python ]]; then
    python=$checkout/.venv/bin/python
    [[ -x $python ]] || python=python3
  fi
  command -v -- "$python" >/dev/null || die "no Python at '$python'; give --python PATH"
  export PYTHONPATH=$checkout${PYTHONPATH:+:$PYTHONPATH}
  # Not in the current folder, which may hold a clone of it.
  "$python" -c 'import importlib.util as u, sys; sys.path = [*filter(None, sys.path)]; sys.exit(u.find_spec("fairseq") is None)' ||
    die "'$python' has no fairseq; run scripts/install.sh first, or give --python PATH"
}

# How $python runs the checkout's own commands. No module of the current folder is imported.
run_checkout='import sys; sys.path[0] = sys.argv.pop(1); from fairseq_intra.cli import main; main()'

# become_command COMMAND ARGUMENTS...: the script becomes that command; --python PATH among the arguments is the
# interpreter (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else python3), --help shows the script's help
# text, and where fairseq is installed the command's below it.
become_command() {
  local python_flag='' help='' given=()
  while (($#)); do
    case $1 in
      --python) need_value "$@"; python_flag=$2; shift 2 ;;
      --python=*) python_flag=${1#*=}; shift ;;
      --help | -h) usage; help=yes given+=(--help); shift ;;
      *) given+=("$1"); shift ;;
    esac
  done
  if [[ -n $help ]]; then
    (find_python "$python_flag") 2>/dev/null || exit 0
    echo
  fi
  find_python "$python_flag"
  exec "$python" -c "$run_checkout" "$checkout" ${given[@]+"${given[@]}"}
}

# pass_signals PROGRAM...: runs it to its end. What signal ends this script ends the program first; SIGUSR1 goes to it.
pass_signals() {
  local status=0 child
  "$@" &
  child=$!
  trap 'kill -TERM "$child"' TERM INT HUP
  trap 'kill -USR1 "$child"' USR1
  # A signal ends the waiting, not the command.
  while wait "$child" && status=0 || status=$?; kill -0 "$child" 2>/dev/null; do :; done
  trap - TERM INT HUP USR1
  ((status == 0)) || exit "$status"
}

# show_translation CHECKPOINT DATA LANG: prints the command that translates text with a model, on a line of test.
show_translation() {
  local command
  command=$(dirname -- "${FAIRSEQ_INTRA_PYTHON:-$checkout/.venv/bin/python}")/fairseq-intra
  printf 'Translate your own text, a sentence a line, with the model that was made (or --input FILE --output FILE):\n\n'
  printf "  printf '%%s\\\\n' %q |\n" "$(head -n 1 "$2/raw/test.$3")"
  printf '    %q translate --checkpoint %q --data %q\n' "$command" "$1" "$2"
}
