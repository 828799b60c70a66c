"""Spectra of systems whose answers are known, and the same numbers as scipy's Welch on the whole array."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.signal import welch

import analyzer
from analyzer import errors
from analyzer.engine import plan
from analyzer.statistics.spectral import hann, section_length
from tests import oracles
from tests.analyzer.shell import invoke, shell
from tests.stores import scratch, write_store


def walk(seed: int, *shape: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).standard_normal(shape), axis=-1)


def by_scipy(parts: list[np.ndarray], length: int, stride: int) -> np.ndarray:
    """Welch's density of weights (weights, frames), averaged over sections of all parts and over weights."""
    total, count = np.zeros(length // 2 + 1), 0
    for w in parts:
        v = np.diff(w.astype(float), axis=1)
        if v.shape[1] >= length:
            sections = (v.shape[1] - length) // (length // 2) + 1
            density = welch(v, 1 / stride, "hann", length, length - length // 2, detrend=False)[1]
            total, count = total + sections * density.mean(axis=0), count + sections
    return total / count if count else np.full_like(total, np.nan)


@settings(deadline=None, max_examples=15, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_equal_to_scipy_over_the_whole_array(data: st.DataObject) -> None:
    frames, stride = data.draw(st.integers(150, 900)), data.draw(st.sampled_from([1, 4]))
    gap = data.draw(st.integers(20, frames - 20))
    steps = np.arange(frames) * stride + 5
    steps[gap:] += 3 * stride
    length = data.draw(st.sampled_from([16, 33, 64]))
    window = data.draw(st.sampled_from([None, 100 * stride]))
    values = walk(data.draw(st.integers(0, 9)), 3, 2, frames).astype(np.float32)
    unit = data.draw(st.sampled_from([1, 1024]))
    with scratch() as folder, mock.patch.multiple(plan, SPAN_FRAMES=unit, KEPT_FRAMES=64):
        path = write_store(f"{folder}/run.zarr", {"lin.weight": values}, steps=steps, stride=stride)
        options = {"by": "row", "sections": length * stride, "window": window}
        try:
            answer = analyzer.open_run(path).thermo.spectrum(**options).compute()
        except errors.WindowError as refused:
            if window is not None and "expected stretches of at least" in str(refused):
                return  # the gap leaves no window a stretch that is long enough; the whole run always has one
            raise
        tree = analyzer.open_run(path).map_over_datasets(lambda dataset: dataset * 1)
        modified = tree.thermo.spectrum(**options).compute()
    for n in range(answer.sizes["window"]):
        low, high = answer["start_step"].values[n], answer["stop_step"].values[n]
        inside = (steps >= low) & (steps <= high)
        pieces = [inside & (np.arange(frames) < gap), inside & (np.arange(frames) >= gap)]
        for row in range(3):
            truth = by_scipy([values[row][:, piece] for piece in pieces if piece.any()], length, stride)
            for one in (answer, modified):
                found = one["spectral_density"].values[row, n]
                np.testing.assert_allclose(found, truth, rtol=1e-10, atol=1e-12 * np.nanmax([1, *truth]))


def test_parsevals_theorem(tmp_path: Path) -> None:
    """Σ_f S Δf = Σ_t h² v²/Σ h²: of each section, and so of their mean. It is not the plain ⟨v²⟩: said in the title."""
    w = walk(0, 5, 3000) * np.linspace(1, 3, 3000)
    path = write_store(tmp_path / "run.zarr", {"lin.weight": w})
    answer = analyzer.open_run(path).thermo.spectrum(sections=512).compute()
    v, h = np.diff(w, axis=1), hann(512)
    sections = [v[:, begin : begin + 512] for begin in range(0, v.shape[1] - 511, 256)]
    weighted = np.mean([(h**2 * s**2).sum(axis=1) / (h**2).sum() for s in sections])
    np.testing.assert_allclose(answer["hann_mean_squared_velocity"].item(), weighted, rtol=1e-12)
    density = answer["spectral_density"].values[0, 0]
    np.testing.assert_allclose(density.sum() / 512, weighted, rtol=1e-12)
    assert answer["section_count"].item() == len(sections)
    assert abs(weighted / (v**2).mean() - 1) > 1e-3
    assert "weighted with the window" in answer["hann_mean_squared_velocity"].attrs["long_name"]


def test_independent_steps_are_flat_and_correlated_ones_red(tmp_path: Path) -> None:
    """White velocities of variance s²: S = 2s² at every f (one-sided, ∫₀^½ S df = s²). AR(1): v = ε/(1 − ρ e^(−2πif)),
    so S = 2 σ_ε²/(1 − 2ρ cos 2πf + ρ²), σ_ε² = s²(1 − ρ²). The Hann window smears it by two bins, little at ρ = 0.5."""
    white = walk(1, 30, 8192)
    rng = np.random.default_rng(2)
    red = oracles.ar1_velocities(rng, 30, 8192, 0.5, 1.0)
    path = write_store(tmp_path / "run.zarr", {"a.weight": white, "b.weight": red}, chunk_steps=512)
    answer = analyzer.open_run(path).thermo.spectrum(sections=256).compute().isel(window=0, frequency=slice(2, -2))
    f = answer["frequency"].values
    truths = (np.full(f.size, 2.0), 2 * 0.75 / (1 - 2 * 0.5 * np.cos(2 * np.pi * f) + 0.25))
    for n, truth in enumerate(truths):
        density, error = answer["spectral_density"].values[n], answer["spectral_density_error"].values[n]
        off = np.abs(density - truth) / error
        assert (error < 0.2 * truth).all()
        assert off.max() < 5
        assert (off < 1.96).mean() > 0.88


def test_lines_of_the_epoch(tmp_path: Path) -> None:
    """Minibatches in one fixed order: gradients repeat every epoch, and S has lines at its harmonics alone."""
    epoch, epochs = 20, 200
    rng = np.random.default_rng(3)
    v = np.tile(rng.standard_normal((6, epoch)), epochs) + 0.1 * rng.standard_normal((6, epoch * epochs))
    w = np.concatenate([np.zeros((6, 1)), np.cumsum(v, axis=1)], axis=1)
    scalars = {"epoch": np.concatenate([[0], np.repeat(np.arange(epochs), epoch)])}
    path = write_store(tmp_path / "run.zarr", {"lin.weight": w}, scalars=scalars)
    answer = analyzer.open_run(path).thermo.spectrum(sections=400).compute().isel(group=0, window=0)
    harmonic = answer["harmonic"].values
    assert harmonic[harmonic > 0].tolist() == [*range(1, 11)]
    np.testing.assert_allclose(answer["frequency_per_epoch"].values[harmonic > 0], np.arange(1, 11), rtol=1e-12)
    density = answer["spectral_density"].values
    near = np.isin(np.arange(harmonic.size), np.flatnonzero(harmonic)[:, None] + [-1, 0, 1]) | (
        answer["frequency"] < 0.01
    )
    assert density[harmonic > 0].min() > 20 * density[~near].max()
    # Of sections that are no whole number of epochs, the nearest frequencies: 407/20 = 20.35 places apart.
    uneven = analyzer.open_run(path).thermo.spectrum(sections=407)["harmonic"].values
    assert np.flatnonzero(uneven)[:9].tolist() == [round(20.35 * n) for n in range(1, 10)]
    # Sections of fewer than four epochs do not resolve them, and say so.
    short = analyzer.open_run(path).thermo.spectrum(sections=64).compute()
    assert "harmonic" not in short.coords
    assert short.attrs["epoch_lines"].startswith("cannot be seen: sections of 64 steps hold fewer than 4 epochs of 20")
    plain = write_store(tmp_path / "plain.zarr", {"lin.weight": w})
    assert "no epochs were recorded" in analyzer.open_run(plain).thermo.spectrum().attrs["epoch_lines"]


@pytest.mark.parametrize(
    ("velocities", "epoch", "length"),
    [
        (100_000, None, 1024),
        (100_000, 1875, 8192),
        (4000, 1875, 512),
        (20_000, 1875, 1024),
        (9 * 8192 // 2, 1875, 8192),
        (1000, None, 128),
        (50_000, 20, 1024),
        (30, None, 16),
    ],
)
def test_the_length_of_a_section(velocities: int, epoch: int | None, length: int) -> None:
    """Eight half-overlapping sections of length n take n(8 + 1)/2 velocities."""
    assert section_length(velocities, epoch) == length


def test_processes_give_the_bits_of_threads(tmp_path: Path) -> None:
    path = write_store(tmp_path / "run.zarr", {"lin.weight": walk(4, 5, 3, 3000), "lin.bias": walk(5, 5, 3000)})
    options = ("spectrum", path, "--by", "row", "--format", "json")
    threads = json.loads(invoke(*options).stdout)["records"]
    processes = shell(*options, "--scheduler", "processes", "--workers", 2)
    assert json.loads(processes.stdout)["records"] == threads
    assert len(threads) == 5 * (512 // 2 + 1)


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    bad = walk(6, 2, 2, 700)
    bad[0, 0, 300:] = np.inf
    path = write_store(tmp_path / "run.zarr", {"a.weight": walk(7, 2, 2, 700), "b.weight": bad})
    done = invoke("spectrum", path, "--window", 200, "--format", "json")
    assert "b.weight: NaN or infinite weights from step 300 on" in done.stderr
    records = json.loads(done.stdout)["records"]
    finite = {(r["layer"], r["start_step"]) for r in records if r["spectral_density"] is not None}
    assert finite == {("a", 0), ("a", 200), ("a", 400), ("a", 600), ("b", 0)}
