"""Writes the parts of docs/localcloud.md that are generated from the code: what is corrected, what is implemented.

`python -m localcloud.reference [--check]` replaces what stands between the markers `<!-- generated: NAME -->` and
`<!-- end -->`; with --check it only says whether the file is current (exit code 1 when it is not).
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/localcloud.md"
TESTS = ROOT / "tests/integration/conformance"
FIDELITY = Path(__file__).with_name("fidelity")
SERVICES = ("sagemaker", "sagemaker-runtime", "sagemaker-metrics")

_ADDRESS = re.compile(r"(?:https://)?(docs\.aws\.amazon\.com/[^\s)\"';,]+)")
_SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Correction:
    """One module of localcloud.fidelity.

    Args:
        name: the module's.
        sentence: what AWS does, its docstring's first line.
        address: the first page of AWS's documentation that the docstring names; "" when none.
        tests: the names of the functions in its conformance test file; none when there is no such file.
    """

    name: str
    sentence: str
    address: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """Operations that one class implements.

    Args:
        title: the class's docstring.
        operations: their names, in the class's order.
        partial: what is missing, by operation.
    """

    title: str
    operations: tuple[str, ...]
    partial: dict[str, str]


def corrections() -> list[Correction]:
    """Every correction, by name; read from the sources, so that nothing is started."""
    found = []
    for path in sorted(FIDELITY.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        if not any(isinstance(node, ast.FunctionDef) and node.name == "install" for node in tree.body):
            continue  # something that corrections share
        if path.stem == "__init__":
            continue
        text = ast.get_docstring(tree) or ""
        address = _ADDRESS.search(text)
        found.append(
            Correction(
                path.stem,
                text.partition("\n")[0],
                f"https://{address[1].rstrip('.:')}" if address else "",
                tuple(_tests(TESTS / f"test_{path.stem}.py")),
            )
        )
    return found


def _tests(path: Path) -> Iterable[str]:
    if not path.exists():
        return []
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def installed() -> set[str]:
    """The names that localcloud.fidelity puts in place: those that it not only imports, but uses."""
    tree = ast.parse((FIDELITY / "__init__.py").read_text("utf-8"))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def families() -> list[Family]:
    """What SageMaker's parts implement, as they say themselves."""
    from localcloud.sagemaker.service import SageMaker

    sagemaker = SageMaker(_platform())
    found = {}
    for part in vars(sagemaker).values():
        operations = getattr(part, "operations", None)
        if isinstance(operations, tuple) and operations:
            title = (type(part).__doc__ or "").partition("\n")[0].rstrip(".")
            found[type(part).__name__] = Family(title, operations, dict(getattr(part, "partial", {})))
    named = {operation for family in found.values() for operation in family.operations}
    missing = sagemaker.operations - named
    assert not missing, f"families that are no attribute of SageMaker have {sorted(missing)}"
    return list(found.values())


def _platform() -> Any:
    """A platform that can do nothing, for a SageMaker that is only asked what it has."""
    from localcloud.containers.images import ImageMap
    from localcloud.jobs.logs import Logs
    from localcloud.jobs.platform import Platform
    from localcloud.jobs.slots import Slots
    from localcloud.sagemaker.events import Events
    from localcloud.store import Store

    nothing: Any = None
    return Platform(
        store=Store(),
        images=ImageMap([]),
        runtime=nothing,
        slots=Slots(1),
        logs=Logs(lambda *_: {}),
        events=Events(lambda *_: None),
        s3=nothing,
        environment=nothing,
        directory=Path("nowhere"),
    )


def conformance_table() -> str:
    """What AWS does, where that is documented, the module that sees to it, and how many tests hold it to that."""
    rows = [
        f"| [{_cell(one.sentence)}]({one.address}) | `{one.name}` | {len(one.tests)} |"
        if one.address
        else f"| {_cell(one.sentence)} | `{one.name}` | {len(one.tests)} |"
        for one in corrections()
    ]
    return "\n".join(["| What AWS does | `localcloud/fidelity/` | Tests |", "| --- | --- | ---: |", *rows])


def operation_table() -> str:
    """Every operation of SageMaker's, SageMaker Runtime's and SageMaker Metrics' models: implemented, partial, not."""
    from localcloud.sagemaker.api import service_model

    have = families()
    parts = []
    for service in SERVICES:
        every = set(service_model(service).operation_names)
        here = [(family, [name for name in family.operations if name in every]) for family in have]
        done = {name for _, names in here for name in names}
        half = {name for family, names in here for name in names if name in family.partial}
        missing = sorted(every - done)
        parts.append(
            f"**{service}**: {len(done - half)} implemented, {len(half)} in part, {len(missing)} not, "
            f"of {len(every)} operations.\n"
        )
        if done:
            parts += ["| | Operations | In part |", "| --- | --- | --- |"]
            for family, names in here:
                if names:
                    whole = ", ".join(f"`{name}`" for name in sorted(names) if name not in family.partial) or "–"
                    partly = "<br>".join(
                        f"`{name}`: {_cell(family.partial[name])}" for name in sorted(names) if name in family.partial
                    )
                    parts.append(f"| {_cell(family.title)} | {whole} | {partly or '–'} |")
            parts.append("")
        if missing:
            listed = ", ".join(f"`{name}`" for name in missing)
            parts += [f"<details><summary>Not implemented ({len(missing)})</summary>\n", listed, "\n</details>\n"]
    return "\n".join(parts).rstrip()


def service_list() -> str:
    """The services that are switched on."""
    from localcloud.server import SERVICES as ENABLED

    return ", ".join(f"`{name}`" for name in sorted({*ENABLED, *SERVICES}))


def page(text: str) -> str:
    """The page with its generated parts as the code has them now; raises ValueError for a marker nobody knows."""
    generators = {"conformance": conformance_table, "operations": operation_table, "services": service_list}

    def generated(match: re.Match[str]) -> str:
        if match[2] not in generators:
            raise ValueError(f"{PAGE}: nothing generates {match[2]!r}; known are {', '.join(generators)}")
        return f"{match[1]}\n{generators[match[2]]()}\n\n{match[3]}"

    return _SECTION.sub(generated, text)


def _cell(text: str) -> str:
    return text.strip().rstrip(".").replace("|", "\\|")


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or check it; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m localcloud.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when the page is stale")
    options = parser.parse_args(arguments)
    before = PAGE.read_text("utf-8")
    after = page(before)
    if before == after:
        return 0
    if options.check:
        print(f"{PAGE} is not what the code says: make docs", file=sys.stderr)
        return 1
    PAGE.write_text(after, "utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
