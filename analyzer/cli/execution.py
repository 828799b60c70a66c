"""Computing an answer by threads, processes or a cluster: with a progress bar, and in order after Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import dask
import dask.threaded
import xarray as xr
from dask.callbacks import Callback

from analyzer.cli.progress import bar
from analyzer.cli.text import printable, say, warnings_in_a_line
from analyzer.engine.makers import check_workers
from analyzer.errors import AnalyzerError, NonFiniteWarning

if TYPE_CHECKING:
    from analyzer.engine.lookback.passage import Passed
    from analyzer.engine.measure import Measurement

Options = Mapping[str, Any]
"""The values of a command's options, by the names of its click parameters."""
_Pool = TypeVar("_Pool", bound=Executor)
_LOUD_BYTES = 1 << 28  # less is decoded in a fraction of a second


def _load_dask_array() -> None:
    """Load dask.array as if scipy.fftpack and scipy.sparse were not installed.

    It would load both, for transforms and sparse arrays that no command uses. They are hidden while it is loaded, and
    can be imported afterwards.
    """
    hidden = [name for name in ("scipy.fftpack", "scipy.sparse") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None there makes an import fail
    try:
        import dask.array  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


_load_dask_array()  # before a module of the analyzer does


def workers_of(asked: int | None) -> int:
    """Return how many threads or processes compute."""
    return asked or os.cpu_count() or 1


def free_memory() -> int | None:
    """Return the bytes of memory that are free on this machine, or None if the system does not tell."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def memory_limit_of(options: Options) -> int | None:
    """Bytes beyond which an answer is refused: those asked for, else those that are free."""
    return options["memory_limit"] or free_memory()


def computed(options: Options, dataset: xr.Dataset, measured: Sequence[Measurement | Passed]) -> xr.Dataset:
    """Return the dataset in memory; weights that are not finite are named on stderr.

    Its measurements share one pass over the frames: the first of those with the most bytes to decode gives the size.
    """
    planned = max((one.plan for one in measured), key=lambda plan: plan.bytes)
    _name_empty(dataset, measured)
    if planned.bytes >= _LOUD_BYTES:
        say(f"Decoding {planned.bytes / 1e9:.1f} GB in {planned.tasks:,} tasks", err=True)
    asked = dataset.assign({f"nonfinite{n}": ((), one.moments.nonfinite) for n, one in enumerate(measured)})
    total = planned.bytes or planned.kept.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        with bar("Decoding", total) if planned.bytes else bar("Summing", total, "sums") as show:
            answer = _run(options, asked, lambda share: show(share * total))
    found: dict[str, int] = {}
    for n in range(len(measured)):
        for parameter, frame in answer[f"nonfinite{n}"].item().items():
            found[parameter] = min(frame, found.get(parameter, frame))
    steps = measured[0].run.line.steps
    what = "temperatures of" if dataset.attrs.get("quantity") in _OF_TEMPERATURE else "answers for"
    for parameter, frame in found.items():
        say(
            f"Warning: {printable(parameter)}: NaN or infinite weights from step {steps[frame]} on; the {what} "
            f"its groups are NaN. Leave it out: --exclude {printable(parameter)}",
            err=True,
        )
    return answer.drop_vars([f"nonfinite{n}" for n in range(len(measured))])


_OF_TEMPERATURE = ("temperature", "velocity")
"""Quantities whose columns are temperatures, or follow from the same sums."""
_OF_FRAMES = ("temperature_drift", "drift_null", "temperature_thermal", "floor", "mean_velocity")
"""Columns that need more than Σv²."""


def _name_empty(dataset: xr.Dataset, measured: Sequence[Measurement | Passed]) -> None:
    """Say on stderr which columns are empty because the kept sums have only Σv² for this question."""
    empty = [name for name in _OF_FRAMES if name in dataset]
    if empty and all(one.plan.squares_only for one in measured):
        say(
            f"Warning: {', '.join(empty)}: empty, since they need the frames in this window, and only sums of the run "
            "were kept. Ask for the whole run or epochs, or restore the trajectory.",
            err=True,
        )


def _run(options: Options, dataset: xr.Dataset, show: Callable[[float], None]) -> xr.Dataset:
    with scheduled(options, show) as client:
        if client is None:
            return dataset.compute()
        future = client.compute(dataset)
        _watch(future, show)
        answer: xr.Dataset = future.result()
        return answer


@contextmanager
def computing(options: Options, title: str = "Decoding") -> Iterator[None]:
    """Run dask inside as the options say, with a progress bar; each warning is printed in one line."""
    with warnings_in_a_line(), bar(title, 1, "passes") as show, scheduled(options, show):
        yield


@contextmanager
def scheduled(options: Options, show: Callable[[float], None] = lambda share: None) -> Iterator[Any]:
    """Let threads, processes or a cluster run dask inside; yield the client of a cluster.

    Parameters
    ----------
    options
        A command's, with its scheduler ("threads", "processes" or the address of a scheduler) and workers.
    show
        Is told how large a share of a computation is done, by threads and processes.
    """
    scheduler, workers = options["scheduler"], workers_of(options["workers"])
    if scheduler == "threads":
        with in_threads(workers, show):
            yield None
    elif scheduler == "processes":
        with ended(_processes(workers)) as born, dask.config.set(scheduler="processes", pool=born), _Share(show):
            try:
                yield None
            except BrokenProcessPool as error:
                raise click.ClickException(
                    "--scheduler processes: expected every worker process to live to the end, got one that was killed. "
                    "The answer would be incomplete. Most often memory has run out. Take fewer --workers, or threads."
                ) from error
    else:
        with _client(scheduler) as client:
            yield client


@contextmanager
def in_threads(workers: int, show: Callable[[float], None]) -> Iterator[None]:
    """Let threads run dask inside; their tasks have ended when the block ends.

    Parameters
    ----------
    workers
        How many.
    show
        Is told how large a share is done.
    """
    # A function, not its name: for a name, dask would import distributed to look for a cluster first.
    threads = dask.threaded.get
    with ended(ThreadPoolExecutor(workers)) as pool, dask.config.set(scheduler=threads, pool=pool), _Share(show):
        yield


class _Share(Callback):
    """Tells `show` how large a share of the tasks is done. Lifetime: one computation."""

    def __init__(self, show: Callable[[float], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._show = show

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        done = len(state["finished"])
        self._show(done / (done + sum(len(state[part]) for part in ("ready", "waiting", "running"))))


class _Workers(ProcessPoolExecutor):
    """Worker processes that Ctrl-C does not reach: the main process ends them, once their tasks are done.

    `submit` starts them, and a process inherits the blocked signals of the thread that starts it. Lifetime: one
    computation.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _processes(workers: int) -> _Workers:
    resource_tracker.ensure_running()  # else the first process starts it, which unblocks the signals again
    return _Workers(workers, mp_context=multiprocessing.get_context("spawn"))


@contextmanager
def ended(pool: _Pool) -> Iterator[_Pool]:
    """Yield the pool, and end it with the block, also after Ctrl-C: running tasks finish, waiting ones never begin.

    Tasks that outlive the block would find the interpreter half gone, and print long tracebacks.
    """
    try:
        yield pool
    finally:
        with undisturbed():
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C inside: what is waited for takes a second or so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """Yield a connection to a scheduler, which dask uses by default; its failures are one sentence each."""
    try:
        from distributed import Client
    except ImportError as error:
        raise click.ClickException(
            f"--scheduler {address}: expected the package distributed, got none. It is what talks to a scheduler. "
            "Install it: pip install distributed"
        ) from error
    try:
        if re.search(r":\d+/?$", address) is None:  # else it would be looked up, and five seconds lost
            raise ValueError("an address ends in a port, such as :8786")
        client = Client(address, timeout="5s", set_as_default=True)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        raise click.ClickException(
            f"--scheduler: expected threads, processes or the address of a running scheduler, got {address!r}: "
            f"{error}. Nobody would compute. Start one: dask scheduler"
        ) from error
    with client:
        try:
            check_workers(client)
            yield client
        except (AnalyzerError, click.ClickException):
            raise
        except Exception as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise click.ClickException(
                f"--scheduler {address}: expected the cluster to answer, got {type(error).__name__}: {told}. "
                "There is nothing to show. See the logs of its workers; they need this version of thermotrace, the "
                "store at the same path, and enough memory."
            ) from error


def _watch(future: Any, show: Callable[[float], None]) -> None:
    """Show the progress of a computation until it has ended, well or not."""
    from distributed.diagnostics.progressbar import TextProgressBar

    class Watched(TextProgressBar):
        """Draws on our bar. Lifetime: one computation."""

        def _draw_bar(self, remaining: int, all: int, **rest: Any) -> None:
            show(1 - remaining / max(all, 1))

        def _draw_stop(self, **rest: Any) -> None:
            pass

    with suppress(Exception):  # a failed bar must not end the command; errors of the computation come with its result
        Watched([future])  # type: ignore[no-untyped-call]
