import warnings
from typing import Any

import pytest

with warnings.catch_warnings():
    # torch_geometric calls torch.jit.script while it is imported, and torch deprecates that.
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch_geometric.nn  # noqa: F401


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The analyses of the paper draw nothing."""
    from examples.paper import analyse
    from examples.paper.commands import analyzer_command

    def without_plot(*words: object, output: Any, plot: Any = None) -> Any:
        return analyzer_command(*words, output=output)

    monkeypatch.setattr(analyse, "analyzer_command", without_plot)
