# shellcheck shell=bash
# What every script of scripts/ and data-prep/ shares. Source it after `set -euo pipefail`.

# The folder's real place, whatever CDPATH is and by whatever link it was reached.
checkout=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
program=$(basename -- "$0")

# The help text is the comment at the head of the calling script: one text, read in both places.
usage() {
  awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
}

# wants_help ARGUMENTS...: with --help or -h among them, shows the help text and ends.
wants_help() {
  local word
  for word; do
    if [[ $word == --help || $word == -h ]]; then usage; exit; fi
  done
}

say() {
  printf '%s: %s\n' "$program" "$*" >&2
}

die() {
  printf '%s: error: %s\n' "$program" "$*" >&2
  exit 1
}

# need_value FLAG REMAINING_ARGUMENTS...: the flag's value must be there and must not be another flag.
need_value() {
  if [[ $# -lt 2 || $2 == --* ]]; then
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

# need_dataset FLAG DIR: a folder that data-prep/ finished.
need_dataset() {
  [[ -n $2 ]] || die "$1 is missing: the dataset's folder"
  [[ -f $2/manifest.json ]] || die "$1 $2 is not a prepared dataset: no manifest.json (see data-prep/)"
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
  "$python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("fairseq") is None)' ||
    die "'$python' has no fairseq; run scripts/install.sh first, or give --python PATH"
}

# How $python runs the checkout's own commands. No module of the current folder is imported.
run_checkout='import sys; sys.path[0] = sys.argv.pop(1); from fairseq_intra.cli import main; main()'

# become_command COMMAND ARGUMENTS...: the script becomes that command; --python PATH among the arguments is the
# interpreter (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else python3), --help shows the script's help
# text before the command's.
become_command() {
  local python_flag='' given=()
  while (($#)); do
    case $1 in
      --python) need_value "$@"; python_flag=$2; shift 2 ;;
      --python=*) python_flag=${1#*=}; shift ;;
      --help | -h) usage; echo; given+=(--help); shift ;;
      *) given+=("$1"); shift ;;
    esac
  done
  find_python "$python_flag"
  exec "$python" -c "$run_checkout" "$checkout" "${given[@]}"
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

# tune_cpu: what makes torch fast on a CPU. glibc gives large blocks back to the system at once and gets them back as
# pages to be zeroed, a fifth of a training step's time. Threads that spin long while they wait cost most of the
# speed where another program wants the same cores; threads that sleep at once cost a quarter where none does.
tune_cpu() {
  export MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=4000000000 GOMP_SPINCOUNT=10000
}

# make_folder FLAG DIR: DIR, given by FLAG, exists from here on and can be written to.
make_folder() {
  mkdir -p -- "$2" 2>/dev/null || die "$1 '$2' cannot be made a folder"
  [[ -w $2 ]] || die "$1 '$2' cannot be written to"
}

# publish FROM TO: a finished file or folder takes its name in one step, so that no reader ever sees half of it.
publish() {
  rm -rf -- "$2"
  mv -- "$1" "$2"
}

# keep_arguments DIR ARGUMENTS: what DIR is made with, one a line, stands in DIR/arguments.txt from here on; what it
# was made with before must be the same.
keep_arguments() {
  local difference
  if [[ -f $1/arguments.txt ]]; then
    if ! difference=$(diff -- "$1/arguments.txt" - <<<"$2"); then
      die "$1 is a run with other arguments or data; give another --out. The first that differs: $(grep -m1 '^[<>]' <<<"$difference") (< the run's, > yours)"
    fi
  else
    printf '%s\n' "$2" >"$1/.arguments.partial"
    publish "$1/.arguments.partial" "$1/arguments.txt"
  fi
}

# train_logged LOG COMMAND...: runs fairseq-train, adds all that it says to LOG, and shows what tells of its progress.
train_logged() {
  local log=$1
  shift
  "$@" 2>&1 | tee -a "$log" |
    { grep --line-buffered -E '\| (train_inner|valid|train|WARNING|ERROR) \||[Ee]rror' || true; } ||
    die_of fairseq-train "$log"
}

# die_of COMMAND LOG: ends the script because COMMAND failed; the reason is the last that LOG has of it, unless the disk
# of LOG is full, so that LOG may lack it.
die_of() {
  local because full=''
  head -c 65536 /dev/zero >"$2.space" 2>/dev/null || full=1
  rm -f -- "$2.space"
  [[ -z $full ]] || die "$1 failed: no space left on the disk of $2; free some and run this again"
  because=$(grep -v '^ ' -- "$2" | tail -n 1 || true)
  die "$1 failed; the whole log is $2${because:+, and it ends: $because}"
}
