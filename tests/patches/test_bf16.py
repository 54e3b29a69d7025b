"""`--bf16` without a TPU. What the precision does to the losses is in test_precision.py."""

import commands
import pytest
from fairseq import options

from fairseq_intra import plugin  # noqa: F401


@pytest.mark.parametrize("flag", ["--bf16", "--memory-efficient-bf16"])
def test_it_is_not_taken_for_a_flag_of_tpus(flag):
    words = ["data", "--arch", "transformer_iwslt_de_en", "--task", "translation", flag]
    args = options.parse_args_and_arch(options.get_training_parser(), words)
    assert args.bf16 and not args.tpu
    assert options.parse_args_and_arch(options.get_training_parser(), [*words, "--tpu"]).tpu


@pytest.mark.slow
def test_it_trains_from_the_command_line(dataset, schedule, tmp_path):
    flags = ["--bf16", "--fp16-no-flatten-grads", "--max-update", 2, "--disable-validation", "--no-save"]
    assert "num_updates=2," in commands.train(dataset, tmp_path, *schedule, *flags)
