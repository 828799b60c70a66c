"""Threads, processes, a cluster of separate processes, and object storage: the same bits from all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import google_crc32c
import numpy as np
import pytest
import xarray as xr

import analyzer
from analyzer import errors
from analyzer.engine import frames as frames_module
from analyzer.store import reading
from tests.analyzer.cluster import Cluster
from tests.analyzer.shell import invoke, shell

OPTIONS = ("--by", "row", "--window", 30, "--no-cache", "--format", "json")


@pytest.fixture
def long_store(make: Callable[..., Path]) -> Path:
    """Four thousand frames in chunks of 16: four tasks in time."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=(6, 5, 4000)), axis=-1).astype(np.float32)
    return make(parameters={"conv1.lin.weight": values, "lin.bias": values[0]}, scalars={})


def records(result: Any) -> Any:
    assert result.stderr == ""
    return json.loads(result.stdout)["records"]


def test_processes_give_the_bits_of_threads(long_store: Path) -> None:
    threads = records(invoke("temperature", long_store, *OPTIONS))
    processes = records(shell("temperature", long_store, *OPTIONS, "--scheduler", "processes", "--workers", 2))
    assert processes == threads


@pytest.mark.xdist_group("cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_gives_the_bits_of_threads(long_store: Path, two_workers: Cluster) -> None:
    threads = records(invoke("temperature", long_store, *OPTIONS))
    done = shell("temperature", long_store, *OPTIONS, "--scheduler", two_workers.address)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["records"] == threads
    # Errors come back from a worker as they are.
    (long_store / "parameters/conv1/lin/weight/c/0/0/100").unlink()
    refused = shell("temperature", long_store, *OPTIONS, "--scheduler", two_workers.address)
    assert refused.returncode == 1
    assert "parameters/conv1/lin/weight, steps 1600 to 1615: expected the committed chunk" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3-compatible server on the loopback interface."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
    ):
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3").create_bucket(Bucket="runs")
    yield "s3://runs"
    server.stop()


@pytest.mark.filterwarnings("ignore")
def test_a_store_in_a_bucket(store: Path, bucket: str, tmp_path: Path) -> None:
    import boto3

    client = boto3.client("s3")
    for file in store.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), "runs", f"gcn.zarr/{file.relative_to(store)}")
    local = analyzer.open_run(store).thermo.temperature(by="row", cache=False).compute()
    remote = analyzer.open_run(f"{bucket}/gcn.zarr").thermo.temperature(by="row").compute()
    for name in local.data_vars:
        np.testing.assert_array_equal(remote[name], local[name])
    assert not list(tmp_path.rglob("*.moments")), "nothing is kept beside a URL"
    # A chosen folder keeps sums of remote runs too.
    kept = analyzer.open_run(f"{bucket}/gcn.zarr").thermo.temperature(by="row", cache=str(tmp_path / "kept")).compute()
    xr.testing.assert_identical(kept, remote)
    # Their content is asked for by ETag: an object that was written anew is another one.
    key = "gcn.zarr/parameters/lin/weight/c/0/0/2"
    whole = client.get_object(Bucket="runs", Key=key)["Body"].read()
    with mock.patch.object(frames_module, "read", wraps=reading.read) as reader:
        again = analyzer.open_run(f"{bucket}/gcn.zarr").thermo.temperature(by="row", cache=str(tmp_path / "kept"))
        xr.testing.assert_identical(again.compute(), remote)
        assert not reader.call_args_list
    edited = (np.frombuffer(whole[:-4], "<f4") * np.float32(2)).tobytes()
    checksum = int(google_crc32c.value(edited)).to_bytes(4, "little")
    client.put_object(Bucket="runs", Key=key, Body=edited + checksum)
    run = analyzer.open_run(f"{bucket}/gcn.zarr")
    other = run.thermo.temperature(by="row", cache=str(tmp_path / "kept")).compute()
    xr.testing.assert_identical(other, run.thermo.temperature(by="row").compute())
    assert not other.equals(remote)
    client.delete_object(Bucket="runs", Key=key)
    with pytest.raises(errors.MissingChunkError, match=r"parameters/lin/weight, steps 32 to 47"):
        analyzer.open_run(f"{bucket}/gcn.zarr").thermo.temperature().compute()
    with pytest.raises(errors.StoreNotFoundError, match=r"expected a store, got nothing at s3://runs/none"):
        analyzer.open_run(f"{bucket}/none.zarr")


def test_a_run_that_is_being_written(make: Callable[..., Path], frames: dict[str, np.ndarray]) -> None:
    """Analysing while recording gives the committed part, and more of it later, from the same open process."""
    epoch = np.repeat(np.arange(5.0), 20)
    for committed in (30, 64, 100):
        part = {name: values[..., :committed] for name, values in frames.items()}
        path = make(parameters=part, scalars={"epoch": epoch[:committed]}, run_id="d" * 32, status="running")
        answer = analyzer.open_run(path).thermo.temperature().compute()
        assert answer["stop_step"].item() == committed - 1
        truth = 0.5 * (np.diff(frames["lin.weight"][..., :committed].astype(float)) ** 2).sum()
        truth += 0.5 * (np.diff(frames["lin.bias"][..., :committed].astype(float)) ** 2).sum()
        np.testing.assert_allclose(answer["temperature"][1, 0], truth / 90 / (committed - 1), rtol=1e-12)
