"""The memory that a question is projected to need, against the limit that its user gave."""

from __future__ import annotations

from analyzer.errors import MemoryLimitError
from analyzer.text import size_text


def require_memory(needed: int, limit: int | None, what: str, remedy: str) -> None:
    """Refuse a question before anything is read, if it is projected to need more than a limit.

    Parameters
    ----------
    needed, limit
        Bytes; None: no limit.
    what
        What takes the memory.
    remedy
        What needs less, in place of a higher limit.

    Raises
    ------
    MemoryLimitError
    """
    if limit is not None and needed > limit:
        raise MemoryLimitError(
            f"Memory: expected at most {size_text(limit)} (--memory-limit), got a projected {size_text(needed)}: "
            f"{what}. The machine would swap or kill the run. {remedy}, or raise --memory-limit.",
            needed=needed,
            limit=limit,
        )
