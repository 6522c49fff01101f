"""docs/localcloud.md says what the code does, and every correction of MiniStack is installed, documented and tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud import reference
from localcloud.reference import Correction
from localcloud.sagemaker.api import service_model

ALL = reference.corrections()


@pytest.mark.parametrize("correction", ALL, ids=[correction.name for correction in ALL])
def test_correction_is_installed_documented_and_tested(correction: Correction) -> None:
    assert correction.name in reference.installed(), "localcloud/fidelity/__init__.py does not install it"
    assert correction.sentence.endswith("."), "the docstring's first line is one sentence: what AWS does"
    assert correction.address, "the docstring names no page of docs.aws.amazon.com"
    assert correction.tests, f"tests/integration/conformance/test_{correction.name}.py has no test"


def test_every_conformance_test_file_is_a_corrections() -> None:
    names = {path.stem.removeprefix("test_") for path in reference.TESTS.glob("test_*.py")}
    assert names <= {correction.name for correction in ALL}


def test_page_is_what_the_code_says() -> None:
    text = reference.PAGE.read_text("utf-8")
    assert reference.page(text) == text, "run: make docs"


def test_every_operation_of_the_models_is_on_the_page() -> None:
    table = reference.operation_table()
    for service in reference.SERVICES:
        for name in service_model(service).operation_names:
            assert f"`{name}`" in table


def test_what_is_said_to_be_partial_is_implemented() -> None:
    for family in reference.families():
        assert set(family.partial) <= set(family.operations)


def test_page_with_an_unknown_part_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing generates 'weather'"):
        reference.page("<!-- generated: weather -->\n<!-- end -->")


def test_stale_page_is_told_and_then_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: services -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(reference, "PAGE", page)
    assert reference.main(["--check"]) == 1
    assert "make docs" in capsys.readouterr().err
    assert reference.main([]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "`sagemaker`" in text
    assert reference.main(["--check"]) == 0
