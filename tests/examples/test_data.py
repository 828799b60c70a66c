import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.segmentation import slic
from torch_geometric.loader import DataLoader

from examples.data.build import (
    FILES,
    NODES,
    DataError,
    balanced,
    build,
    main,
    merge_cheapest,
    radius_squared,
    read_idx,
    save,
    superpixels,
    superpixels_of,
)
from examples.data.edges import NEIGHBOURS, nearest
from examples.data.loader import SHIPPED, Superpixels, dense, load

REPOSITORY = Path(__file__).parents[2]
MNIST = Path(os.environ.get("MNIST_IDX", REPOSITORY.parent / "shared" / "data" / "mnist"))
needs_mnist = pytest.mark.skipif(
    not MNIST.is_dir(), reason="needs the MNIST IDX files: name their folder in the environment variable MNIST_IDX"
)


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def strokes(count: int, seed: int = 0) -> np.ndarray:
    """Images somewhat like digits: a bright ring segment on black."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    centre, radius = rng.uniform(10, 18, (2, count, 1, 1)), rng.uniform(4, 9, (count, 1, 1))
    distance = np.abs(np.hypot(x - centre[0], y - centre[1]) - radius)
    return (255 * np.clip(2 - distance, 0, 1)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """IDX files that are not MNIST, some packed and some not."""
    for part, count in (("train", 23), ("test", 11)):
        images, labels = FILES[part]
        (tmp_path / f"{images}.gz").write_bytes(gzip.compress(idx(strokes(count))))
        (tmp_path / labels).write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    return tmp_path


def test_build_is_the_same_bytes_twice(folder: Path, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save(build(folder, train=20, md5=False), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    train, test = load(str(tmp_path / "a.npz"))
    assert (len(train), len(test)) == (20, 11)


@needs_mnist
@pytest.mark.parametrize("part", FILES)
def test_shipped_graphs_are_rebuilt_from_mnist(part: str) -> None:
    images, labels = (read_idx(MNIST, name, md5) for name, md5 in FILES[part].items())
    with np.load(SHIPPED) as shipped:
        chosen = balanced(labels, len(shipped[f"{part}_label"]))
        np.testing.assert_array_equal(shipped[f"{part}_label"], labels[chosen])
        few = slice(None, None, 50)
        intensity, position = superpixels_of(images[chosen[few]])
        np.testing.assert_array_equal(shipped[f"{part}_intensity"][few], intensity)
        np.testing.assert_array_equal(shipped[f"{part}_position"][few], position)


def test_many_images_by_processes_equal_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    images = strokes(6)
    alone = superpixels_of(images)
    monkeypatch.setattr("examples.data.build.PARALLEL_FROM", 1)
    for expected, found in zip(alone, superpixels_of(images), strict=True):
        np.testing.assert_array_equal(expected, found)


def segments(image: np.ndarray) -> int:
    """How many superpixels SLIC leaves at the compactness that is tried first."""
    labels = slic(image / 255, 75, 0.1, channel_axis=None, enforce_connectivity=False, start_label=0)
    return len(np.unique(labels))


CHECKERS = (255 * (np.indices((28, 28)).sum(axis=0) % 2)).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "enough"),
    [
        (np.zeros((28, 28), np.uint8), True),
        (np.full((28, 28), 255, np.uint8), True),
        (strokes(1)[0], True),
        (np.where(np.arange(28) < 14, 0, 255).astype(np.uint8) * np.ones((28, 1), np.uint8), False),
        (CHECKERS, False),
        (np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8), True),
    ],
    ids=["black", "white", "stroke", "halves", "checkers", "noise"],
)
def test_every_image_has_exactly_75_superpixels(image: np.ndarray, enough: bool) -> None:
    assert (segments(image) >= NODES) is enough, "the case no longer tries what it is for"
    intensity, position = superpixels(image)
    assert intensity.shape == (NODES,)
    assert position.shape == (NODES, 2)
    assert intensity.dtype == position.dtype == np.uint8
    assert position.max() <= 27 * 8
    assert image.min() <= intensity.min() <= intensity.max() <= image.max()


def test_position_is_x_then_y_in_eighths_of_a_pixel() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[3:6, 20:23] = 255
    intensity, position = superpixels(image)
    x, y = position[intensity > 128].mean(axis=0) / 8
    assert x == pytest.approx(21, abs=1)
    assert y == pytest.approx(4, abs=1)


def test_the_pair_that_merges_is_the_one_that_costs_the_objective_least() -> None:
    """The objective is the sum of squared distances to the mean: tried for every pair, from the members themselves."""
    rng = np.random.default_rng(1)
    members = [rng.normal(rng.normal(0, 3, 3), 1, (size, 3)) for size in (3, 1, 4, 2, 6)]
    scale = np.array([2.0, 0.5, 1.0])[:, None]

    def objective(parts: list[np.ndarray]) -> float:
        return sum((((part - part.mean(axis=0)) / scale.T) ** 2).sum() for part in parts)

    def union(i: int, j: int) -> list[np.ndarray]:
        rest = [part for k, part in enumerate(members) if k not in (i, j)]
        return [*rest, np.concatenate([members[i], members[j]])]

    best = min((union(i, j) for i in range(5) for j in range(i)), key=objective)
    sums = np.stack([np.array([len(part), *part.sum(axis=0)]) for part in members], axis=1)
    found = merge_cheapest(sums, scale)
    expected = np.stack([np.array([len(part), *part.sum(axis=0)]) for part in best], axis=1)
    np.testing.assert_allclose(np.sort(found), np.sort(expected))


def test_balanced_takes_the_first_of_each_class() -> None:
    labels = np.array([0, 0, 0, 1, 2, 1, 2, 2], np.uint8)
    assert balanced(labels, 6).tolist() == [0, 1, 3, 4, 5, 6]
    assert balanced(labels, 8).tolist() == list(range(8))


def test_shipped_graphs() -> None:
    assert SHIPPED.stat().st_size < 2_000_000
    for graphs, count in zip(load(), (2000, 500), strict=True):
        assert isinstance(graphs, Superpixels)
        assert graphs.intensity.shape == (count, 75, 1)
        assert graphs.neighbours.shape == (count, 75, NEIGHBOURS)
        assert torch.bincount(graphs.label).tolist() == [count // 10] * 10
        assert 0 <= graphs.intensity.min() < graphs.intensity.max() <= 1
        assert graphs.position.max() <= 27
        # Digits stand in the middle: bright superpixels are, on average, nearer to it than dark ones.
        offset = (graphs.position - 13.5).norm(dim=-1)
        assert offset[graphs.intensity[..., 0] > 0.5].mean() < offset[graphs.intensity[..., 0] < 0.1].mean()


def test_neighbours_are_the_nearest_and_ties_go_to_the_lower_index() -> None:
    position = np.random.default_rng(0).integers(0, 12, (3, 40, 2))  # a coarse grid: ties and equal positions abound
    found = nearest(position, k=7)
    for points, rows in zip(position.tolist(), found.tolist(), strict=True):
        for i, (x, y) in enumerate(points):
            others = [((x - u) ** 2 + (y - v) ** 2, j) for j, (u, v) in enumerate(points) if j != i]
            assert rows[i] == [j for _, j in sorted(others)[:7]]


def test_an_element_is_the_same_graph_as_its_dense_tensors() -> None:
    graphs, _ = load()
    graph = graphs[7]
    source, target = graph.edge_index
    assert graph.edge_index.shape == (2, 75 * NEIGHBOURS)
    assert torch.bincount(target).tolist() == [NEIGHBOURS] * 75
    torch.testing.assert_close(source.reshape(75, NEIGHBOURS).int(), graphs.neighbours[7])
    torch.testing.assert_close(graph.x, graphs.intensity[7])
    torch.testing.assert_close(graph.pos, graphs.position[7])
    assert graph.y.tolist() == [graphs.label[7]]
    assert len(graphs[10:20]) == 10


def test_batches_have_one_shape() -> None:
    graphs, _ = load()
    shapes = {(*batch.x.shape, *batch.edge_index.shape) for batch in DataLoader(graphs, 300, drop_last=True)}
    assert shapes == {(300 * 75, 1, 2, 300 * 75 * NEIGHBOURS)}


def test_graphs_keep_their_own_edges() -> None:
    graphs, _ = load()
    few = graphs[:3]
    ragged = [graph.clone() for graph in few]
    for i, graph in enumerate(ragged):
        loop = torch.tensor([[5], [5]])  # the layers listen to the node itself anyway
        graph.edge_index = torch.cat([graph.edge_index[:, 7 * i :], loop], dim=1)
    found = dense(ragged)
    assert found.edges == "own"
    for name in ("intensity", "position", "label"):
        torch.testing.assert_close(getattr(found, name), getattr(few, name))
    for i, graph in enumerate(ragged):
        kept = {(int(s), int(t)) for s, t in graph.edge_index.T if s != t}
        assert {(int(s), int(t)) for s, t in found[i].edge_index.T} == kept
    assert [found[i].edge_index.shape[1] for i in range(3)] == [1425, 1418, 1411]
    assert dense(few) is few


def test_an_edge_that_is_named_twice_is_told() -> None:
    graph = load()[0][0].clone()
    graph.edge_index = torch.cat([graph.edge_index, graph.edge_index[:, :2]], dim=1)
    with pytest.raises(DataError, match="graph 0: expected every edge once, got 2 twice"):
        dense([graph])


def test_edges_within_a_radius_have_the_mean_degree_of_the_original(folder: Path, tmp_path: Path) -> None:
    main_edges = {}
    for edges in ("knn", "radius"):
        save(build(folder, md5=False, edges=edges), tmp_path / f"{edges}.npz")
        main_edges[edges] = load(str(tmp_path / f"{edges}.npz"))
    train, test = main_edges["radius"]
    assert isinstance(train, Superpixels)
    assert (train.edges, test.edges, main_edges["knn"][0].edges) == ("radius", "radius", "knn")
    assert torch.equal(train.intensity, main_edges["knn"][0].intensity)
    degrees = [torch.bincount(train[i].edge_index[1], minlength=75) for i in range(len(train))]
    assert abs(float(torch.cat(degrees).float().mean()) - 1_393 / 75) < 0.5
    assert len(set(torch.cat(degrees).tolist())) > 5
    with np.load(tmp_path / "radius.npz") as file:
        squared = int(file["radius_squared"])
    for points, graph in ((test.position[i].double() * 8, test[i]) for i in range(3)):
        apart = ((points[:, None] - points) ** 2).sum(dim=2)
        joined = torch.zeros(75, 75, dtype=torch.bool)
        joined[graph.edge_index[1], graph.edge_index[0]] = True
        assert torch.equal(joined, (apart <= squared) & ~torch.eye(75, dtype=torch.bool))


def test_the_radius_is_the_one_of_the_nearest_mean_degree() -> None:
    line = np.stack([np.arange(10), np.zeros(10, np.int64)], axis=1)[None].astype(np.uint8)
    degrees = [2 * sum(10 - apart for apart in range(1, reach + 1)) / 10 for reach in range(10)]
    for reach in range(10):
        assert radius_squared(line, degrees[reach]) == reach**2
        assert radius_squared(line, degrees[reach] + 0.05) == reach**2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train-labels-idx1-ubyte",
            None,
            "expected train-labels-idx1-ubyte.gz or train-labels-idx1-ubyte, got neither",
        ),
        ("train-labels-idx1-ubyte", b"", "expected an IDX file"),
        ("train-labels-idx1-ubyte", b"GIF89a", "expected an IDX file"),
        ("train-labels-idx1-ubyte", idx(np.zeros(23, np.uint8))[:-1], "expected 23 bytes of data, got 22"),
        ("train-images-idx3-ubyte.gz", b"not packed", "does not unpack"),
        ("train-images-idx3-ubyte.gz", gzip.compress(bytes(1000))[:-9], "does not unpack"),
    ],
    ids=["missing", "empty", "other", "short", "not gzip", "truncated gzip"],
)
def test_bad_idx_files_are_told(folder: Path, name: str, content: bytes | None, message: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        build(folder, md5=False)
    assert str(folder) in str(caught.value)


def test_files_that_are_not_mnist_are_told(folder: Path) -> None:
    with pytest.raises(DataError, match="expected MD5 6bbc9ace898e44ae57da46a324031adb, got"):
        build(folder)


def test_more_graphs_than_there_are_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match="expected 1 to 23 train graphs, got 24"):
        build(folder, train=24, md5=False)


def test_the_script_ends_with_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--idx", str(folder), "--output", str(tmp_path / "graphs.npz")])
    assert isinstance(caught.value.code, str), "sys.exit with a text prints it to stderr and returns 1"
    assert "expected MD5" in caught.value.code


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("superpixel", "expected shipped, superpixels, idx:DIR or FILE.npz, got 'superpixel'"),
        ("idx:nowhere", "nowhere: expected train-images-idx3-ubyte.gz"),
        ("nowhere.npz", "nowhere.npz: expected a file of graphs, got none"),
        ("damaged.npz", "damaged.npz: expected the graphs that build.py writes, got BadZipFile"),
        ("other.npz", "other.npz: expected the graphs that build.py writes, got KeyError"),
    ],
)
def test_sources_that_have_no_graphs_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("damaged.npz").write_bytes(SHIPPED.read_bytes()[:1000])
    np.savez("other.npz", allow_pickle=False, weights=np.zeros(3))
    with pytest.raises(DataError, match=message):
        load(source)


def test_the_original_without_a_network_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torch_geometric.datasets.MNISTSuperpixels.__init__", offline)
    with pytest.raises(DataError, match=r"Name or service not known.*--data idx:DIR"):
        load("superpixels")
