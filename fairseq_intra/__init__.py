"""Intra-distillation for fairseq: give this folder to fairseq's commands as `--user-dir`.

Importing the package does nothing by itself. Where fairseq is loaded already, as under `--user-dir`, it imports
`plugin`, which patches fairseq and registers the tasks and criterions; elsewhere it waits until fairseq reads
`--user-dir`. `import fairseq_intra.plugin` does it by hand.
"""

import sys

__version__ = "0.2.0"

if "fairseq" in sys.modules:
    from . import plugin  # noqa: F401
else:
    from . import deferred_imports, undisturbed_imports, user_dir

    undisturbed_imports.import_undisturbed()
    deferred_imports.defer_imports()
    user_dir.register_when_fairseq_reads_it()
