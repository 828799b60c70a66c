"""Commands that answer for one store are made to take several."""

from __future__ import annotations

from functools import wraps
from typing import Any

import click

from analyzer.cli.stores import Body, is_one

_SEVERAL = """
    Several STORES, or a pattern such as 'runs/*.zarr', give one table: the run and its hyperparameters are columns. A
    store without an answer is named on stderr, and the exit code is then 1.
    """


def over_stores(body: Body) -> Body:
    """Let a command that answers for `store` take several stores, or a pattern, and give one table of all.

    The command is called for each store in turn. Its option `take` is a function that receives the answer, which then
    goes neither to stdout nor to a file (`analyzer.cli.answer.give`).
    """

    @wraps(body)
    def command(stores: tuple[str, ...], **options: Any) -> None:
        if is_one(stores):
            body(store=stores[0], **options)
            return
        from analyzer.cli.several import give_each

        give_each(body, stores, options)

    command.__doc__ = f"{(body.__doc__ or '').rstrip()}\n{_SEVERAL}"
    return click.argument("stores", nargs=-1, required=True)(command)
