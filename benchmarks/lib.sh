# shellcheck shell=bash
# What the scripts of benchmarks/ share beside scripts/lib.sh. Source it after `set -euo pipefail`.

# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

# need_dataset FLAG DIR: a folder that data-prep/ finished.
need_dataset() {
  [[ -n $2 ]] || die "$1 is missing: the dataset's folder"
  [[ -f $2/manifest.json ]] || die "$1 $2 is not a prepared dataset: no manifest.json (see data-prep/)"
}

# tune_cpu: what makes torch fast on a CPU. glibc gives large blocks back to the system immediately and gets them back as
# pages to be zeroed, a fifth of a training step's time. Threads that spin long while they wait cost most of the
# speed where another program wants the same cores; threads that sleep immediately cost a quarter where none does.
tune_cpu() {
  export MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=4000000000 GOMP_SPINCOUNT=10000
}

# make_folder FLAG DIR: DIR, given by FLAG, exists from here on and can be written to.
make_folder() {
  mkdir -p -- "$2" 2>/dev/null || die "$1 '$2' cannot be made a folder"
  [[ -w $2 ]] || die "$1 '$2' cannot be written to"
}

# publish FROM TO: a finished file or folder takes its name.
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
