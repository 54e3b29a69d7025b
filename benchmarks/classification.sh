#!/usr/bin/env bash
# Fine-tuning on real text, plain and with intra-distillation: a small masked language model is trained on the Bible in
# five languages, then fine-tuned to tell from two words which language they are of. Writes OUT/classification.md.
#
# Usage: benchmarks/classification.sh --data DIR --out DIR [options] [flags of glue.sh and finetune.sh...]
#
#   --data DIR        bible/{train,valid}.{de,en,es,nl,pl}.gz
#   --out DIR         text, the masked language model in mlm/, runs and table
#   --examples N      labelled examples to learn from (default: 200)
#   --updates N       updates of the masked language model (default: 600)
#
# Repeated, it resumes. About a quarter of an hour on one CPU core.
set -euo pipefail
# shellcheck source=benchmarks/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

data='' out='' examples=200 updates=600 passed=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --data) need_value "$@"; data=$2; shift 2 ;;
    --out) need_value "$@"; out=$2; shift 2 ;;
    --examples) need_value "$@"; need_count "$@"; examples=$2; shift 2 ;;
    --updates) need_value "$@"; need_count "$@"; updates=$2; shift 2 ;;
    --help | -h) usage; exit ;;
    *) passed+=("$1"); shift ;;
  esac
done
[[ -n $data ]] || die "--data is missing: the folder of the text"
[[ -d $data/bible ]] || die "--data $data has no folder bible"
[[ -n $out ]] || die "--out is missing: where everything goes"
find_python
export FAIRSEQ_INTRA_PYTHON=$python
make_folder --out "$out"
keep_arguments "$out" "data $(realpath -- "$data")"$'\n'"examples $examples"$'\n'"updates $updates"
tune_cpu

# quietly COMMAND...: what it says goes to log.txt.
quietly() {
  "$@" >>"$out/log.txt" 2>&1 || die "failed: $(tail -n 1 "$out/log.txt") (see $out/log.txt)"
}

size=(--arch roberta --encoder-layers 2 --encoder-embed-dim 128 --encoder-ffn-embed-dim 256
  --encoder-attention-heads 4 --dropout 0.1 --attention-dropout 0.1)
if [[ ! -f $out/vocabulary/dict.txt ]]; then
  say "text and subwords"
  quietly "$python" "$checkout/benchmarks/classification_text.py" --data "$data" --out "$out" --train "$examples"
  rm -rf -- "${out:?}/bin"
  quietly "$python" -m fairseq_intra.run_fairseq preprocess --only-source --trainpref "$out/train.subwords" \
    --validpref "$out/valid.subwords" --destdir "$out/bin" --workers 1
  cp -- "$out/bin/dict.txt" "$out/vocabulary/.dict.partial"
  publish "$out/vocabulary/.dict.partial" "$out/vocabulary/dict.txt"
fi
say "masked language model, $updates updates"
quietly "$python" -m fairseq_intra.run_fairseq train "$out/bin" --user-dir "$checkout/fairseq_intra" --cpu --task masked_lm \
  --criterion masked_lm "${size[@]}" --sample-break-mode eos --tokens-per-sample 128 --skip-invalid-size-inputs-valid-test --max-tokens 2000 --seed 1 \
  --optimizer adam --adam-betas '(0.9,0.98)' --lr 2e-3 --lr-scheduler polynomial_decay --total-num-update "$updates" \
  --warmup-updates 60 --max-update "$updates" --no-epoch-checkpoints --save-interval-updates 100 \
  --keep-interval-updates 1 --validate-interval-updates "$updates" --save-dir "$out/mlm" --no-progress-bar \
  --log-format simple
"$checkout/scripts/glue.sh" --glue "$out/glue" --tasks language --checkpoint "$out/mlm/checkpoint_last.pt" \
  --vocabulary "$out/vocabulary" --out "$out/runs" "${size[@]}" --max-positions 128 --lr 5e-4 --epochs 20 \
  --pooler-dropout 0.1 ${passed[@]+"${passed[@]}"}
{
  printf '# Which language are two words of? Plain fine-tuning beside intra-distillation\n\n'
  # shellcheck disable=SC2016  # Markdown
  printf 'Printed by `benchmarks/classification.sh --data DIR --out DIR --examples %s --updates %s%s` on %s, %s, Python %s.\n\n' \
    "$examples" "$updates" "${passed[*]:+ ${passed[*]}}" "$(date --utc +%F)" \
    "$(awk -F ': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) CPUs" \
    "$("$python" -c 'import platform, torch, importlib.metadata as m; print(platform.python_version() + ", torch " + torch.__version__ + ", fairseq " + m.version(m.packages_distributions()["fairseq"][0]))')"
  printf 'A RoBERTa of 2 layers of 128, trained as a masked language model on the Bible in five languages, fine-tuned on\n'
  printf '%s labelled examples for 20 epochs; %s others to test on.\n\n' \
    "$examples" "$(($(wc -l <"$out/glue/language/dev.tsv") - 1))"
  cat -- "$out/runs/table.md"
} >"$out/.classification.partial"
publish "$out/.classification.partial" "$out/classification.md"
