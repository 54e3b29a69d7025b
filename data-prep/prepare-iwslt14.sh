#!/usr/bin/env bash
# prepare-iwslt14.sh: IWSLT'14, any of its eight languages to English, from the archive to data for fairseq.
#
#   data-prep/prepare-iwslt14.sh [--langs "ar de es fa he it nl pl"] [--archive FILE | --url URL] --out DIR [options]
#
# The text is made as the method's authors made theirs, with sacremoses in place of Moses' Perl scripts: of the talks'
# metadata, titles and descriptions are kept; pairs of 1 to 175 tokens and a ratio of at most 1.5 are kept, lowercased
# and detokenised; every 23rd goes to valid; test is TED.dev2010, TEDX.dev2012 (where it exists), TED.tst2010, tst2011
# and tst2012, lowercased, with ’ made '. OUT/XX-en/text has it, and SOURCES.json beside it counts what was left out;
# the rest of OUT/XX-en is what prepare-parallel.sh makes of it (see its --help).
#
# Required:
#   --out DIR              the folder to make; each pair is a folder XX-en in it
# Options:
#   --langs "LANG..."      any of ar de es fa he it nl pl (all)
#   --archive FILE         the campaign's 2014-01.tgz, or a pair's own XX-en.tgz; without it and --url, the archive is
#                          fetched: for German alone dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz, else, or
#                          where that fails, WIT3's file on Google Drive (with gdown: pip install gdown)
#   --url URL              fetch the archive from here
#   --cache DIR            where fetched archives are kept ($XDG_CACHE_HOME/fairseq_intra/archives)
#   --vocab-size N         pieces of the joint model (12000)
#   --character-coverage X share of the text's characters that the model knows (0.99999995)
#   --workers N            processes to work with (all cores); the result does not depend on it
#   --python PATH          the Python that has fairseq
#   --help                 this text
#
# An interrupted download or run is gone on with when repeated. An archive's SHA-256 is written down when it is first
# seen (beside it in the cache; in OUT/archive.sha256 for --archive), and it must have that from then on. The talks
# are licensed CC BY-NC-ND 3.0 by TED.
#
# Environment: FAIRSEQ_INTRA_PYTHON is what --python is when not given; XDG_CACHE_HOME (~/.cache) is where the cache
# lies when --cache is not given; http_proxy and https_proxy are heeded.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"
export PYTHONUTF8=1

known='ar de es fa he it nl pl'
langs=$known archive='' url='' out='' python_given='' workers=$(nproc)
cache=${XDG_CACHE_HOME:-${HOME:-.}/.cache}/fairseq_intra/archives
passed_on=()

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --langs | --archive | --url | --out | --cache | --vocab-size | --character-coverage | --workers | --python)
      need_value "$@" ;;
    *) die "unknown argument '$1' (see $program --help)" ;;
  esac
  case $1 in
    --langs) langs=$2 ;;
    --archive) archive=$2 ;;
    --url) url=$2 ;;
    --out) out=$2 ;;
    --cache) cache=$2 ;;
    --workers) need_count "$1" "$2"; workers=$2 ;;
    --python) python_given=$2 ;;
    *) passed_on+=("$1" "$2") ;;
  esac
  shift 2
done

need_out "$out"
read -ra languages <<<"$langs"
((${#languages[@]})) || die "--langs names no language; it is any of $known"
for lang in "${languages[@]}"; do
  [[ " $known " == *" $lang "* ]] || die "--langs has '$lang', which IWSLT'14 has not; it is any of $known"
done
[[ -z $archive || -z $url ]] || die "--archive and --url are two answers to one question; give one"
[[ -z $archive || -f $archive ]] || die "--archive '$archive' is not a file"
find_python "$python_given"

helper() {
  local step=$1
  shift
  "$python" -- "$checkout/data-prep/prepare_iwslt14.py" "$step" "$@" 8>&- 9>&-
}

work=''
trap 'rm -rf -- ${work:+"$work"}; remove_if_empty "$out"' EXIT

# take_archive LANG...: sets $archive and $sha256 to one that is whole, unaltered and has the languages.
take_archive() {
  local record=$out/archive.sha256
  if [[ -z $archive ]]; then
    lock_cache --cache "$cache"
    archive=$(helper fetch --langs "$*" --cache "$cache" ${url:+--url "$url"})
    unlock_cache
    record=$archive.sha256
  fi
  say "checking $archive"
  sha256=$(helper check --archive "$archive" --record "$record" --langs "$*")
}

# find_pending: sets $pending to the languages whose text is not there yet.
find_pending() {
  local lang state
  pending=()
  for lang in "${languages[@]}"; do
    state=$(helper begin --lang "$lang" --out "$out/$lang-en" ${sha256:+--sha256 "$sha256"})
    [[ $state == finished ]] || pending+=("$lang")
  done
}

will_make "$out"
make_folder --out "$out"
sha256=''
if [[ -n $archive || -n $url ]]; then take_archive "${languages[@]}"; fi
find_pending
if ((${#pending[@]})) && [[ -z $sha256 ]]; then take_archive "${pending[@]}"; fi

for lang in "${languages[@]}"; do
  if [[ " ${pending[*]} " == *" $lang "* ]]; then
    make_text "$out/$lang-en" helper extract --lang "$lang" --archive "$archive" --sha256 "$sha256" \
      --workers "$workers"
  else
    say "$lang-en: text done before"
  fi
  # Lowercased it is already; the flag has the manifest say so.
  "$checkout/data-prep/prepare-parallel.sh" --input "$out/$lang-en/text" --src "$lang" --tgt en \
    --out "$out/$lang-en" --lowercase --workers "$workers" --python "$python" "${passed_on[@]}"
done
say "finished: ${languages[*]/%/-en} in $out"
