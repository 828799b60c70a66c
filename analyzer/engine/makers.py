"""The version of thermotrace in a process, and a check that all workers of a cluster have the same.

Tasks travel to workers as names of functions. A worker with another version would run its own functions of these names,
and its sums would be kept for everybody.
"""

from __future__ import annotations

import sys
from typing import Any

from analyzer.engine.sums import KERNELS
from analyzer.errors import WorkerVersionError
from analyzer.version import VERSION

_TELL = """
try:
    import hashlib, pathlib, analyzer
    from analyzer.version import version
    folder = pathlib.Path(analyzer.__file__).parent
    code = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        code.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    told = f"version {version()} (code {code.hexdigest()[:8]})"
except Exception as error:
    told = f"none that can be loaded ({type(error).__name__}: {error})"
"""
"""Finds out which code a process has. It travels as text: a worker with another version may lack our functions."""


def maker() -> str:
    """Version of thermotrace and of its kernels in this process."""
    return f"version {VERSION} (kernels {KERNELS})"


def require_maker(asked: str) -> None:
    """Refuse a task that another version planned.

    Raises
    ------
    WorkerVersionError
    """
    if asked != maker():
        raise _refusal(asked, f"a worker with {maker()}")


def check_workers(client: Any) -> None:
    """Refuse a cluster in which a worker has other code than this process, before anything is computed.

    Parameters
    ----------
    client
        A `distributed.Client` that is connected.

    Raises
    ------
    WorkerVersionError
        The message names such workers and their versions.
    """
    ask = f"(lambda names: (exec({_TELL!r}, names), names['told'])[1])({{}})"
    own = eval(ask)
    others = {address: told for address, told in client.run(eval, ask).items() if told != own}
    if others:
        listed = [f"{told} at {address}" for address, told in sorted(others.items())]
        raise _refusal(own, ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else ""))


def check_default_workers() -> None:
    """As `check_workers`, for the cluster that dask would use by default, if there is one.

    Raises
    ------
    WorkerVersionError
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return
    try:
        client = distributed.default_client()
    except (ValueError, AttributeError):  # none, or a package that is half loaded
        return
    if not client.asynchronous and client.status == "running":
        check_workers(client)


def _refusal(expected: str, found: str) -> WorkerVersionError:
    return WorkerVersionError(
        f"Cluster: expected every worker to have this thermotrace, {expected}, got {found}. Another version may "
        "compute other sums, which would be kept. Install the same one where the workers run, and restart them: "
        f"pip install thermotrace=={VERSION}",
        expected=expected,
        found=found,
    )
