"""How many training engines are new: by their histories, not by their numbers."""

from __future__ import annotations

import gzip
import itertools
from dataclasses import replace

import pytest
from control_plane.ingestion import ingest
from control_plane.new_engines import count

from tests.conftest import Trio, make_trio, table
from tests.unit.conftest import Stack

SEQUENCE = itertools.count(1)
FIRST = make_trio(engines=3)


def upload(stack: Stack, trio: Trio, *, packed: bool = False) -> str:
    """Upload a data set; its version."""
    version = ""
    for name, body in trio.files.items():
        name, body = (f"{name}.gz", gzip.compress(body)) if packed else (name, body)
        result = ingest(
            stack.settings,
            bucket=stack.settings.bucket_name,
            key=f"data/raw/{name}",
            version_id=stack.upload(name, body),
            sequencer=f"{next(SEQUENCE):016X}",
        )
        version = result.dataset_version or version
    return version


def renumbered(trio: Trio) -> Trio:
    """The same engines as 1, 2, 3, with other spaces between the values, before one that is new."""
    other = table(1, 6, altitude="0.0009")
    moved = b"".join(
        b"  ".join([str(int(line.split()[0]) + 1).encode(), *line.split()[1:]]) + b"\n"
        for line in trio.train.splitlines()
    )
    return replace(trio, train=other + moved)


@pytest.mark.parametrize(
    ("newest", "new"),
    [
        (replace(FIRST, rul=b"1 \n2 \n3 \n"), 0),
        (replace(FIRST, train=table(5, 6)), 2),
        (replace(FIRST, train=table(2, 6)), 0),
        (replace(FIRST, train=table(3, 7)), 3),  # they have flown on
        (renumbered(FIRST), 1),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_engines_are_told_apart_by_their_histories(stack: Stack, newest: Trio, new: int, packed: bool) -> None:
    known = upload(stack, FIRST)
    assert count(stack.settings, upload(stack, newest, packed=packed), known) == new


def test_all_engines_are_new_where_the_known_ones_are_gone(stack: Stack) -> None:
    assert count(stack.settings, upload(stack, FIRST), "d" * 64) == 3


def test_files_that_are_too_large_are_not_counted(stack: Stack) -> None:
    newest = upload(stack, FIRST)
    small = stack.settings.model_copy(update={"max_validated_bytes": 500})
    assert count(small, newest, "d" * 64) is None
