"""Tests in parallel: those that share a slow fixture run on one worker."""

from __future__ import annotations

import pytest


def test_groups_reach_the_workers(request: pytest.FixtureRequest) -> None:
    """The group is part of an item's name. If pytest drops it, each worker makes everything itself."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not a worker of --dist loadgroup")
    items = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
    assert items
    assert all("@" in item.nodeid for item in items)
