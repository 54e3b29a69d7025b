"""fairseq's commands, run on files that try to run code: what each of them says.

python attacked.py FILE, which holds a JSON list of [command, arguments]. Prints a line of JSON for each: its exit
status, and its standard error.
"""

import importlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

COMMANDS = ("train", "generate", "interactive", "validate", "eval_lm")


def main(file):
    modules = {name: importlib.import_module(f"fairseq_cli.{name}") for name in COMMANDS}
    calls = json.loads(Path(file).read_text(encoding="utf-8"))
    errors = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in calls]
    running, statuses = {}, {}
    for number, (name, arguments) in enumerate(calls):
        # A fork, because importing torch and fairseq takes longer than all the rest.
        process = os.fork()
        if process == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(errors[number].fileno(), 2)
            os._exit(_status(modules[name], [f"fairseq-{name}", *arguments]))
        running[process] = number
        if len(running) == 2 or number == len(calls) - 1:
            _collect(running, statuses, at_most=1 if number < len(calls) - 1 else 0)
    for number, file in enumerate(errors):
        file.seek(0)
        print(json.dumps([statuses[number], file.read()]))


def _collect(running, statuses, at_most):
    """Waits until no more than so many of the processes are running."""
    while len(running) > at_most:
        process, status = os.wait()
        statuses[running.pop(process)] = os.waitstatus_to_exitcode(status)


def _status(module, argv):
    """The exit status of a command; Python's own words for how it ended go to standard error."""
    sys.argv = argv
    sys.stdin = io.StringIO()
    try:
        module.cli_main()
    except SystemExit as end:
        if end.code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr, flush=True)
            return 1
        return end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
