#!/usr/bin/env bash
# Multi30k, from its text to the table: plain training beside other methods, over seeds and three test sets, with
# published figures beside ours.
#
# Usage: scripts/multi30k.sh --out DIR [options] [flags of scripts/train.sh...]
#
#   --out DIR         data/, the runs as <pair>.<method>.seed<N>/, what they printed in logs/, and table.md
#   --langs LIST      translated from English, as a quoted list (default: de)
#   --reverse         into English instead
#   --input PATH      the dataset's repository (github multi30k/dataset), a folder or its .tar.gz (default: fetched)
#   --url URL         fetch the archive from here
#   --methods LIST    of plain, rdrop (R-Drop), intra and late, as a quoted list (default: plain rdrop intra late)
#   --seeds LIST      random seeds, as a quoted list (default: 1)
#   --average N       evaluate the mean of the last N checkpoints (default: 10)
#   --gpus LIST       indices of GPUs, such as 0,1,2 (default: all; without a GPU the CPU)
#   --gpus-per-run N  GPUs that work on one run together (default: 1); the batch stays the same
#   --jobs N          runs in parallel on each GPU, or on the CPU (default: 1)
#   --dry-run         print all commands, and do nothing
#   --list, --table   for other schedulers: make the data and print one command a run; make the table of what is finished
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# It is `fairseq-intra grid multi30k`, whose --help says the rest. All other flags go to scripts/train.sh, whose preset is
# multi30k: Transformer-Tiny, at most 8,000 updates of 8,192 tokens, which end when validation has not improved for ten
# epochs. Each test set is translated twice: with length penalty 1, and with the one that is best on valid. It needs
# subword-nmt (scripts/install.sh brings it; elsewhere pip install 'CHECKOUT[multi30k]').
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command grid multi30k --methods "plain rdrop intra late" --seeds 1 "$@"
