"""The image map: which local command stands for a container image."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.containers.images import Image, ImageMap, ImageMapError, ImageNotFound

URI = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-model:1.0"


def write(tmp_path: Path, text: str, name: str = "images.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def test_entry_is_read_with_paths_from_its_base(tmp_path: Path) -> None:
    (tmp_path / "repo" / "src").mkdir(parents=True)
    (tmp_path / "repo" / "image").mkdir()
    path = write(
        tmp_path / "repo" / "image",
        """
        base = ".."
        [[image]]
        match = "*my-model*"
        name = "model"
        entrypoint = ["python", "-m", "my_model"]
        pythonpath = ["src"]
        preload = ["my_model.warm"]
        env = { MODE = "prod" }
        workdir = "image"
        """,
    )
    repo = (tmp_path / "repo").resolve()
    expected = Image(
        "model", ("python", "-m", "my_model"), (repo / "src",), ("my_model.warm",), {"MODE": "prod"}, repo / "image"
    )
    images = ImageMap.load([path])
    assert images.find(URI) == expected
    assert images.images == [expected]


def test_little_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, '[[image]]\nmatch = "*"\nentrypoint = ["run"]')
    assert ImageMap.load([path]).find(URI) == Image("*", ("run",))


def test_base_may_stand_in_an_entry(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = write(
        tmp_path / "a" / "b", '[[image]]\nmatch = "*"\nbase = "../.."\nentrypoint = ["run"]\npythonpath = ["a"]'
    )
    assert ImageMap.load([path]).find(URI).pythonpath == ((tmp_path / "a").resolve(),)


def test_first_match_wins_over_several_files(tmp_path: Path) -> None:
    first = write(tmp_path, '[[image]]\nmatch = "*my-model:2*"\nentrypoint = ["two"]', "1.toml")
    second = write(
        tmp_path,
        '[[image]]\nmatch = "*my-model*"\nentrypoint = ["one"]\n[[image]]\nmatch = "*"\nentrypoint = ["any"]',
        "2.toml",
    )
    images = ImageMap.load([first, second])
    assert images.find(URI).entrypoint == ("one",)
    assert images.find(URI.replace(":1", ":2")).entrypoint == ("two",)
    assert images.find("other").entrypoint == ("any",)


def test_unknown_image_says_what_is_known_and_how_to_add_one(tmp_path: Path) -> None:
    path = write(tmp_path, '[[image]]\nmatch = "*xgboost*"\nentrypoint = ["run"]')
    with pytest.raises(ImageNotFound) as raised:
        ImageMap.load([path]).find(URI)
    message = str(raised.value)
    assert URI in message
    assert "*xgboost*" in message
    assert str(path) in message
    assert "[[image]]" in message


def test_empty_map_says_how_to_add_an_image() -> None:
    with pytest.raises(ImageNotFound, match=r"Patterns known: none.*--image"):
        ImageMap.load([]).find(URI)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[image", "is not TOML"),
        ("", r"has no \[\[image\]\] table"),
        ("image = 3", r"has no \[\[image\]\] table"),
        ("images = 3", "unknown images"),
        ('[[image]]\nentrypoint = ["x"]', "image 1: match must be a string"),
        ('[[image]]\nmatch = "x"', "image 1: entrypoint is missing"),
        ('[[image]]\nmatch = "x"\nentrypoint = "python -m x"', "image 1: entrypoint must be a list of strings"),
        ('[[image]]\nmatch = "x"\nentrypoint = ["x"]\nentry_point = []', "image 1: unknown entry_point"),
        ('[[image]]\nmatch = "x"\nentrypoint = ["x"]\npythonpath = ["nowhere"]', "'nowhere' is no directory"),
        ('[[image]]\nmatch = "x"\nentrypoint = ["x"]\nworkdir = "nowhere"', "'nowhere' is no directory"),
        ('[[image]]\nmatch = "x"\nentrypoint = ["x"]\nenv = { A = 1 }', "env must be a table of strings"),
    ],
)
def test_wrong_map_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ImageMapError, match=message) as raised:
        ImageMap.load([path])
    assert str(path) in str(raised.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageMapError, match="cannot be read: No such file"):
        ImageMap.load([tmp_path / "nowhere.toml"])


def test_an_entry_can_name_what_a_container_engine_has_and_how_it_is_built(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").touch()
    entry = '[[image]]\nmatch = "*"\nentrypoint = ["python"]\ndocker = "mine:1"\ndockerfile = "Dockerfile"'
    [image] = ImageMap.load([write(tmp_path, entry)]).images
    assert image.docker == "mine:1"
    assert image.build == f"docker build -t mine:1 -f {tmp_path.resolve()}/Dockerfile {tmp_path.resolve()}"


@pytest.mark.parametrize(
    ("keys", "said"), [('docker = "a:1"\ndockerfile = "None"', "is no file"), ('dockerfile = "x"', "docker must be")]
)
def test_a_dockerfile_that_is_missing_or_without_a_name_is_refused(tmp_path: Path, keys: str, said: str) -> None:
    with pytest.raises(ImageMapError, match=said):
        ImageMap.load([write(tmp_path, f'[[image]]\nmatch = "*"\nentrypoint = ["python"]\n{keys}')])
