#!/usr/bin/env bash
# prepare-l10n.sh: real parallel text out of Python wheels, made ready for fairseq by prepare-parallel.sh.
#
#   data-prep/prepare-l10n.sh [--lang de] --out DIR [options]
#
# Home Assistant, Django, django-oscar, Plone, Wagtail and django CMS (for Arabic also pretix and Weblate, for
# Persian also Weblate) come with human translations of their interface. Their wheels are fetched by pip in
# pinned versions (about 110 MB for German), the messages are paired with the English ones and split so that no
# message of valid or test is in train, on either side, in any spelling of the same letters and digits. The
# source is the language, the target is English. What each wheel gave, and its licence, is in
# OUT/text/SOURCES.json; the rest of OUT is what prepare-parallel.sh makes of OUT/text (see its --help).
#
# Required:
#   --out DIR              the folder to make
# Options:
#   --lang LANG            ar, de, es, fa, he, it, nl or pl (de)
#   --train N              pairs of train (all)
#   --max-words N          most words of a side in train (no limit); valid and test keep their long messages
#   --valid N              pairs of valid (1000, or a tenth of all messages where that is less)
#   --test N               pairs of test (the same)
#   --seed N               another seed makes another split (1)
#   --cache DIR            where wheels are kept ($XDG_CACHE_HOME/fairseq_intra/wheels); on a machine without
#                          network, put the wheels of the pin list there
#   --wheels FILE          another pin list than data-prep/l10n-wheels.txt
#   --vocab-size N         pieces of the joint model (de, es 12000; it, nl 8000; ar, he, pl 4000; fa 2000)
#   --lowercase, --clean, --max-ratio R, --min-tokens N, --max-tokens N, --character-coverage X, --workers N
#                          are those of prepare-parallel.sh
#   --python PATH          the Python that has fairseq
#   --help                 this text
#
# Repeated after an interruption, it goes on behind the last step that was finished.
#
# Environment: FAIRSEQ_INTRA_PYTHON is what --python is when not given; XDG_CACHE_HOME (~/.cache) is where the
# cache lies when --cache is not given; pip reads its own (PIP_INDEX_URL, PIP_NO_INDEX ...).

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"
export PYTHONUTF8=1

# Home Assistant runs on Python 3.14.2 and later only, and pip hides a wheel from a Python that cannot run it.
wheels_python=3.14.9

lang=de out='' seed=1 vocab_size='' python_given=''
cache=${XDG_CACHE_HOME:-${HOME:-.}/.cache}/fairseq_intra/wheels
wheels=$checkout/data-prep/l10n-wheels.txt
sizes=() passed_on=()

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --lowercase | --clean) passed_on+=("$1"); shift; continue ;;
    --lang | --out | --train | --max-words | --valid | --test | --seed | --cache | --wheels | --vocab-size | \
      --max-ratio | --min-tokens | --max-tokens | --character-coverage | --workers | --python) need_value "$@" ;;
    *) die "unknown argument '$1' (see $program --help)" ;;
  esac
  case $1 in
    --lang) lang=$2 ;;
    --out) out=$2 ;;
    --train | --max-words | --valid | --test) need_count "$1" "$2"; sizes+=("$1" "$2") ;;
    --seed) need_count "$1" "$2"; seed=$2 ;;
    --cache) cache=$2 ;;
    --wheels) wheels=$2 ;;
    --vocab-size) need_count "$1" "$2"; vocab_size=$2 ;;
    --python) python_given=$2 ;;
    *) passed_on+=("$1" "$2") ;;
  esac
  shift 2
done

need_out "$out"
[[ -f $wheels ]] || die "--wheels '$wheels' is not a file"
case $lang in
  de | es) vocab_size=${vocab_size:-12000} ;;
  it | nl) vocab_size=${vocab_size:-8000} ;;
  ar | he | pl) vocab_size=${vocab_size:-4000} ;;
  fa) vocab_size=${vocab_size:-2000} ;;
  *) die "--lang must be ar, de, es, fa, he, it, nl or pl, not '$lang'" ;;
esac
find_python "$python_given"
"$python" -c 'import polib' 2>/dev/null || die "'$python' has no polib; install it: $python -m pip install polib"

helper() {
  local step=$1
  shift
  "$python" -- "$checkout/data-prep/prepare_l10n.py" "$step" --lang "$lang" --wheels "$wheels" "$@" 8>&- 9>&-
}

# fetch REQUIREMENT: one wheel into the cache, under its name only once it is whole and has the pinned checksum.
fetch() {
  say "downloading ${1%% *}"
  printf '%s\n' "$1" >"$aside/requirement.txt"
  "$python" -m pip download --disable-pip-version-check --no-cache-dir --retries 2 --no-deps --require-hashes \
    --only-binary=:all: --python-version "$wheels_python" --dest "$aside" --requirement "$aside/requirement.txt" \
    >"$aside/log" 2>&1 8>&- ||
    die "cannot download ${1%% *} ($(grep -m 1 '^ERROR' "$aside/log" || tail -n 1 "$aside/log"));" \
      "without network, put its wheel into $cache"
  mv -f -- "$aside"/*.whl "$cache/"
}

aside='' work=''
trap 'rm -rf -- ${aside:+"$aside"} ${work:+"$work"}' EXIT

state=$(helper begin --out "$out" --seed "$seed" "${sizes[@]}")
if [[ $state == finished ]]; then
  say "text: done before"
else
  requirements=$(helper missing --cache "$cache")
  if [[ -n $requirements ]]; then
    lock_cache --cache "$cache"
    if ((waited)); then requirements=$(helper missing --cache "$cache"); fi
    rm -rf -- "$cache"/.partial.*
    aside=$(mktemp -d -- "$cache/.partial.XXXXXX")
    while read -r requirement; do
      [[ -z $requirement ]] || fetch "$requirement"
    done <<<"$requirements"
    rm -rf -- "$aside"
    unlock_cache
  fi
  make_text "$out" helper extract --cache "$cache" --seed "$seed" "${sizes[@]}"
fi

exec "$checkout/data-prep/prepare-parallel.sh" --input "$out/text" --src "$lang" --tgt en --out "$out" \
  --vocab-size "$vocab_size" --python "$python" "${passed_on[@]}"
