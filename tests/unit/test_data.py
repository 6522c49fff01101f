"""Where data comes from: the order of the places, what is said about each, and a download that cannot hang."""

import gzip
import hashlib
import io
import os
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onwing import data
from onwing.errors import UsageError
from onwing.simulator import simulate

NAMES = ("train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt")
CMAPSS_DIR = os.environ.get("CMAPSS_DIR", "")


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small FD001 that the tests pin as NASA's."""
    paths = simulate("FD001", tmp_path_factory.mktemp("nasa"), engines=2, seed=99)
    return {path.name: path.read_bytes() for path in paths.values()}


@pytest.fixture(autouse=True)
def pinned(trio: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SUMS", {name: hashlib.sha256(text).hexdigest() for name, text in trio.items()})


def put(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def find(root: Path, fleet: str = "FD001", environ: dict[str, str] | None = None, **options: object) -> data.DataSet:
    """Resolve without a network unless a URL is given."""
    given: dict[str, Any] = {"url": None, "engines": 2, "connect_seconds": 60.0, **options}
    return data.resolve(fleet, root=root, environ=environ or {}, **given)


# --- on this machine -------------------------------------------------------------------------------------------------


def test_nasas_files_given_by_argument_are_called_nasas(trio: dict[str, bytes], tmp_path: Path) -> None:
    found = find(tmp_path, data_dir=put(tmp_path / "mine", trio), environ={"CMAPSS_DIR": "/nowhere"})
    assert (found.simulated, found.verified, found.warnings) == (False, True, ())
    assert "NASA's FD001" in found.source
    assert [path.name for path in found.paths.values()] == list(NAMES)
    assert list(found.paths) == ["train", "test", "RUL"]
    assert found.sums["train"] == data.SUMS["train_FD001.txt"]


def test_environment_comes_before_the_data_folder_and_compressed_files_count(
    trio: dict[str, bytes], tmp_path: Path
) -> None:
    packed = put(tmp_path / "elsewhere", {f"{name}.gz": gzip.compress(text) for name, text in trio.items()})
    put(tmp_path / "data" / "cmapss", trio)
    found = find(tmp_path, environ={"CMAPSS_DIR": str(packed)})
    assert found.verified is True
    assert {path.parent for path in found.paths.values()} == {packed}
    assert found.source.startswith("$CMAPSS_DIR")
    found = find(tmp_path)
    assert {path.parent for path in found.paths.values()} == {tmp_path / "data" / "cmapss"}
    assert found.tried == ("$CMAPSS_DIR is not set",)


def test_files_that_differ_from_nasas_are_never_called_nasas(trio: dict[str, bytes], tmp_path: Path) -> None:
    changed = {**trio, "RUL_FD001.txt": b"5 \n6 \n"}
    for options in (
        {"data_dir": put(tmp_path / "mine", changed)},
        {"environ": {"CMAPSS_DIR": str(tmp_path / "mine")}},
    ):
        found = find(tmp_path, **options)  # type: ignore[arg-type]
        assert (found.simulated, found.verified) == (False, False)
        assert "UNVERIFIED" in found.source
        assert "RUL_FD001.txt differ" in found.warnings[0]


def test_own_fleet_is_taken_as_it_is(trio: dict[str, bytes], tmp_path: Path) -> None:
    own = put(tmp_path / "mine", {name.replace("FD001", "A320"): text for name, text in trio.items()})
    found = find(tmp_path, "A320", data_dir=own)
    assert (found.simulated, found.verified, found.warnings) == (False, None, ())
    assert "own data" in found.source


def test_damaged_file_is_resolved_with_a_warning_so_that_the_check_on_arrival_can_report_it(
    trio: dict[str, bytes], tmp_path: Path
) -> None:
    files = {f"{name}.gz": gzip.compress(text) for name, text in trio.items()}
    files["test_FD001.txt.gz"] = files["test_FD001.txt.gz"][:-20]
    found = find(tmp_path, data_dir=put(tmp_path / "mine", files))
    assert found.verified is False
    assert any("cut off" in warning for warning in found.warnings)


@pytest.mark.parametrize("missing", NAMES)
def test_incomplete_data_set_is_an_error_that_names_what_is_missing_where(
    missing: str, trio: dict[str, bytes], tmp_path: Path
) -> None:
    place = put(tmp_path / "mine", {name: text for name, text in trio.items() if name != missing})
    for options in ({"data_dir": place}, {"environ": {"CMAPSS_DIR": str(place)}}):
        with pytest.raises(data.DataMissing, match=rf"incomplete: {missing} missing") as caught:
            find(tmp_path, **options)  # type: ignore[arg-type]
        assert str(place) in caught.value.where


def test_places_named_by_the_user_must_exist(tmp_path: Path) -> None:
    with pytest.raises(data.DataMissing, match="no such directory") as caught:
        find(tmp_path, environ={"CMAPSS_DIR": str(tmp_path / "gone")})
    assert caught.value.where == f"$CMAPSS_DIR {tmp_path / 'gone'}"
    with pytest.raises(data.DataMissing, match="no such directory"):
        find(tmp_path, data_dir=tmp_path / "gone")
    with pytest.raises(data.DataMissing, match="no files of fleet FD001"):
        find(tmp_path, data_dir=put(tmp_path / "empty", {}))


@pytest.mark.parametrize("fleet", ["", "../etc", "FD 1", "ABCDEFGHIJK", "Flöte"])
def test_hostile_fleet_names_are_refused(fleet: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not the name of a fleet"):
        find(tmp_path, fleet)


def test_locate_tells_what_is_here_and_makes_nothing(trio: dict[str, bytes], tmp_path: Path) -> None:
    assert data.locate("FD001", root=tmp_path, environ={}) is None
    assert list(tmp_path.iterdir()) == []
    put(tmp_path / "data" / "cmapss", trio)
    assert "NASA's FD001" in str(data.locate("FD001", root=tmp_path, environ={}))


# --- simulated -------------------------------------------------------------------------------------------------------


def test_simulator_is_the_last_resort_and_says_so_everywhere(tmp_path: Path) -> None:
    found = find(tmp_path, environ={"CMAPSS_DIR": str(put(tmp_path / "empty", {}))})
    assert found.simulated
    assert found.source.startswith("SIMULATED")
    assert "SIMULATED" in found.warnings[-1]
    assert found.paths["train"] == tmp_path / ".onwing" / "simulated" / "FD001" / "train_FD001.txt"
    assert len(found.tried) == 3
    assert "downloading is off" in found.tried[-1]


def test_simulated_data_can_be_asked_for(trio: dict[str, bytes], tmp_path: Path) -> None:
    put(tmp_path / "data" / "cmapss", trio)
    found = find(tmp_path, simulated=True, simulated_dir=tmp_path / "made", seed=7)
    assert found.simulated
    assert found.paths["RUL"].parent == tmp_path / "made"
    assert "seed 7" in found.source


def test_simulated_files_stay_simulated_when_they_come_back_as_the_users(tmp_path: Path) -> None:
    made = find(tmp_path, "A320")
    again = find(tmp_path, "A320", data_dir=made.paths["train"].parent)
    assert again.simulated
    assert again.source.startswith("SIMULATED")


def test_fleet_that_nasa_does_not_have_is_not_looked_for_there(tmp_path: Path) -> None:
    found = find(tmp_path, "A320", url="http://127.0.0.1:9/never")
    assert found.simulated
    assert found.verified is None
    assert "NASA has no fleet A320" in found.tried


# --- downloaded ------------------------------------------------------------------------------------------------------


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    """Nested as NASA's is."""
    folder = "6. Turbofan Engine Degradation Simulation Data Set/"
    return zipped({folder + "CMAPSSData.zip": zipped({"readme.txt": b"...", **files}), folder + "paper.pdf": b"%PDF"})


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """A web server on loopback that answers every GET with the bytes given; returns its URL."""
    servers = []

    def start(content: bytes, *, status: int = 200, length: int | None = None, wait: float = 0.0) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stop.wait(wait)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        stop = threading.Event()
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append((server, stop))
        return f"http://127.0.0.1:{server.server_address[1]}/data.zip"

    yield start
    for server, stop in servers:
        stop.set()
        server.shutdown()
        server.server_close()


def test_download_keeps_the_verified_files_for_next_time(
    trio: dict[str, bytes], tmp_path: Path, serve: Callable[..., str]
) -> None:
    seen: list[tuple[int, int | None]] = []
    content = archive(trio)
    found = find(tmp_path, url=serve(content), progress=lambda *step: seen.append(step))
    assert (found.simulated, found.verified) == (False, True)
    assert found.source.startswith("NASA's repository")
    assert seen[-1] == (len(content), len(content))
    kept = tmp_path / "data" / "cmapss"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == trio
    again = find(tmp_path)
    assert again.verified is True
    assert again.paths == found.paths


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("make", "options", "reason"),
    [
        (lambda t: archive({**t, "RUL_FD001.txt": b"1 \n2 \n"}), {}, "does not have NASA's SHA-256"),
        (lambda t: archive({n: t[n] for n in NAMES[:2]}), {}, "RUL_FD001.txt is not in the archive"),
        (lambda t: b"<html>moved</html>", {}, "cannot be unpacked"),
        (lambda t: _flipped(archive(t)), {}, "cannot be unpacked|SHA-256|not in the archive"),
        (lambda t: b"gone", {"status": 404}, "404"),
        (lambda t: archive(t)[:1000], {"length": 10**6}, "download (ended|failed)"),
        (lambda t: archive(t), {"wait": 600.0}, "no answer within 0.5 s"),
    ],
    ids=["wrong file", "file left out", "no archive", "damaged", "not found", "cut off", "no answer"],
)
def test_failed_download_leaves_nothing_and_the_simulator_steps_in_with_the_reason(
    make: Callable[[dict[str, bytes]], bytes],
    options: dict[str, int],
    reason: str,
    trio: dict[str, bytes],
    tmp_path: Path,
    serve: Callable[..., str],
) -> None:
    url = serve(make(trio), **options)
    seconds = 0.5 if "wait" in options else 60.0
    found = find(tmp_path, url=url, connect_seconds=seconds)
    assert found.simulated
    assert not (tmp_path / "data").exists()
    with pytest.raises(data.DownloadError, match=reason):
        data.download("FD001", tmp_path / "kept", url=url, connect_seconds=seconds)
    assert "NASA's archive could not be had from 127.0.0.1" in found.tried[-1]


def test_archive_over_the_limit_is_refused(
    trio: dict[str, bytes], tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_ARCHIVE_LIMIT", 1000)
    with pytest.raises(data.DownloadError, match="larger than"):
        data.download("FD001", tmp_path, url=serve(archive(trio)), connect_seconds=60.0)
    monkeypatch.undo()


def test_bomb_inside_the_archive_is_refused(
    trio: dict[str, bytes], tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_MEMBER_LIMIT", 1 << 20)
    with pytest.raises(data.DownloadError, match=r"train_FD001.txt in the archive is larger"):
        data.download(
            "FD001", tmp_path, url=serve(archive({**trio, "train_FD001.txt": bytes(20 << 20)})), connect_seconds=60.0
        )
    assert list(tmp_path.iterdir()) == []


def test_names_in_the_archive_never_become_paths(
    trio: dict[str, bytes], tmp_path: Path, serve: Callable[..., str]
) -> None:
    hostile = {f"../../{name}": text for name, text in trio.items()} | {"/etc/x.zip": b"", "../../evil.txt": b"x"}
    with pytest.raises(data.DownloadError, match="cannot be unpacked"):  # an empty inner archive is none
        data.download("FD001", tmp_path / "a" / "b", url=serve(zipped(hostile)), connect_seconds=60.0)
    del hostile["/etc/x.zip"]
    data.download("FD001", tmp_path / "a" / "b", url=serve(zipped(hostile)), connect_seconds=60.0)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")} == {f"a/b/{name}" for name in NAMES}


def test_port_that_nobody_listens_on_fails_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        found = find(tmp_path, url=f"http://127.0.0.1:{taken.getsockname()[1]}/x.zip", connect_seconds=2.0)
    assert found.simulated


def test_name_look_up_that_hangs_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def hang(*_: object, **__: object) -> None:
        done.wait(600)
        raise OSError("too late")

    monkeypatch.setattr(data, "urlopen", hang)
    found = find(tmp_path, url="http://nowhere.invalid/x.zip", connect_seconds=0.3)
    done.set()
    assert "no answer within 0.3 s" in found.tried[-1]


# --- NASA's own ------------------------------------------------------------------------------------------------------


@pytest.mark.needs_cmapss
@pytest.mark.skipif(not CMAPSS_DIR, reason="CMAPSS_DIR is not set: the real C-MAPSS files are needed")
def test_real_files_are_recognised_by_their_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real digests
    found = find(tmp_path, "FD003", environ={"CMAPSS_DIR": CMAPSS_DIR})
    assert (found.simulated, found.verified) == (False, True)
    renamed = tmp_path / "mine"
    renamed.mkdir()
    for path in found.paths.values():
        shutil.copy(path, renamed / path.name.replace("FD003", "FD001"))
    assert "UNVERIFIED" in find(tmp_path, "FD001", data_dir=renamed).source
