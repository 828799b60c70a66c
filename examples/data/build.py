"""Superpixel graphs from the MNIST IDX files.

The graphs that ship with the examples::

    python examples/data/build.py --idx DIR --train 2000 --test 500 --output examples/data/mnist-75sp.npz

Without ``--train`` and ``--test``: all 70,000.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

NODES = 75
POSITION_SCALE = 8  # positions are stored in eighths of a pixel: 27 * 8 fits a byte
COMPACTNESS = 0.1  # weight of space against intensity in SLIC: strokes keep their outline
MEAN_DEGREE = 1_393 / 75  # edges a node in the original MNISTSuperpixels, which join superpixels within a radius
RADIUS = "radius_squared"  # array in a file of graphs with such edges, in eighths of a pixel, squared
PARALLEL_FROM = 2_000  # below this many images, starting processes costs more than it saves

# The canonical set, by the MD5 of the unpacked files.
FILES = {
    "train": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    },
    "test": {
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
}

Bytes = NDArray[np.uint8]
Graphs = dict[str, NDArray[Any]]


class DataError(ValueError):
    """Graphs cannot be had. The message says why, and what to do."""


def read_idx(folder: Path, name: str, md5: str | None) -> Bytes:
    """One IDX file of unsigned bytes, packed (``.gz``) or not, checked against the MD5 of its unpacked content."""
    path = next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)
    if path is None:
        raise DataError(
            f"{folder}: expected {name}.gz or {name}, got neither. The graphs are made from the four MNIST IDX files. "
            "Put them there, or name the folder that holds them."
        )
    remedy = "The file is damaged or not MNIST. Fetch it again."
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: expected a gzip file, got one that does not unpack ({error}). {remedy}") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 not in (None, found):
        raise DataError(f"{path}: expected MD5 {md5}, got {found} (of the unpacked content). {remedy}")
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path}: expected an IDX file of unsigned bytes, got the magic {content[:4]!r}. {remedy}")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4")
    data = np.frombuffer(content[start:], np.uint8)
    if data.size != shape.prod(dtype=np.int64):
        raise DataError(f"{path}: expected {shape.prod(dtype=np.int64)} bytes of data, got {data.size}. {remedy}")
    return data.reshape(shape)


def superpixels(image: Bytes) -> tuple[Bytes, Bytes]:
    """Mean intensity and position of exactly 75 superpixels of one image.

    SLIC starts from a lattice of seeds, 81 for a 28 x 28 image, and some of them may end empty. While more than 75
    superpixels are left, the two become one whose union costs SLIC's objective least (Ward's criterion). If fewer are
    left, SLIC runs again with more weight on space; in the limit it gives the lattice itself.

    Parameters
    ----------
    image : (rows, columns) uint8

    Returns
    -------
    intensity : (75,) uint8
        Mean of the superpixel's pixels, rounded.
    position : (75, 2) uint8
        Centre (x, y) = (column, row) in eighths of a pixel, rounded. The order of nodes is that of SLIC's lattice.
    """
    y, x = np.indices(image.shape)
    pixels = np.stack([np.ones_like(x), image.astype(x.dtype), x, y]).reshape(4, -1)
    compactness = COMPACTNESS
    while True:
        labels = slic(
            image / 255.0,
            n_segments=NODES,
            compactness=compactness,
            channel_axis=None,
            enforce_connectivity=False,
            start_label=0,
        ).ravel()
        sums = np.stack([np.bincount(labels, row) for row in pixels]).astype(np.int64)
        sums = sums[:, sums[0] > 0]
        if sums.shape[1] >= NODES:
            break
        compactness *= 2
    spacing = np.sqrt(image.size / sums.shape[1])
    scale = np.array([255 * compactness, spacing, spacing])[:, None]
    while sums.shape[1] > NODES:
        sums = merge_cheapest(sums, scale)
    count, means = sums[0], sums[1:] * np.array([1, POSITION_SCALE, POSITION_SCALE])[:, None]
    rounded = ((2 * means + count) // (2 * count)).astype(np.uint8)  # in integers: the same bytes everywhere
    return rounded[0], rounded[1:].T


def merge_cheapest(sums: NDArray[np.int64], scale: NDArray[np.float64]) -> NDArray[np.int64]:
    """Merge the two superpixels of least Ward cost; a column of `sums` is one superpixel: count, sums of features."""
    count, features = sums[0], sums[1:] / (sums[0] * scale)
    distance = sum((row[:, None] - row) ** 2 for row in features)
    cost = distance * count[:, None] * count / (count[:, None] + count)
    np.fill_diagonal(cost, np.inf)
    first, second = sorted(np.unravel_index(cost.argmin(), cost.shape))
    sums = sums.copy()
    sums[:, first] += sums[:, second]
    return np.delete(sums, second, axis=1)


def balanced(labels: Bytes, number: int) -> NDArray[np.intp]:
    """Find `number` images, the first of each class and equally many of each, in file order."""
    rank = np.empty(labels.size, np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return np.sort(np.lexsort((np.arange(labels.size), rank))[:number])


def superpixels_of(images: Sequence[Bytes] | Bytes) -> tuple[Bytes, Bytes]:
    """Intensity (N, 75) and position (N, 75, 2) of images; with many images all cores work."""
    if len(images) < PARALLEL_FROM:
        graphs = list(map(superpixels, images))
    else:
        # Spawned, not forked: the caller may have torch's threads running.
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            graphs = list(pool.map(superpixels, images, chunksize=256))
    intensity, position = zip(*graphs, strict=True)
    return np.stack(intensity), np.stack(position)


def radius_squared(position: Bytes, degree: float = MEAN_DEGREE) -> int:
    """The squared radius whose mean number of neighbours is nearest to `degree`; if two are equally near, the smaller.

    Parameters
    ----------
    position : (N, nodes, 2) uint8
    degree : float
    """
    count, nodes = position.shape[:2]
    pairs = np.zeros(2 * 255**2 + 1, np.int64)
    for points in position.astype(np.int64):
        x, y = points.T
        pairs += np.bincount(((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2).ravel(), minlength=pairs.size)
    pairs[0] -= count * nodes  # a node is no neighbour of itself
    return int(np.abs(pairs.cumsum() / (count * nodes) - degree).argmin())


def build(
    folder: Path, train: int | None = None, test: int | None = None, *, md5: bool = True, edges: str = "knn"
) -> Graphs:
    """Graphs from the IDX files in a folder.

    Parameters
    ----------
    folder : Path
        Holds the four MNIST files, packed or not.
    train, test : int, optional
        How many graphs of each part, balanced over the classes; all of them by default.
    md5 : bool
        Whether the files must be MNIST's own.
    edges : {"knn", "radius"}
        Each node's 19 nearest nodes, or all nodes within the radius that gives the train graphs the mean degree of the
        original.

    Returns
    -------
    dict of uint8 arrays
        ``train_intensity`` (N, 75), ``train_position`` (N, 75, 2), ``train_label`` (N,), and the same for ``test``.
        With radius edges also ``radius_squared`` (), int64.

    Raises
    ------
    DataError
        If a file is missing or damaged, or holds fewer images than asked for.
    """
    graphs: Graphs = {}
    for part, number in (("train", train), ("test", test)):
        images, labels = (read_idx(folder, name, sum_ if md5 else None) for name, sum_ in FILES[part].items())
        number = len(labels) if number is None else number
        if not 0 < number <= len(labels):
            raise DataError(
                f"{folder}: expected 1 to {len(labels):,} {part} graphs, got {number:,}. That is what the files hold. "
                f"Ask for fewer, or leave out --{part} for all."
            )
        chosen = balanced(labels, number)
        intensity, position = superpixels_of(images[chosen])
        graphs |= {f"{part}_intensity": intensity, f"{part}_position": position, f"{part}_label": labels[chosen]}
    if edges == "radius":
        graphs[RADIUS] = np.array(radius_squared(graphs["train_position"]))
    return graphs


def save(graphs: Graphs, path: Path) -> None:
    """Write graphs to an ``.npz`` file, not packed, so that equal graphs are equal bytes whatever zlib is installed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **graphs)
    except OSError as error:
        raise DataError(
            f"{path}: expected a file that can be written, got: {error}. Choose another --output."
        ) from error


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Make graphs of 75 superpixels from the MNIST IDX files.")
    parser.add_argument(
        "--idx", type=Path, required=True, metavar="DIR", help="folder of the four IDX files, .gz or not"
    )
    parser.add_argument(
        "--train", type=int, metavar="N", help="how many train graphs, balanced over classes (default: all)"
    )
    parser.add_argument(
        "--test", type=int, metavar="N", help="how many test graphs, balanced over classes (default: all)"
    )
    parser.add_argument("--edges", choices=("knn", "radius"), default="knn",
                        help="each node's 19 nearest (default; the shipped networks saw them), or all within a radius "
                        "that gives 18.6 on average")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.npz")
    arguments = parser.parse_args(argv)
    try:
        graphs = build(arguments.idx, arguments.train, arguments.test, edges=arguments.edges)
        save(graphs, arguments.output)
    except DataError as error:
        sys.exit(str(error))
    print(
        f"{arguments.output}: {len(graphs['train_label']):,} train and {len(graphs['test_label']):,} test graphs, "
        f"{arguments.output.stat().st_size:,} bytes",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
