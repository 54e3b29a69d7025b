#!/usr/bin/env bash
# prepare-glue.sh: one of GLUE's tasks, or one's own in the same layout, to data for fairseq's sentence_prediction.
#
#   data-prep/prepare-glue.sh --input GLUE/RTE --vocabulary roberta.base --out DATA
#
# Nothing is downloaded. Lines with another number of columns than the first are left out and counted. Repeated, a
# finished folder is left as it is; one that was made from other files is rejected.
# --python PATH is the interpreter that has fairseq (default: $FAIRSEQ_INTRA_PYTHON, else .venv of the checkout, else
# python3); the other flags are those of the command below.

set -euo pipefail
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../scripts/lib.sh"

# The texts in the encoder's subwords, the labels, both by fairseq-preprocess.
become_command prepare glue "$@"
