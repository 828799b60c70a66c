"""What the analyzer says of how the trained GCN moves: small files and figures in results/motion, and DYNAMICS.md.

python -m examples.paper.motion_runs --data mnist-75sp.npz
python -m examples.paper.motion

`--page` writes the page anew from the files, without the runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import analyzer
from analyzer.plots.dynamics import dynamics as draw_dynamics
from analyzer.plots.modes import modes as draw_modes
from analyzer.plots.spectrum import spectrum as draw_spectrum

from .motion_page import SHOWN, page
from .motion_runs import FOLDER, OPTIMIZERS, SEEDS
from .place import read_json, write_json
from .plan import BATCH

RESULTS = Path(__file__).with_name("results") / "motion"
PAGE = Path(__file__).with_name("DYNAMICS.md")
_MODES, _FRAMES, _HARMONICS = 3, 2000, 4
_EPOCHS = 4
"""Of a section: harmonics of the epoch lie on every fourth of its frequencies, and a line is four of them wide."""
_GRID = 256
"""Windows that begin and end at its multiples are answered from kept sums."""
Record = dict[str, Any]


def records(answer: xr.Dataset, columns: Sequence[str]) -> dict[str, Record]:
    """Return columns of an answer with their errors by layer, one list each along what is left of the dimensions."""
    kept: dict[str, Record] = {}
    for n, layer in enumerate(answer["group"].values):
        one = answer.isel(group=n)
        names = [*columns, *(f"{name}_error" for name in columns)]
        kept[str(layer)] = {name: _rounded(one[name].values) for name in names if name in one}
    return kept


def _rounded(values: Any) -> Any:
    """Numbers of five digits; None for NaN."""
    if np.ndim(values):
        return [_rounded(value) for value in values]
    value = float(values)
    return float(f"{value:.5g}") if np.isfinite(value) else None


def motion_of(run: xr.DataTree) -> Record:
    """Return correlation, displacement, exponent and correlation time by layer, whole, in halves and over an epoch."""
    columns = ("normalised_autocorrelation", "mean_squared_displacement", "exponent", "diffusion_coefficient")
    whole = run.thermo.dynamics(by="layer").compute().isel(window=0)
    told: Record = {"start": int(whole["start_step"]), "stop": int(whole["stop_step"])}
    shown = whole.sel(lag=[lag for lag in SHOWN if lag in whole["lag"].values])
    told |= {"lags": shown["lag"].values.tolist(), "layers": records(shown, columns)}
    for layer, one in records(whole, ("correlation_time",)).items():
        told["layers"][layer] |= one
    middle = told["stop"] // 2 // _GRID * _GRID or told["stop"] // 2
    halves = [
        run.thermo.dynamics(by="layer", lags=[0], **cut).compute() for cut in ({"stop": middle}, {"start": middle})
    ]
    told["halves"] = [records(half.isel(window=0, lag=0), ("autocorrelation",)) for half in halves]
    epoch = run.thermo.dynamics(by="layer", lags=[1, "epoch"]).compute().isel(window=0)
    told["epoch"] = {"steps": int(epoch["lag"][1]), "layers": records(epoch, ("mean_squared_displacement",))}
    return told


def lines_of(run: xr.DataTree, epoch: int) -> tuple[Record, xr.Dataset]:
    """Return the spectral density at harmonics of the epoch over that half way to the next ones, by layer."""
    answer = run.thermo.spectrum(by="layer", sections=_EPOCHS * epoch).compute()
    one, told = answer.isel(window=0), {"section_steps": int(answer.attrs["section_steps"])}
    told |= {"lines": answer.attrs["epoch_lines"], "sections": int(answer["section_count"][0])}
    layers: dict[str, Record] = {}
    per_epoch = one["frequency_per_epoch"].values if "frequency_per_epoch" in one.coords else None
    for n, layer in enumerate(one["group"].values):
        density, error = (one[name].values[n] for name in ("spectral_density", "spectral_density_error"))
        layers[str(layer)] = {
            "low_over_high": _ratio(density, error, np.arange(1, 5), np.arange(density.size // 2, density.size - 1))
        }
        if "harmonic" in one.coords and per_epoch is not None:
            layers[str(layer)]["harmonics"] = [
                _ratio(density, error, _nearest(per_epoch, [k]), _nearest(per_epoch, [k - 0.5, k + 0.5]))
                for k in range(1, _HARMONICS + 1)
            ]
    return told | {"layers": layers}, answer


def _nearest(frequency: Any, wanted: Sequence[float]) -> Any:
    return np.array([int(np.argmin(np.abs(frequency - one))) for one in wanted])


def _ratio(density: Any, error: Any, above: Any, below: Any) -> list[float]:
    """Return the ratio of means over two sets of frequencies, and its standard error, as if they were all alike."""
    top, bottom = density[above].mean(), density[below].mean()
    relative = np.hypot(error[above].mean() / top, error[below].mean() / bottom)
    return [_rounded(top / bottom), _rounded(top / bottom * relative)]


def directions_of(run: xr.DataTree) -> tuple[Record, xr.Dataset]:
    """Return shares, cosine contents and verdicts of the first modes by layer."""
    answer = run.thermo.modes(by="layer", modes=_MODES, frames=_FRAMES).compute()
    layers = {}
    for n, layer in enumerate(answer["group"].values):
        one = answer.isel(group=n)
        layers[str(layer)] = {
            "share": _rounded(one["variance_share"].values),
            "content": _rounded(one["cosine_content"].values),
            "verdict": [str(text) for text in one["verdict"].values],
            "participation_ratio": _rounded(one["participation_ratio"].values),
        }
    return {"frames": answer.attrs["frames"], "apart": answer.attrs["steps_between_frames"], "layers": layers}, answer


def seeds_of(stores: Sequence[Path]) -> Record:
    """Return correlation and exponent over seeds, of as many steps of each run as the shortest has, by layer."""
    sweep = analyzer.open_sweep([str(store) for store in stores])
    stop = min(int(run.coords["step"].values[-1]) for run in sweep.children.values())
    answer = sweep.thermo.dynamics(by="layer", stop=stop, lags=[0, *(lag for lag in SHOWN if lag <= stop // 4)])
    over = analyzer.over_seeds(answer.compute(), seed="seed").isel(set=0, window=0)
    over = over.sel(lag=over["lag"] > 0)
    columns = ("normalised_autocorrelation", "exponent")
    return {
        "runs": int(over["runs"]),
        "stop": stop,
        "lags": over["lag"].values.tolist(),
        "layers": records(over, columns),
    }


def ask(folder: Path, results: Path) -> None:
    """Ask everything of the runs in a folder; write answers and figures."""
    (results / "figures").mkdir(parents=True, exist_ok=True)
    for name in OPTIMIZERS:
        stores = [folder / f"{name}-{seed}.zarr" for seed in range(SEEDS)]
        run = analyzer.open_run(stores[0])
        account = read_json(stores[0].with_suffix(".json"))
        spectrum, density = lines_of(run, account["graphs"] // BATCH)
        modes, found = directions_of(run)
        told = {"run": account, "motion": motion_of(run), "spectrum": spectrum}
        write_json(results / f"{name}.json", told | {"modes": modes, "seeds": seeds_of(stores)})
        figures = {
            "dynamics": draw_dynamics(run.thermo.dynamics(by="layer").compute()),
            "spectrum": draw_spectrum(density),
            "modes": draw_modes(found),
        }
        for kind, figure in figures.items():
            figure.savefig(results / "figures" / f"{name}-{kind}.png", dpi=100)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=FOLDER, metavar="FOLDER", help="what motion_runs recorded")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where answers and figures go")
    parser.add_argument("--output", type=Path, default=PAGE, metavar="FILE", help="the page")
    parser.add_argument("--page", action="store_true", help="only write the page, from the answers")
    options = parser.parse_args(argv)
    try:
        if not options.page:
            ask(options.runs, options.results)
        answers = {name: read_json(options.results / f"{name}.json") for name in OPTIMIZERS}
    except (analyzer.AnalyzerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    options.output.write_text(page(answers), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
