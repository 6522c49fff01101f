"""Where a fleet's C-MAPSS files come from: given, found, downloaded or, as the last resort, simulated.

The order: the directory given (--data), $CMAPSS_DIR, ./data/cmapss, NASA's repository (into ./data/cmapss), the
simulator. Digests of NASA's files are pinned, so that what is called NASA's is NASA's; everything else says what it is.
"""

import hashlib
import os
import queue
import shutil
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlparse
from urllib.request import urlopen

import cmapss

from onwing.errors import NotFound, OnwingError, UsageError

NASA_URL: Final = "https://phm-datasets.s3.amazonaws.com/NASA/6.+Turbofan+Engine+Degradation+Simulation+Data+Set.zip"
"""The archive as the NASA Prognostics Center of Excellence publishes it; it holds CMAPSSData.zip with the files."""

SUMS: Final[Mapping[str, str]] = {
    "train_FD001.txt": "963b5e22825b34d8b21c69e1aeb4af3e647050eb672ee8834ba4b5d91d2de0f8",
    "train_FD002.txt": "dac6c4dbc4e7c1bdeb5747da3d313d05c395bb99801b44a002b26a2ba13d788f",
    "train_FD003.txt": "2abbe9968cc5e8eb091980f51b20f62bb4127336d3482cb52071d53bf23329e2",
    "train_FD004.txt": "27ef6160b6a1dcb2613a88de9c239f763b223f02cdc41dc5cdedc5dc189b6218",
    "test_FD001.txt": "3cda7109ce17bafb5443f2ac926cfcf88154b941b8c4cf95eb55d1ddd6f52851",
    "test_FD002.txt": "de7b5bf7e998a985c378488480528b7c02cff1406a46740def362dda8d9b4e02",
    "test_FD003.txt": "299babd63c8d987cef079c4a425429f33b3a34797d803bbe2ad48c29dbd0d790",
    "test_FD004.txt": "1dc675fff0624bac10786927c6715b37d1297657137400d2b1a3138d777a3ba5",
    "RUL_FD001.txt": "a19c8ec94931949d0485bdc35118206e9c81c4547b422efb9cf86f4ceddbceca",
    "RUL_FD002.txt": "c851dd96a6ea6998d3c4a8f834d3c8013aa90e93a6ed950dc826ad0655b2906b",
    "RUL_FD003.txt": "df1e0566306b174a2de41c67a3e7a51877889598b78643fc3e5685259091b7cb",
    "RUL_FD004.txt": "196b836b85a95ac7fdbbf29c5fdf1657382eafa445644d114ffaaf50dc2975e1",
}
"""SHA-256 of NASA's files, uncompressed."""

ROLES: Final = ("train", "test", "RUL")
SIMULATED_MARKER: Final = "SIMULATED.txt"
"""onwing.simulator.MARKER, not imported for numpy's sake."""
_NEEDED: Final = "train_{0}.txt, test_{0}.txt and RUL_{0}.txt (or .txt.gz)"
_MIB: Final = 1 << 20
_ARCHIVE_LIMIT: Final = 128 * _MIB  # NASA's has 12 MiB
_MEMBER_LIMIT: Final = 64 * _MIB  # the largest has 10 MiB
_NESTING: Final = 2
_PATIENCE: Final = 300.0  # seconds for the whole download

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and, if known, the bytes expected."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """The three files of a fleet and what is known of them.

    `source` is one line for reports; it begins with SIMULATED where the data is. `verified` says whether all digests
    are those of NASA's files (None: NASA has no fleet of this name). `tried` tells why earlier places were passed
    over, `warnings` what the reader of any result must know. `sums` are the SHA-256 of the uncompressed contents.
    """

    fleet: str
    source: str
    simulated: bool
    verified: bool | None
    paths: dict[str, Path]
    sums: dict[str, str]
    warnings: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()


class DataMissing(NotFound):
    """A directory that the user named is not there or lacks files; or a data set is incomplete."""


class DownloadError(OnwingError):
    """NASA's archive could not be had."""


def resolve(
    fleet: str,
    data_dir: str | Path | None = None,
    *,
    simulated: bool = False,
    root: str | Path = ".",
    environ: Mapping[str, str] = os.environ,
    url: str | None = NASA_URL,
    connect_seconds: float = 4.0,
    progress: Progress | None = None,
    simulated_dir: str | Path | None = None,
    engines: int = 100,
    seed: int = 0,
) -> DataSet:
    """Find or make the train, test and RUL file of a fleet.

    `simulated` skips all places but the last. `root` is the project's directory (for data/cmapss and .onwing); `url`
    None forbids the download; simulated files go to `simulated_dir` (default <root>/.onwing/simulated/<fleet>) with
    `engines` engines each in train and test. Raises UsageError if `fleet` cannot be part of a file name, DataMissing if
    a directory that was named (--data, $CMAPSS_DIR) does not exist, if --data holds nothing of this fleet, or if only
    one or two of the three files are there.
    """
    root = Path(root)
    _require_fleet(fleet)
    tried: list[str] = []
    if simulated:
        tried.append("simulated data was asked for")
    elif found := _local(fleet, data_dir, root, environ, tried) or _remote(
        fleet, root / "data" / "cmapss", url, connect_seconds, progress, tried
    ):
        return found
    # The one user of numpy here, and only when there is no data.
    from onwing.simulator import simulate

    directory = Path(simulated_dir) if simulated_dir is not None else root / ".onwing" / "simulated" / fleet
    paths = simulate(fleet, directory, engines=engines, seed=seed)
    return _describe(fleet, paths, f"onwing.simulator, seed {seed}", tried)


def locate(fleet: str, *, root: str | Path = ".", environ: Mapping[str, str] = os.environ) -> str | None:
    """Say in one line where this machine has the fleet's files, None if it does not. Raises as resolve does."""
    _require_fleet(fleet)
    found = _local(fleet, None, Path(root), environ, [])
    return found.source if found else None


def is_simulated(directory: Path) -> bool:
    """Whether the simulator wrote the files here, or changed them."""
    return (directory / SIMULATED_MARKER).is_file()


def _require_fleet(fleet: str) -> None:
    try:
        cmapss.parse_name(f"train_{fleet}.txt")
    except cmapss.DataError as error:
        raise UsageError(
            f"{fleet[:40]!r} is not the name of a fleet.", todo="A fleet is 1 to 10 letters and digits, such as FD001."
        ) from error


def _local(
    fleet: str, data_dir: str | Path | None, root: Path, environ: Mapping[str, str], tried: list[str]
) -> DataSet | None:
    """Look on this machine; what was named by the user must be there."""
    if data_dir is not None:
        found = _find(fleet, Path(data_dir), "--data")
        if found is None:
            raise DataMissing(
                f"There are no files of fleet {fleet}.",
                where=str(data_dir),
                todo=f"It must hold {_NEEDED.format(fleet)}.",
            )
        return _describe(fleet, found, str(data_dir), tried)
    if not (named := environ.get("CMAPSS_DIR", "")):
        tried.append("$CMAPSS_DIR is not set")
    elif found := _find(fleet, Path(named), "$CMAPSS_DIR"):
        return _describe(fleet, found, f"$CMAPSS_DIR ({named})", tried)
    else:
        tried.append(f"$CMAPSS_DIR ({named}) holds nothing of {fleet}")
    kept = root / "data" / "cmapss"
    if not kept.is_dir():
        tried.append(f"there is no {kept}")
    elif found := _find(fleet, kept, "data"):
        return _describe(fleet, found, str(kept), tried)
    else:
        tried.append(f"{kept} holds nothing of {fleet}")
    return None


def _remote(
    fleet: str, kept: Path, url: str | None, seconds: float, progress: Progress | None, tried: list[str]
) -> DataSet | None:
    """Download, if this is a fleet of NASA's and NASA can be reached."""
    if f"train_{fleet}.txt" not in SUMS:
        tried.append(f"NASA has no fleet {fleet}")
    elif url is None:
        tried.append("downloading is off")
    else:
        try:
            download(fleet, kept, url=url, connect_seconds=seconds, progress=progress)
        except DownloadError as error:
            tried.append(f"NASA's archive could not be had from {urlparse(url).hostname}: {error}")
        except OSError as error:
            tried.append(f"NASA's files could not be kept in {kept}: {error}")
        else:
            paths = {role: kept / f"{role}_{fleet}.txt" for role in ROLES}
            return _describe(fleet, paths, f"NASA's repository, kept in {kept}", tried)
    return None


def download(
    fleet: str, directory: Path, *, url: str = NASA_URL, connect_seconds: float = 4.0, progress: Progress | None = None
) -> None:
    """Fetch NASA's archive and keep the C-MAPSS files in it whose digests are the pinned ones.

    Raises DownloadError if the archive cannot be reached within `connect_seconds`, stalls, is no archive or does not
    hold the three files of `fleet` with the right digests; OSError if they cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="onwing-") as name:
        archive = Path(name) / "archive.zip"
        _fetch(url, archive, connect_seconds, progress)
        kept: dict[str, Path] = {}
        wrong: list[str] = []
        try:
            _unpack(archive, Path(name), kept, wrong)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
            raise DownloadError(f"the archive cannot be unpacked ({error})") from error
        for role in ROLES:
            member = f"{role}_{fleet}.txt"
            if member in wrong:
                raise DownloadError(f"{member} in the archive does not have NASA's SHA-256")
            if member not in kept:
                raise DownloadError(f"{member} is not in the archive")
        directory.mkdir(parents=True, exist_ok=True)
        for member, path in kept.items():
            partial = directory / f".{member}.{os.getpid()}"
            shutil.copyfile(path, partial)
            partial.replace(directory / member)


def _find(fleet: str, directory: Path, label: str) -> dict[str, Path] | None:
    """The three files, None if there is none of them; raises DataMissing if the directory or a part is missing."""
    if not directory.is_dir():
        raise DataMissing("There is no such directory.", where=f"{label} {directory}", todo="Correct or remove it.")
    found = {}
    for role in ROLES:
        plain = directory / f"{role}_{fleet}.txt"
        packed = directory / f"{role}_{fleet}.txt.gz"
        if path := next(filter(Path.is_file, (plain, packed)), None):
            found[role] = path
    missing = [f"{role}_{fleet}.txt" for role in ROLES if role not in found]
    if found and missing:
        there = " and ".join(path.name for path in found.values())
        raise DataMissing(
            f"The data set of {fleet} is incomplete: {' and '.join(missing)} missing, {there} there.",
            where=f"{label} {directory}",
            todo=f"It must hold {_NEEDED.format(fleet)}.",
        )
    return found or None


def _describe(fleet: str, paths: dict[str, Path], origin: str, tried: list[str]) -> DataSet:
    """Compare with the pinned digests and say what these files are."""
    warnings: list[str] = []
    sums: dict[str, str] = {}
    for role, path in paths.items():
        try:
            sums[role] = cmapss.sha256(path)
        except cmapss.DataError as error:  # the check on arrival reports it in full
            sums[role] = ""
            warnings.append(str(error))
    pinned = {role: SUMS.get(f"{role}_{fleet}.txt") for role in paths}
    differing = [paths[role].name for role in paths if sums[role] != pinned[role]]
    simulated = bool(differing) and is_simulated(paths["train"].parent)
    verified = not differing if pinned["train"] else None
    if simulated:
        source = f"SIMULATED ({origin})"
        warnings.append(f"SIMULATED data: no result on it says anything about the real {fleet} or about engines.")
    elif verified:
        source = f"{origin}: NASA's {fleet}, digests verified"
    elif verified is None:
        source = f"{origin}: fleet {fleet}, own data"
    else:
        source = f"{origin}: UNVERIFIED, not NASA's {fleet}"
        warnings.append(f"UNVERIFIED data: {', '.join(differing)} differ from NASA's files of that name.")
    return DataSet(fleet, source, simulated, verified, dict(paths), sums, tuple(warnings), tuple(tried))


def _fetch(url: str, path: Path, connect_seconds: float, progress: Progress | None) -> None:
    """Stream the archive into a file."""
    deadline = time.monotonic() + _PATIENCE
    try:
        with _connect(url, connect_seconds) as response, path.open("wb") as file:
            header = response.headers.get("Content-Length", "")
            expected = int(header) if header.isdigit() else None
            received = 0
            while piece := response.read(_MIB // 4):
                received += len(piece)
                if received > _ARCHIVE_LIMIT:
                    raise DownloadError(f"the archive is larger than {_ARCHIVE_LIMIT // _MIB} MiB")
                if time.monotonic() > deadline:
                    raise DownloadError("the download is too slow")
                file.write(piece)
                if progress is not None:
                    progress(received, expected)
    except (OSError, HTTPException) as error:
        raise DownloadError(f"the download failed ({error})") from error
    if expected is not None and received != expected:
        raise DownloadError(f"the download ended after {received} of {expected} bytes")


@contextmanager
def _connect(url: str, seconds: float) -> Iterator[HTTPResponse]:
    """Open a URL within a time that covers the look-up of the name too, for which urllib has no limit."""
    answer: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()
    late = threading.Event()

    def connect() -> None:
        try:
            response = urlopen(url, timeout=max(seconds, 10.0))
        except (OSError, HTTPException, ValueError) as error:
            answer.put(error)
            return
        answer.put(response)
        if late.is_set():
            response.close()

    threading.Thread(target=connect, name="onwing-download", daemon=True).start()
    try:
        result = answer.get(timeout=seconds)
    except queue.Empty:
        late.set()  # who comes late closes the door: the thread, or, if it just missed this, we
        if not answer.empty() and isinstance(response := answer.get(), HTTPResponse):
            response.close()
        raise DownloadError(f"no answer within {seconds:g} s") from None
    if isinstance(result, Exception):
        raise DownloadError(str(result)) from result
    with result as response:
        yield response


def _unpack(archive: Path, directory: Path, kept: dict[str, Path], wrong: list[str], depth: int = 0) -> None:
    """Extract what has a pinned digest, from archives in the archive too; names inside never become paths as such."""
    with zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            name = info.filename.rsplit("/", 1)[-1]
            if name in SUMS:
                path = directory / name
                with content.open(info) as member:
                    if _copy(member, path) == SUMS[name]:
                        kept[name] = path
                    else:
                        wrong.append(name)
            elif name.lower().endswith(".zip") and depth < _NESTING:
                path = directory / f"inner-{depth}.zip"
                with content.open(info) as member:
                    _copy(member, path)
                _unpack(path, directory, kept, wrong, depth + 1)


def _copy(member: IO[bytes], path: Path) -> str:
    """Copy a member of the archive within the size limit; returns its SHA-256."""
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        while piece := member.read(_MIB):
            size += len(piece)
            if size > _MEMBER_LIMIT:
                raise DownloadError(f"{path.name} in the archive is larger than {_MEMBER_LIMIT // _MIB} MiB")
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()
