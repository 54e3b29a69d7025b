#!/usr/bin/env bash
# IWSLT'14: the 8 language pairs of the paper's table, plain training beside intra-distillation, to the table of BLEU.
#
# Usage: scripts/iwslt14.sh --data DIR --out DIR [options] [flags of scripts/train.sh...]
#
#   --data DIR        folder of datasets <lang>-en/, as data-prep/prepare-iwslt14.sh makes it
#   --out DIR         the runs as <lang>-en.<method>.seed<N>/, what they printed in logs/, and table.md
#   --langs LIST      languages translated into English, as a quoted list (default: all 8)
#   --methods LIST    of plain, rdrop (R-Drop), intra and late, as a quoted list (default: plain intra)
#   --seeds LIST      random seeds, as a quoted list (default: 1)
#   --corpus NAME     DIR holds datasets of another corpus, called NAME in the table: any folder <name>-en is one,
#                     <name> what --langs takes (default: all of them); no figures of the paper stand beside
#   --gpus LIST       indices of GPUs, such as 0,1,2 (default: all; without a GPU the CPU)
#   --gpus-per-run N  GPUs that work on one run together (default: 1); the batch stays the same
#   --jobs N          runs in parallel on each GPU, or on the CPU (default: 1)
#   --average N       evaluate the mean of the last N checkpoints, not the best one
#   --list, --table   for other schedulers: print one command a run; make the table of what is finished
#   --python PATH     interpreter that has fairseq (default: as scripts/train.sh)
#
# It is `fairseq-intra grid translation`, whose --help says the rest. All other flags go to scripts/train.sh: --preset
# tiny --updates 300 --dropout 0.2; those of the method, such as --alpha 1, to the runs of intra-distillation alone.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
become_command grid translation "$@"
