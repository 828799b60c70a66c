"""The recordings that pages speak of: `runs/` and `checkpoints/`, as README.md and the pages name them.

- `runs/demo.zarr`, `runs/demo-rates/*.zarr`: what `make demo` records, with fewer steps;
- `runs/gcn.zarr`, `runs/rate-*.zarr`: the README's own loop around the quickstart's GCN, at four learning rates;
- `checkpoints/gcn-*.pt`: files that a training saved.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import warnings
from contextlib import chdir
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def make_world(folder: Path, steps: int, branch_steps: int, before: int = 4_000, settle: int = 100) -> Path:
    """Return the folder with all recordings; missing ones are made. All lengths are those of the demo."""
    if folder.exists():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    path, modules, threads = list(sys.path), set(sys.modules), None
    with chdir(part), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        try:
            sys.path.insert(0, str(ROOT / "examples"))
            import torch

            from examples import demo

            threads = torch.get_num_threads()
            lengths = {"steps": steps, "branch-steps": branch_steps, "before": before, "settle": settle}
            sizes = [word for name, length in lengths.items() for word in (f"--{name}", str(length))]
            assert demo.main([*sizes, "--output", "runs/demo.zarr", "--rates", "runs/demo-rates"]) == 0
            quickstart = importlib.import_module("quickstart")
            graphs = quickstart.load("shipped")[0][:160]
            for rate in RATES:
                torch.manual_seed(0)
                _record(_names(quickstart, graphs, rate), rate)
            Path("checkpoints").mkdir()
            for step in (0, 100, 200):
                torch.save(quickstart.GCN().state_dict(), f"checkpoints/gcn-{step}.pt")
        finally:
            sys.path[:] = path
            if threads is not None:
                torch.set_num_threads(threads)
            for name in set(sys.modules) - modules:
                if name.partition(".")[0] in ("quickstart", "data", "models"):
                    del sys.modules[name]
    part.rename(folder)
    return folder


def _names(quickstart: Any, graphs: Any, rate: float) -> dict[str, Any]:
    """What the README's loop takes as given."""
    import torch

    model = quickstart.GCN()
    return {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), lr=rate),
        "loader": quickstart.DataLoader(graphs, 32, shuffle=True, drop_last=True),
        "loss_fn": torch.nn.functional.cross_entropy,
        "epochs": 2,
    }


def _record(names: dict[str, Any], rate: float) -> None:
    from tests.docs.pages import page_of

    (block,) = (block for block in page_of(ROOT / "README.md").blocks if "from recorder import Recorder" in block.text)
    text = block.text
    if rate != RATES[0]:
        text = text.replace('"learning_rate": 1e-3', f'"learning_rate": {rate}')
        text = text.replace("runs/gcn.zarr", f"runs/rate-{rate}.zarr")
        assert str(rate) in text
    exec(compile(text, "README.md", "exec"), names)
