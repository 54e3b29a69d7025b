"""What is fixed in fairseq, each by feature and not by version number. Applied once; for plain training too."""


def apply() -> None:
    """Applies every patch; repeated, it does nothing."""
    from . import (
        atomic_save,
        compat,
        data_parallel,
        dictionary_checksum,
        input_checks,
        paths,
        preemption,
        resume,
        safe_loading,
        task_state,
    )

    first = (safe_loading, compat, paths, data_parallel, input_checks)
    for patch in (*first, resume, task_state, atomic_save, preemption, dictionary_checksum):
        patch.apply()
