"""The edges of graphs as lists: for each node, where its incoming edges start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from .build import DataError

# The original MNISTSuperpixels graphs have 1,393 directed edges on average, 18.6 a node. With the same number for every
# node all batches have one shape, and the nearest whole number is 19 (1,425 edges a graph).
NEIGHBOURS = 19


def nearest(position: NDArray[np.integer], k: int = NEIGHBOURS) -> Tensor:
    """Find the k nearest other nodes of every node, nearest first.

    Parameters
    ----------
    position : (N, nodes, 2) integers
        In integers distances are exact, and ties go to the lower index: equal positions give equal edges everywhere.
    k : int
        Neighbours of each node.

    Returns
    -------
    (N, nodes, k) int32
    """
    count, nodes = position.shape[:2]
    index = np.arange(nodes)
    neighbours = np.empty((count, nodes, k), np.int32)
    for i, distance in enumerate(map(squared_distances, position)):
        rank = distance * nodes + index  # one key for both
        rank[index, index] = np.iinfo(np.int64).max
        neighbours[i] = np.sort(np.partition(rank, k - 1, axis=1)[:, :k], axis=1) % nodes
    return torch.from_numpy(neighbours)


def within(position: NDArray[np.integer], radius_squared: int) -> Tensor:
    """Find all other nodes of every node within a radius, in the order of nodes.

    Parameters
    ----------
    position : (N, nodes, 2) integers
    radius_squared : int
        The largest squared distance of two nodes that are joined, in the unit of the positions.

    Returns
    -------
    (N, nodes, k) int32
        As `lists` makes them.
    """
    return lists(len(position), position.shape[1], lambda n: squared_distances(position[n]) <= radius_squared)


def own(graphs: Sequence[Data]) -> Tensor:
    """The edges of given graphs, which all have the same number of nodes. An edge from a node to itself is left out.

    Both layers of the paper take a node's own features anyway, and PyG's layers do not count such an edge twice.

    Returns
    -------
    (N, nodes, k) int32
        As `lists` makes them.

    Raises
    ------
    DataError
        A graph names an edge twice: PyG's layers count it twice, and a list of neighbours cannot.
    """
    nodes = len(graphs[0].x)

    def reaches(n: int) -> NDArray[np.bool_]:
        source, target = graphs[n].edge_index.numpy()
        found = np.zeros((nodes, nodes), bool)
        found[target, source] = True
        if found.sum() != source.size:
            raise DataError(
                f"graph {n}: expected every edge once, got {source.size - int(found.sum())} twice. "
                "Call coalesce() on the graphs."
            )
        return found

    return lists(len(graphs), nodes, reaches)


def lists(count: int, nodes: int, reaches: Callable[[int], NDArray[np.bool_]]) -> Tensor:
    """Lists of neighbours of equal length, from the edges that reach each node of each graph.

    Parameters
    ----------
    count, nodes : int
        How many graphs, and how many nodes each has.
    reaches : callable
        Gives the (nodes, nodes) array of a graph by its number: whether there is an edge to node i from node j.

    Returns
    -------
    (count, nodes, k) int32
        k is the largest number of incoming edges in any graph. The list of a node with fewer ends with the node itself.
    """
    index = np.arange(nodes)

    def others(n: int) -> NDArray[np.bool_]:
        found = np.array(reaches(n))
        found[index, index] = False
        return found

    longest = max((int(others(n).sum(axis=1).max()) for n in range(count)), default=0)
    neighbours = np.empty((count, nodes, longest), np.int32)
    for n in range(count):
        found = others(n)
        order = np.argsort(~found, axis=1, kind="stable")[:, :longest]
        neighbours[n] = np.where(np.arange(longest) < found.sum(axis=1)[:, None], order, index[:, None])
    return torch.from_numpy(neighbours)


def squared_distances(position: NDArray[Any]) -> NDArray[np.int64]:
    """(nodes, nodes) squared distances of one graph's nodes, exact for whole numbers."""
    x, y = position.astype(np.int64).T
    squares: NDArray[np.int64] = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    return squares
