"""What commands print beside their result: progress and notes, to standard error."""

import sys


def say(message: str) -> None:
    """Prints one line of progress."""
    print(f"fairseq_intra: {message}", file=sys.stderr, flush=True)
