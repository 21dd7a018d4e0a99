"""What is Dask's own; the contract is in test_cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from corpus.dask_engine import DaskCluster
from corpus.engine import open_engine
from corpus.errors import BadValue, MissingPackage
from corpus.progress import Reporter


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    engine = open_engine("dask", store=Path("store"), reporter=Reporter())
    with pytest.raises(
        MissingPackage,
        match=r"^distributed is not installed; run: pip install 'sobert\[cluster\]'$",
    ):
        engine.__enter__()


def test_a_cluster_that_is_not_there_is_one_clear_error() -> None:
    distributed = pytest.importorskip("distributed")
    import dask

    assert distributed
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(BadValue, match=r"cannot join Dask at tcp://127\.0\.0\.1:9 "),
    ):
        DaskCluster("tcp://127.0.0.1:9").open(reports=False)
