"""Where figures come from: machine, date, commit and command."""

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

_LINE = 'made by '


def provenance() -> dict[str, str]:
    """Machine, date, commit (empty without git) and command of this process."""
    from densecl.settings import look_at_machine

    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    found = dict(machine=str(look_at_machine()), date=time.strftime('%Y-%m-%d'), commit=commit())
    return found | dict(command=command)


def commit() -> str:
    """Short name of the commit that this code is of; empty without git."""
    command = ['git', '-C', str(Path(__file__).parent), 'rev-parse', '--short', 'HEAD']
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git
        return ''


def log_line() -> str:
    """What a training writes into its log, to be read by :func:`of_log`."""
    return _LINE + json.dumps(provenance())


def of_log(text: str) -> dict[str, str]:
    """:func:`provenance` of the training that wrote a log last; empty where it does not say it."""
    lines = re.findall(rf'- INFO - {_LINE}(\{{.+\}})$', text, flags=re.M)
    return json.loads(lines[-1]) if lines else {}
