"""Layers are unpacked once for all workers (localcloud.fidelity.shared_layers)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import make_trio
from tests.deployed import Deployed


def test_workers_of_all_functions_share_one_unpacked_layer(deployed: Deployed, fleet: str) -> None:
    files = make_trio(fleet).files.items()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda file: deployed.put(*file), files))
    deployed.ended(fleet)
    deployed.train(trigger="schedule")

    temporary = deployed.cloud.running.directory / "tmp"
    links = [path for path in temporary.glob("ministack-lambda-*/layer_0/python") if path.is_symlink()]
    assert {path.parts[-3].split("-")[3] for path in links} == {"IngestDataset", "StartTraining"}
    assert len({path.resolve() for path in links}) == 1
    assert (Path(links[0]) / "control_plane/ingestion.py").is_file()
