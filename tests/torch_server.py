"""A process that has loaded torch, and forks one for each script that it is asked to run (`tests/scripts.py`).

It imports nothing of this project: a script finds what it imports as `python SCRIPT` would.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in ("torch._dynamo", "torch.utils.data"):
        importlib.import_module(name)


def next_script(connection: socket.socket) -> dict | None:
    """Return what to run, in a process made for it; None in this process, when nobody asks any more."""
    waiting: list[int] = []  # processes that wait for a script, and tell its exit code
    while True:
        asked, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        waiting = [process for process in waiting if os.waitpid(process, os.WNOHANG)[0] == 0]
        if not asked:
            return None
        out, err, status = descriptors
        if (waits := os.fork()) == 0:
            connection.close()
            if (script := os.fork()) == 0:
                os.setsid()
                os.close(status)
                for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                return json.loads(asked)
            os.close(out)
            os.close(err)
            os.write(status, b"%d\n" % script)
            os.write(status, b"%d\n" % os.waitpid(script, 0)[1])
            os._exit(0)
        waiting.append(waits)
        for descriptor in descriptors:
            os.close(descriptor)


def become(words: list[str], cwd: str, env: dict[str, str]) -> None:
    """Run a script in the module `__main__`, which is empty then. Its process ends as any other does."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    sys.path[0] = str(Path(words[0]).parent)
    code = compile(Path(words[0]).read_bytes(), words[0], "exec")
    names = sys.modules["__main__"].__dict__
    for name in [name for name in names if not name.startswith("__")]:
        del names[name]
    names["__file__"], names["__doc__"] = words[0], None
    exec(code, names)


if __name__ == "__main__":
    gc.freeze()
    if (_asked := next_script(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(**_asked)
