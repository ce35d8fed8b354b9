"""Files of numbers: what is read, up to the caps, and that nothing in them is ever run."""

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from midterm_cli.errors import UserError
from midterm_cli.part2 import arrays
from midterm_cli.part2.arrays import check_matrix, read_array, to_vector


def refusal(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_array("matrix", str(file))
    return str(caught.value)


def test_numbers_of_any_kind_are_read_as_float64(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    for dtype in ("i2", "u8", "f4", ">f8"):
        np.save(file, np.array([[1, 2]], dtype=dtype))
        read = read_array("x", str(file))
        assert read.dtype == torch.float64
        assert read.tolist() == [[1, 2]]


def test_a_csv_has_two_axes(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("1,2,3\n", encoding="utf-8")
    assert read_array("x", str(file)).tolist() == [[1, 2, 3]]
    file.write_text(" 1 # a\r\n\n# b\n2\n", encoding="utf-8")
    assert read_array("x", str(file)).tolist() == [[1], [2]]


def test_a_csv_of_excel_begins_with_a_mark_and_quotes_numbers(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('"2",1\n1,"3"\n', encoding="utf-8-sig")
    assert read_array("matrix", str(file)).tolist() == [[2, 1], [1, 3]]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1;2\n2;1\n", "line 1 is separated by ';': write commas"),
        ("# M\n\n1, 2\n2, x y  # here\n", "line 4, column 2 is 'x y', which is no number"),
        ("1,2\n2,\n", "line 2, column 2 is empty"),
        ('1,2\n"2,3\n', "line 2 has a quote that is not closed"),
        ("1,2\n\n2\n", "line 3 has 1 value, those before have 2"),
        ("1\n2,3\n", "line 2 has 2 values, those before have 1"),
        ("1,2\n \n", "line 2, column 1 is empty"),
        ("1,1_000\n", "line 1, column 2 is '1_000', which is no number"),
        ("٣\n", "line 1, column 1 is '٣', which is no number"),
        ("1\x0c2\n", r"line 1, column 1 is '1\x0c2', which is no number"),
        ("1,\x1b[31m\n", r"line 1, column 2 is '\x1b[31m', which is no number"),
    ],
)
def test_a_csv_that_is_none(text: str, what: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text, encoding="utf-8")
    assert refusal(file) == (
        f"cannot read matrix file {file}: {what}\n"
        "put a row on each line, its numbers separated by commas"
    )


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    assert refusal(file) == f"cannot read matrix file {file}: No such file or directory"
    # Such as rows whose brackets do not close, which are taken for the name of a file.
    assert refusal(Path("[[1, 2], [2")).startswith("cannot read matrix file [[1, 2], [2: No such")


def test_the_caps_are_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.npy"
    monkeypatch.setattr(arrays, "MAX_DIMENSION", 3)
    np.save(file, np.ones((3, 3)))
    assert read_array("matrix", str(file)).shape == (3, 3)
    np.save(file, np.ones((5, 2)))
    assert refusal(file) == (f"matrix file {file} has shape (5, 2), dimensions up to 3 are taken")
    np.save(file, np.ones((3, 3)))
    monkeypatch.setattr(arrays, "MAX_BYTES", file.stat().st_size)
    assert read_array("matrix", str(file)).shape == (3, 3)
    monkeypatch.setattr(arrays, "MAX_BYTES", file.stat().st_size - 1)
    assert refusal(file) == f"matrix file {file} has 200 bytes, at most 199 are read"


def test_a_matrix_up_to_the_largest_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_DIMENSION", 3)
    check_matrix(torch.eye(3))
    # What rounding makes asymmetric is relative to M's largest entry.
    check_matrix(torch.tensor([[1e6, 1e-9], [0, 1e6]], dtype=torch.float64))
    with pytest.raises(UserError, match="M must be symmetric"):
        check_matrix(torch.tensor([[1e-6, 1e-14], [0, 1e-6]], dtype=torch.float64))
    with pytest.raises(UserError, match="M has dimension 4, at most 3 is taken"):
        check_matrix(torch.eye(4))
    with pytest.raises(UserError, match=r"^M: the value at \[0, 1\] is nan: replace it"):
        check_matrix(torch.tensor([[1, math.nan], [math.nan, 1]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_makes_no_matrix_asymmetric(dtype: torch.dtype) -> None:
    matrix, eps = torch.eye(3, dtype=dtype), torch.finfo(dtype).eps
    matrix[2, 0] = 64 * eps
    check_matrix(matrix)
    matrix[2, 0] = 65 * eps
    with pytest.raises(UserError, match=r"M\[0\]\[2\] = 0 and M\[2\]\[0\] = "):
        check_matrix(matrix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_is_what_rounding_could_make_singular(dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    check_matrix(torch.diag(torch.tensor([7, 8 * 3 * 1.01 * eps, -8], dtype=dtype)))
    with pytest.raises(UserError) as caught:
        check_matrix(torch.diag(torch.tensor([8 * 3 * eps, 7, -8], dtype=dtype)))
    assert str(caught.value) == (
        f"M is singular to the precision of {str(dtype).removeprefix('torch.')}: its smallest "
        f"singular value is {24 * eps:.3g} and its largest 8\ngive an invertible M"
    )


@pytest.mark.parametrize("shape", [(), (0,), (2, 2), (1, 1, 3)])
def test_what_is_no_vector(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="one vector, got shape " + re.escape(str(shape))):
        to_vector(torch.ones(shape))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1)])
def test_what_is_a_vector(shape: tuple[int, ...]) -> None:
    assert to_vector(torch.ones(shape)).tolist() == [1, 1, 1]


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_in_place_of_an_array_is_not_run(tmp_path: Path) -> None:
    file, sprung = tmp_path / "a.npy", tmp_path / "sprung"
    damaged = f"cannot read matrix file {file}: it is not a .npy file of plain numbers"
    file.write_bytes(pickle.dumps(Trap(sprung)))
    assert refusal(file) == damaged
    np.save(file, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    assert refusal(file) == damaged
    assert not sprung.exists()


def test_an_archive_in_place_of_an_array(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as stream:
        np.savez(stream, a=np.ones(2))
    assert "it is not a .npy file of plain numbers" in refusal(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"")
    assert "it is not a .npy file" in refusal(tmp_path / "b.npy")


def test_a_name_that_is_no_line_of_text_is_shown_on_one_line() -> None:
    with pytest.raises(UserError) as caught:
        read_array("matrix", "a\n\x1b[2J.csv")
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    assert r"a\n\x1b[2J.csv" in str(caught.value)
