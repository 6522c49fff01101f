"""File names of C-MAPSS data: taken apart, never guessed."""

import pytest
from cmapss import DataError, FileName, parse_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_FD001.txt", FileName("train", "FD001", False)),
        ("test_FD004.txt.gz", FileName("test", "FD004", True)),
        ("RUL_a380X.txt", FileName("RUL", "a380X", False)),
        ("RUL_1234567890.txt.gz", FileName("RUL", "1234567890", True)),
    ],
)
def test_name_is_taken_apart_and_put_together_again(name: str, expected: FileName) -> None:
    assert parse_name(name) == expected
    assert str(parse_name(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "train_FD001.txt\n",
        "train_FD001.csv",
        "Train_FD001.txt",
        "rul_FD001.txt",
        "train_FD001.txt.gz.gz",
        "train_FD001.TXT",
        "train_.txt",
        "train_12345678901.txt",
        "train_FD 01.txt",
        "train_FD+1.txt",
        "train_FD%251.txt",
        "train_Flöt.txt",
        "train_FD٠٠١.txt",  # Arabic digits are digits to \d, not to us
        "../train_FD001.txt",
        "x/train_FD001.txt",
        "train_FD001.txt ",
        "train_FD001_1.txt",
        "train_" + "A" * 10_000 + ".txt",
    ],
)
def test_name_outside_the_pattern_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(DataError, match="Name it train_<fleet>") as caught:
        parse_name(name)
    assert caught.value.violations == []
    assert len(str(caught.value)) < 500
