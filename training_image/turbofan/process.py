"""The processing job: a fleet's three files become normalised rows in three parts, metadata and baselines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from os import environ
from pathlib import Path
from typing import Any

import numpy as np
from cmapss import COLUMNS, DataError, check, check_trio, parse_name, read_rul, read_table

from turbofan import baseline, drift, metadata
from turbofan.container import Paths, is_simulated, setting
from turbofan.dataset import Rows
from turbofan.drift import DriftBaseline
from turbofan.errors import InputError
from turbofan.features import UNIT, Bools, Features, Floats, Ints, engine_offsets, run_to_failure_rul

ROLES = ("train", "test", "RUL")
MAX_BYTES = 5 << 30  # uncompressed; what is too large for the function that takes uploads in is checked here
VIOLATIONS_SHOWN = 20


@dataclass(frozen=True)
class Settings:
    """What the job is told by its environment."""

    max_rul: int
    sequence_length: int
    validation_fraction: float
    seed: int
    dataset_version: str

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises SettingError for a value out of range."""
        return cls(
            max_rul=int(setting("MAX_RUL", 125, 1, 10_000, whole=True)),
            sequence_length=int(setting("SEQUENCE_LENGTH", 50, 1, 1000, whole=True)),
            validation_fraction=setting("VALIDATION_FRACTION", 0.2, 0.01, 0.5),
            seed=int(setting("SEED", 1, 0, 2**31 - 1, whole=True)),
            dataset_version=environ.get("DATASET_VERSION", ""),
        )


@dataclass(frozen=True)
class Trio:
    """The three files of one data set, checked and read."""

    fleet: str
    files: list[dict[str, Any]]
    train: Floats  # (n, 26)
    test: Floats  # (n, 26)
    rul: Ints  # (test engines,)


def process(paths: Paths) -> None:
    """Run the job. Raises TurbofanError."""
    settings = Settings.from_environment()
    started = time.perf_counter()
    trio = read_trio(paths.processing_input("dataset"))
    read = time.perf_counter()
    print(f"{trio.fleet}: {len(trio.train)} training rows, {len(trio.test)} test rows, checked and read", flush=True)

    offsets = engine_offsets(trio.train[:, UNIT])
    validation = split_engines(np.diff(offsets), settings.validation_fraction, settings.seed)
    in_validation = np.repeat(validation, np.diff(offsets))
    train, held_out = trio.train[~in_validation], trio.train[in_validation]
    features = Features.fit(train)

    parts: dict[str, dict[str, Any]] = {}
    for name, raw, after_last in (("train", train, 0), ("validation", held_out, 0), ("test", trio.test, trio.rul)):
        inputs, unseen = features.transform(raw)
        ends = engine_offsets(raw[:, UNIT])
        units = raw[ends[:-1], UNIT].astype(np.int64)
        Rows(inputs, units, ends, run_to_failure_rul(ends, after_last), raw=raw).save(paths.processing_output(name))
        parts[name] = {"engines": len(units), "rows": len(raw), "unseen_regime_rows": int(unseen.sum())}
        if name != "test":
            parts[name]["units"] = units.tolist()
        print(f"{name}: {len(units)} engines, {len(raw)} rows, {int(unseen.sum())} in a regime never seen", flush=True)

    metadata.write_json(
        paths.processing_output("features") / metadata.FILE,
        {
            "schema": metadata.SCHEMA,
            "fleet": trio.fleet,
            "dataset_version": settings.dataset_version,
            "simulated": is_simulated(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "columns": list(COLUMNS),
            "max_rul": settings.max_rul,
            "sequence_length": settings.sequence_length,
            "padding": "first row repeated",
            "features": features.to_dict(),
            "split": {"seed": settings.seed, "validation_fraction": settings.validation_fraction},
            "parts": parts,
            "files": trio.files,
            "library_versions": metadata.library_versions(),
        },
    )
    folder = paths.processing_output("baseline")
    metadata.write_json(folder / "statistics.json", baseline.statistics(train))
    metadata.write_json(folder / "constraints.json", baseline.constraints(train))
    processed = time.perf_counter()
    # Of all engines, also those that validate: a model is chosen by them, a baseline is not.
    healthy = DriftBaseline.fit(trio.train, offsets, settings.seed)
    content = {"simulated": is_simulated(), "dataset_version": settings.dataset_version, **healthy.to_dict()}
    metadata.write_json(folder / drift.FILE, content, indent=None)
    print(
        f"drift baseline: {healthy.engines} engines, {healthy.why_not or 'calibrated'}, "
        f"{time.perf_counter() - processed:.2f} s",
        flush=True,
    )
    print(
        f"features: {len(features.names)} ({', '.join(features.sensors)}, their means so far, cycle), "
        f"{len(features.regimes.centres)} regime(s)\n"
        f"read in {read - started:.2f} s, processed in {processed - read:.2f} s",
        flush=True,
    )


def read_trio(folder: Path) -> Trio:
    """Check and read the one train, test and RUL file in `folder`.

    Raises InputError that lists the violations, if files are missing, too many or break the format.
    """
    files = _find(folder)
    results = {}
    for role, path in files.items():
        with path.open("rb") as stream:
            results[role] = check(stream, path.name, limit=VIOLATIONS_SHOWN, max_bytes=MAX_BYTES)
    violations = [violation for result in results.values() for violation in result.violations]
    count = sum(result.violation_count for result in results.values())
    if not violations:
        violations = check_trio(results["train"], results["test"], results["RUL"])
        count = len(violations)
    if violations:
        shown = "; ".join(str(violation) for violation in violations[:VIOLATIONS_SHOWN])
        raise InputError(
            f"the data set breaks the format {count} time(s): {shown}",
            str(folder),
            "Correct the files and upload them again.",
        )
    try:
        train, test = (
            np.frombuffer(read_table(files[role], max_bytes=MAX_BYTES).values).reshape(-1, len(COLUMNS))
            for role in ("train", "test")
        )
        rul = np.array(read_rul(files["RUL"]), dtype=np.int64)
    except DataError as error:
        raise InputError(error.what, error.where, error.remedy) from error
    return Trio(
        fleet=parse_name(files["train"].name).fleet,
        files=[
            {"name": files[role].name, "sha256": results[role].sha256, "rows": results[role].rows} for role in ROLES
        ],
        train=train,
        test=test,
        rul=rul,
    )


def split_engines(lengths: Ints, fraction: float, seed: int) -> Bools:
    """Which engines validate, bool (n_engines,), about `fraction` of them and at least one.

    Engines are ranked by the length of their lives and one is drawn from each group of neighbours, so that both parts
    hold short and long lives. Raises InputError for fewer than two engines.
    """
    engines = len(lengths)
    if engines < 2:
        raise InputError(
            f"{engines} engine(s) cannot be split into training and validation",
            "training file",
            "Give at least two engines.",
        )
    groups = np.array_split(np.argsort(lengths, kind="stable"), min(engines - 1, max(1, round(engines * fraction))))
    random = np.random.default_rng(seed)
    chosen = np.zeros(engines, dtype=np.bool_)
    chosen[[random.choice(group) for group in groups]] = True
    return chosen


def _find(folder: Path) -> dict[str, Path]:
    """The file of each role. Raises InputError."""
    do = "Give exactly one train_, test_ and RUL_ file of one fleet."
    found: dict[str, list[Path]] = {role: [] for role in ROLES}
    fleets = set()
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            name = parse_name(path.name)
        except DataError as error:
            raise InputError(f"a file that is none of the data set's ({error.what})", str(path), do) from error
        found[name.role].append(path)
        fleets.add(name.fleet)
    if any(len(paths) != 1 for paths in found.values()):
        counts = ", ".join(f"{len(paths)} {role} file(s)" for role, paths in found.items())
        raise InputError(f"the data set is not a trio: {counts}", str(folder), do)
    if len(fleets) > 1:
        raise InputError(f"files of several fleets: {', '.join(sorted(fleets))}", str(folder), do)
    return {role: paths[0] for role, paths in found.items()}
