"""Graphs for training, from the shipped file, a download, or MNIST itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from .build import POSITION_SCALE, RADIUS, DataError, build
from .edges import nearest, own, within

SHIPPED = Path(__file__).with_name("mnist-75sp.npz")


@dataclass(frozen=True, eq=False)
class Superpixels(Sequence[Data]):
    """Graphs of one shape as dense tensors; each element is one of them as a PyG ``Data`` (x, edge_index, pos, y).

    Attributes
    ----------
    intensity : (N, 75, 1) float32
        Mean intensity of each superpixel, 0 to 1: the only feature.
    position : (N, 75, 2) float32
        Centre (x, y) in pixels.
    neighbours : (N, 75, k) int32
        Where each node's incoming edges start. The list of a node with fewer than k edges ends with the node itself.
    label : (N,) int64
    edges : {"knn", "radius", "own"}
        Where the edges come from: each node's nearest nodes, nearest first; all nodes within a radius; or the graphs
        had them.
    """

    intensity: Tensor
    position: Tensor
    neighbours: Tensor
    label: Tensor
    edges: str = "knn"

    def __len__(self) -> int:
        return len(self.label)

    @overload
    def __getitem__(self, index: int) -> Data: ...
    @overload
    def __getitem__(self, index: slice) -> Superpixels: ...
    def __getitem__(self, index: int | slice) -> Data | Superpixels:
        if isinstance(index, slice):
            return self.take(index)
        nodes, k = self.neighbours.shape[1:]
        source, target = self.neighbours[index].flatten().long(), torch.arange(nodes).repeat_interleave(k)
        return Data(
            x=self.intensity[index],
            edge_index=torch.stack([source, target])[:, source != target],
            pos=self.position[index],
            y=self.label[index].reshape(1),
        )

    def take(self, index: slice | Tensor) -> Superpixels:
        """Return the graphs with these numbers."""
        return Superpixels(
            self.intensity[index], self.position[index], self.neighbours[index], self.label[index], self.edges
        )


def load(source: str = "shipped") -> tuple[Sequence[Data], Sequence[Data]]:
    """Train and test graphs.

    Parameters
    ----------
    source : str
        ``shipped`` (2,000 and 500 graphs that come with the examples), ``superpixels`` (the original 60,000 and 10,000
        of `torch_geometric.datasets.MNISTSuperpixels`, downloaded once), ``idx:DIR`` (60,000 and 10,000 built from the
        MNIST IDX files in DIR at every call, about a minute), or an ``.npz`` file that ``build.py`` wrote.

    Returns
    -------
    train, test : sequence of Data
        `Superpixels`. For ``superpixels`` they are PyG's own datasets, whose graphs differ in their number of edges;
        `dense` brings them to one shape, and keeps their edges.

    Raises
    ------
    DataError
        The source has no graphs.
    """
    if source == "superpixels":
        return original("train"), original("test")
    if source.startswith("idx:"):
        graphs: Mapping[str, NDArray[Any]] = build(Path(source.removeprefix("idx:")))
    elif source == "shipped" or source.endswith(".npz"):
        graphs = read(SHIPPED if source == "shipped" else Path(source))
    else:
        raise DataError(
            f"data: expected shipped, superpixels, idx:DIR or FILE.npz, got {source!r}. No graphs have that name. "
            "Leave it out for those that ship with the examples."
        )
    return from_bytes(graphs, "train"), from_bytes(graphs, "test")


def dense(graphs: Sequence[Data]) -> Superpixels:
    """Graphs of one number of nodes as dense tensors, with their own edges."""
    if isinstance(graphs, Superpixels):
        return graphs
    graphs = list(graphs)  # a data set of PyG makes its graphs anew at each access
    return Superpixels(
        intensity=torch.stack([graph.x for graph in graphs]),
        position=torch.stack([graph.pos for graph in graphs]),
        neighbours=own(graphs),
        label=torch.cat([graph.y for graph in graphs]),
        edges="own",
    )


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file that ``build.py`` wrote."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = [f"{part}_{name}" for part in ("train", "test") for name in ("intensity", "position", "label")]
            return {name: arrays[name] for name in [*names, *(n for n in (RADIUS,) if n in arrays.files)]}
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: expected a file of graphs, got none. Make one with: python examples/data/build.py --help"
        ) from error
    except Exception as error:  # a damaged zip file may raise a dozen different errors
        raise DataError(
            f"{path}: expected the graphs that build.py writes, got {type(error).__name__}: {error}. "
            "The file is damaged or another's. Make it again: python examples/data/build.py --help"
        ) from error


def from_bytes(graphs: Mapping[str, NDArray[Any]], part: str) -> Superpixels:
    """Make tensors of one part of the stored graphs, with their edges."""
    position = graphs[f"{part}_position"]
    radius = graphs.get(RADIUS)
    return Superpixels(
        intensity=torch.from_numpy(graphs[f"{part}_intensity"][..., None] / np.float32(255)),
        position=torch.from_numpy(position / np.float32(POSITION_SCALE)),
        neighbours=nearest(position) if radius is None else within(position, int(radius)),
        label=torch.from_numpy(graphs[f"{part}_label"].astype(np.int64)),
        edges="knn" if radius is None else "radius",
    )


def original(part: str) -> Sequence[Data]:
    """Open one part of the original data set, downloaded at the first use."""
    from torch_geometric.datasets import MNISTSuperpixels

    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thermotrace" / "mnist-superpixels"
    try:
        dataset: Sequence[Data] = MNISTSuperpixels(str(root), train=part == "train")
    except Exception as error:  # a failed download raises whatever the transport raises
        raise DataError(
            f"superpixels: expected to download MNISTSuperpixels to {root}, got {type(error).__name__}: {error}. "
            "The original graphs are not there yet. Connect to the network, use the graphs that ship with the examples "
            "(leave out --data), or build your own from MNIST's files (--data idx:DIR)."
        ) from error
    return dataset
