"""`python -m fairseq_intra.cli` is `fairseq-intra`."""

from . import main

main()
