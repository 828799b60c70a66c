"""The section on loss and temperature."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analyzer.report.content import Chart, Gallery
from analyzer.report.curves import losses
from analyzer.report.subject import Asked, Subject
from tests.analyzer.report.test_page import walks
from tests.stores import write_store


def test_sparse_series_are_points_and_accuracies_are_not_on_a_logarithmic_scale(tmp_path: Path) -> None:
    steps = np.arange(700)
    validation = np.where(steps % 50 == 49, 1 + 1 / (1 + steps), np.nan)
    accuracy = np.where(steps % 50 == 49, 0.05 + 0.9 * steps / 700, np.nan)
    scalars = {"loss": 1 + np.exp(-steps / 80), "val_loss": validation, "val_acc": accuracy}
    store = write_store(tmp_path / "run.zarr", walks(3, 700), scalars=scalars)
    subject = Subject(str(store), "run", Asked())
    gallery, *notes = losses(subject, Asked(points=100))
    assert isinstance(gallery, Gallery)
    charts = {chart.y_title: chart.data() for chart in gallery.figures if isinstance(chart, Chart)}
    assert charts["loss"]["lines"][0]["style"] == "line"
    for name, values in (("val_loss", validation), ("val_acc", accuracy)):
        (line,) = charts[name]["lines"]
        assert line["style"] == "points"
        assert charts[name]["x"] == np.flatnonzero(np.isfinite(values)).tolist(), "every one that was logged"
        np.testing.assert_allclose(line["y"], values[np.isfinite(values)], rtol=1e-4)
    assert not charts["val_acc"]["log"]
    assert "val_loss: logged at 14 of 700 frames; points, not means." in [note.text for note in notes]
