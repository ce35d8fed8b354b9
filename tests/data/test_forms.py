"""The forms that a dataset comes in: one file, torchvision's folders, labels from 1; conversion."""

import gzip
import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from answer import Answer
from idx_files import Arrays, examples, idx, refusal, write

from midterm_cli.data import convert, datasets
from midterm_cli.data.datasets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from midterm_cli.errors import UserError

NOWHERE = Path("unused")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # as Keras names them


def load(path: Path) -> datasets.Dataset:
    return datasets.load(str(path), NOWHERE)


def npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes only bool by keyword
    return buffer.getvalue()


def write_npz(path: Path, arrays: Arrays, names: tuple[str, ...] = ARRAYS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(npz(dict(zip(names, arrays.values(), strict=True))))
    return path


def write_csv(path: Path, images: np.ndarray, labels: np.ndarray, head: str = "") -> Path:
    rows = [
        ",".join(map(str, [label, *image.ravel()]))
        for image, label in zip(images, labels, strict=True)
    ]
    path.write_text("\n".join([head] * bool(head) + rows), encoding="utf-8")
    return path


def header(side: int) -> str:
    return ",".join(["label", *(f"pixel{i}" for i in range(side**2))])


def same(first: datasets.Dataset, second: datasets.Dataset) -> bool:
    return first.sha256 == second.sha256 and all(
        np.array_equal(getattr(a, key), getattr(b, key))
        for a, b in ((first.train, second.train), (first.test, second.test))
        for key in ("images", "labels")
    )


# The same images in every form


@pytest.mark.parametrize(
    "names",
    [
        ARRAYS,
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_npz_holds_what_the_folder_holds(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = examples()
    path = write_npz(tmp_path / "mine.npz", arrays, names)
    assert same(load(path), load(write(tmp_path / "idx", arrays)))
    assert load(path).name == "mine"
    assert load(path).source == str(path)


def test_arrays_of_other_programs_are_the_same_images(tmp_path: Path) -> None:
    arrays = examples(height=4, width=4)
    expected = load(write(tmp_path / "idx", arrays))
    images, labels = arrays[TRAIN_IMAGES], arrays[TRAIN_LABELS]
    forms = [
        (images[..., None], labels[:, None]),
        (images[:, None], labels.astype(np.int64)),
        (images.reshape(len(images), -1).astype(np.float64), labels.astype(np.float32)),
        (np.asfortranarray(images), labels),
    ]
    for place, (x, y) in enumerate(forms):
        path = write_npz(tmp_path / f"{place}.npz", {**arrays, TRAIN_IMAGES: x, TRAIN_LABELS: y})
        assert same(load(path), expected)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("head", ["", header(4), ",".join(map(str, range(17)))])
@pytest.mark.parametrize(
    ("train", "test"),
    [("a.csv", "a_test.csv"), ("a_train.csv", "a_test.csv"), ("train.csv", "test.csv")],
)
def test_csv_holds_what_the_folder_holds(
    tmp_path: Path, mark: str, head: str, train: str, test: str
) -> None:
    arrays = examples(height=4, width=4)
    path = write_csv(tmp_path / train, arrays[TRAIN_IMAGES], arrays[TRAIN_LABELS], head)
    path.write_text(
        mark + path.read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    write_csv(tmp_path / test, arrays[TEST_IMAGES], arrays[TEST_LABELS], head)
    assert same(load(path), load(write(tmp_path / "idx", arrays)))


@pytest.mark.parametrize("names", [("images", "labels"), ("x_test", "y_test")])
def test_an_npz_has_its_test_set_beside(names: tuple[str, str], tmp_path: Path) -> None:
    arrays = examples()
    train = {"x_train": arrays[TRAIN_IMAGES], "y_train": arrays[TRAIN_LABELS]}
    test = dict(zip(names, (arrays[TEST_IMAGES], arrays[TEST_LABELS]), strict=True))
    (tmp_path / "letters_train.npz").write_bytes(npz(train))
    # Training images in the file of the test set are no test set.
    both = test if names[0] == "images" else train | test
    (tmp_path / "letters_test.npz").write_bytes(npz(both))
    expected = load(write(tmp_path / "idx", arrays))
    assert same(load(tmp_path / "letters_train.npz"), expected)
    (tmp_path / "letters_train.npz").rename(tmp_path / "letters.npz")
    assert same(load(tmp_path / "letters.npz"), expected)


def test_a_test_set_is_no_training_set(tmp_path: Path) -> None:
    arrays = examples()
    test = {"x_test": arrays[TEST_IMAGES], "y_test": arrays[TEST_LABELS]}
    (tmp_path / "a.npz").write_bytes(npz(test))

    with pytest.raises(UserError, match="beside its test set"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "head", ["pixel1,pixel2,pixel3,pixel4,class", "pixel1,b,c,d,e", "a,b,c,d,Y"]
)
def test_a_csv_with_its_label_elsewhere_is_refused(head: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{head}\n1,2,3,4,0\n5,6,7,8,1\n", encoding="utf-8")

    with pytest.raises(UserError, match="has to be the first"):
        load(tmp_path / "a.csv")


@pytest.mark.parametrize(("order", "is_read"), [("1234", True), ("4321", False), ("1243", False)])
def test_pixels_stand_in_the_order_of_their_names(
    order: str, is_read: bool, tmp_path: Path
) -> None:
    head = ",".join(["label", *(f"pixel{place}" for place in order)])
    for name in ("a.csv", "a_test.csv"):
        (tmp_path / name).write_text(f"{head}\n0,1,2,3,4\n1,5,6,7,8\n", encoding="utf-8")

    if is_read:
        assert load(tmp_path / "a.csv").train.images[0].tolist() == [[1, 2], [3, 4]]
        return
    with pytest.raises(UserError, match="another order than their names"):
        load(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("0.0,1,2,3,4", "line 1, column 1 is '0.0', which is no whole number 0…255"),
        ("-1,1,2,3,4", "line 1, column 1 is '-1', which is no whole number 0…255"),
        ("0;1;2;3;4", "line 1 is separated by ';': write commas"),
        ("0 1 2 3 4", "line 1, column 1 is '0 1 2 3 4', which is no whole number 0…255"),
    ],
)
def test_a_row_of_numbers_is_no_header(row: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{row}\n{row}\n", encoding="utf-8")
    assert problem in refusal(lambda: load(tmp_path / "a.csv"))


@pytest.mark.parametrize("head", ["label,a,b,c", "label,a,b,c,d,e"])
def test_a_header_names_each_column(head: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{head}\n0,1,2,3,4\n1,5,6,7,8\n", encoding="utf-8")
    names = head.count(",") + 1
    assert f"has 5 columns, the header names {names}" in refusal(lambda: load(tmp_path / "a.csv"))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_pixels_of_0_and_1_are_refused(dtype: type, tmp_path: Path) -> None:
    images: np.ndarray = (np.arange(4 * 9).reshape(4, 3, 3) % 2).astype(dtype)
    labels = np.array([0, 1, 0, 1])
    both = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    (tmp_path / "a.npz").write_bytes(npz(both))

    with pytest.raises(UserError, match=r"these are 0 and 1: take np\.rint"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_names_with_a_dot(tmp_path: Path, compressed: bool) -> None:
    expected = load(write(tmp_path / "idx", examples()))
    write(tmp_path / "dots", examples(), compressed=compressed)
    for path in (tmp_path / "dots").iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert same(load(tmp_path / "dots"), expected)


@pytest.mark.parametrize("word", datasets.KNOWN)
def test_words_read_torchvisions_folders(tmp_path: Path, word: str) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    num_classes = {"emnist-letters": 26}.get(word, 10)
    first = int(word == "emnist-letters")
    arrays = examples(num_classes, 28, 28)
    arrays[TRAIN_LABELS] += np.uint8(first)
    arrays[TEST_LABELS] += np.uint8(first)
    known = datasets.KNOWN[word]
    assert f"{known.folder} lacks {known.prefix}" in refusal(lambda: datasets.load(word, tmp_path))
    write(
        tmp_path / known.folder,
        {f"{known.prefix}{k.replace('t10k', known.test)}": a for k, a in arrays.items()},
    )
    read = datasets.load(word, tmp_path)
    assert (read.num_classes, read.first_label) == (num_classes, first)
    make = getattr(torchvision, word.partition("-")[0].upper())
    theirs = make(tmp_path, **({"split": "letters"} if first else {}))
    np.testing.assert_array_equal(read.train.images, theirs.data)
    np.testing.assert_array_equal(read.train.labels + first, theirs.targets)
    assert list(read.class_names) == theirs.classes[first:] or word == "mnist"


# Labels from 1


def test_labels_from_1_are_classes_from_0_and_said_so(tmp_path: Path) -> None:
    arrays = examples(26)
    arrays[TRAIN_LABELS] += np.uint8(1)
    arrays[TEST_LABELS] += np.uint8(1)
    read = load(write(tmp_path / "letters", arrays))
    np.testing.assert_array_equal(read.train.labels, examples(26)[TRAIN_LABELS])
    np.testing.assert_array_equal(read.test.labels, examples(26)[TEST_LABELS])
    assert read.class_names == tuple(map(str, range(1, 27)))
    assert read.note == "the labels of letters are 1 to 26: read as the classes 0 to 25"
    assert read.source.endswith("(labels 1 to 26)")
    assert load(write(tmp_path / "zero", examples(26))).note is None


@pytest.mark.parametrize("label", [0, 27])
def test_a_test_label_outside_of_those_from_1(tmp_path: Path, label: int) -> None:
    arrays = examples(26)
    arrays[TRAIN_LABELS] += np.uint8(1)
    arrays[TEST_LABELS] += np.uint8(1)
    arrays[TEST_LABELS][3] = label
    message = refusal(lambda: load(write(tmp_path, arrays)))
    assert f"label {label} at index 3 is out of range, the classes are 1 to 26" in message


def test_labels_from_1_with_a_gap(tmp_path: Path) -> None:
    arrays = examples()
    arrays[TRAIN_LABELS] = np.where(arrays[TRAIN_LABELS] == 1, 3, 1).astype(np.uint8)
    message = refusal(lambda: load(write(tmp_path, arrays)))
    assert "class 2 has no example, and the classes are 1 to 3" in message


# What is refused


def changed(**arrays: np.ndarray) -> bytes:
    """An .npz of a whole dataset in which some arrays are others."""
    return npz({**dict(zip(ARRAYS, examples().values(), strict=True)), **arrays})


def with_header(content: bytes, old: bytes, new: bytes) -> bytes:
    """An .npz in which the header of one array says something else, its checksum right."""
    source, target = io.BytesIO(content), io.BytesIO()
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name).replace(old, new))
    return target.getvalue()


BAD_NPZ = {
    "no zip": (b"hello", "not a zip file"),
    "no names": (
        with_header(changed(), b"", b"").replace(b"x_train", b"z_train"),
        "has no arrays x_train and y_train beside its test set",
    ),
    "objects": (changed(x_train=np.array([None])), "holds Python objects, which are never read"),
    "scaled": (changed(x_train=examples()[TRAIN_IMAGES] / 255), "np.rint(255 * x)"),
    "NaN": (
        changed(x_train=np.full((12, 4, 5), np.nan)),
        "pixels are whole numbers 0…255, got nan",
    ),
    "negative": (changed(x_train=np.full((12, 4, 5), -1)), "whole numbers 0…255, got -1"),
    "colour": (changed(x_train=np.zeros((12, 4, 5, 3))), "(n, height, width), got 12 × 4 × 5 × 3"),
    "one-hot": (changed(y_train=np.eye(12)), "take y.argmax(1) if they are one-hot"),
    "words": (changed(y_train=np.array(["cat"] * 12)), "labels of dtype <U3"),
    "counts": (changed(y_train=np.zeros(11)), "counts 12 images, but"),
    "empty": (changed(x_train=np.zeros((0, 4, 5))), "no pixels: the shape is 0 × 4 × 5"),
    "absurd": (
        with_header(changed(), b"(12, 4, 5)", b"(9e9, 4,5)".replace(b"9e9", b"999")),
        "of x_train.npy gives 20,108 bytes, but it has 368",
    ),
}


@pytest.mark.parametrize("kind", BAD_NPZ)
def test_npz_that_is_none(tmp_path: Path, kind: str) -> None:
    content, expected = BAD_NPZ[kind]
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    message = refusal(lambda: load(path))
    assert expected in message
    assert str(path) in message


BAD_CSV = {
    "": "has no row",
    "label,a\n": "has no row",
    "label,a\n1,256\n": "line 2, column 2 is '256', which is no whole number 0…255",
    '1,2\n"-1",3\n': "line 2, column 1 is '\"-1\"', which is no whole number",
    "label,a\n1,3.5\n": "line 2, column 2 is '3.5', which is no whole number",
    "1,2\n1,²\n": "line 2, column 2 is '²', which is no whole number",
    "1,2\n1,\n": "line 2, column 2 is empty",
    '1,2\n"1,2\n': "line 2 has a quote that is not closed",
    "label;a\n1;2\n": "line 2 is separated by ';': write commas",
    f"label,a{'1' * 5_000}\n1,x\n": "line 2, column 2 is 'x', which is no whole number",
    "# 1,2\n": "line 1, column 1 is '# 1', which is no whole number",
    "1\n2\n": "has one column",
    "1,2,3\n": "2 pixels a row make no square image",
    "pixel0,label\n1,2\n": "the label is column 2, and has to be the first",
    "1,2\n1,2,3\n": "line 2 has 3 values, those before have 2",
    "label,\udcff\n": "is not UTF-8: save it as CSV in UTF-8",
    "label,a\n1,\udcff\n": "is not UTF-8: save it as CSV in UTF-8",
}


@pytest.mark.parametrize("text", BAD_CSV)
def test_csv_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    message = refusal(lambda: load(path))
    assert BAD_CSV[text] in message
    assert str(path) in message


def test_a_file_is_read_up_to_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = examples(height=4, width=4)
    archive = write_npz(tmp_path / "a.npz", arrays)
    csv = write_csv(tmp_path / "a.csv", arrays[TRAIN_IMAGES], arrays[TRAIN_LABELS])
    write_csv(tmp_path / "a_test.csv", arrays[TEST_IMAGES], arrays[TEST_LABELS])
    with zipfile.ZipFile(archive) as members:
        size = sum(info.file_size for info in members.infolist())
    for path, bound in ((archive, size), (csv, csv.stat().st_size)):
        monkeypatch.setattr(datasets, "MAX_BYTES", bound)
        load(path)
        monkeypatch.setattr(datasets, "MAX_BYTES", bound - 1)
        assert "above the limit" in refusal(partial(load, path))


def test_gzip_is_named_rightly(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", examples())
    (folder / TRAIN_IMAGES).write_bytes(gzip.compress((folder / TRAIN_IMAGES).read_bytes()))
    message = refusal(lambda: load(folder))
    assert f"is compressed by gzip: rename it to {TRAIN_IMAGES}.gz" in message
    folder = write(tmp_path / "b", examples(), compressed=True)
    (folder / f"{TEST_LABELS}.gz").write_bytes(idx(examples()[TEST_LABELS]))
    assert f"a plain IDX file: rename it to {TEST_LABELS}" in refusal(lambda: load(folder))


# Without a test set; conversion


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """An .npz without a test set, whose labels begin at 1."""
    arrays = examples(num_classes=4)
    path = tmp_path / "alone.npz"
    np.savez(path, images=arrays[TRAIN_IMAGES], labels=arrays[TRAIN_LABELS] + 1)
    return path


def test_a_test_set_is_asked_for_with_the_command(alone: Path) -> None:
    message = refusal(lambda: load(alone))
    assert f"there is no {alone.with_stem('alone_test')}" in message
    assert f"midterm data convert {alone} FOLDER --test-share 0.2" in message


def test_split_is_a_partition_by_its_seed(alone: Path) -> None:
    with np.load(alone) as file:
        given = sorted(
            (y, x.tobytes()) for x, y in zip(file["images"], file["labels"], strict=True)
        )
    splits = [convert.split(alone, 0.25, seed) for seed in (0, 0, 1)]
    for found in splits:
        assert (len(found.train.labels), len(found.test.labels)) == (12, 4)
        drawn = [
            (label + 1, image.tobytes())
            for part in (found.train, found.test)
            for image, label in zip(part.images, part.labels, strict=True)
        ]
        assert sorted(drawn) == given
        assert found.note is not None
    assert same(splits[0], splits[1])
    assert not same(splits[0], splits[2])
    assert splits[2].source == f"{alone}, 4 of 16 drawn for testing by seed 1 (labels 1 to 4)"


@pytest.mark.parametrize("share", ["0", "1", "0.01"])
def test_split_without_an_example(
    midterm: Callable[..., Answer], alone: Path, share: str, folder: Path
) -> None:
    answer = midterm("data", "convert", alone, "out", "--test-share", share)
    assert (answer.code, answer.out) == (2, "")
    assert not (folder / "out").exists()


def test_conversion_keeps_content_and_digest(
    midterm: Callable[..., Answer], alone: Path, folder: Path
) -> None:
    answer = midterm("data", "convert", alone, "idx", "--test-share", 0.25, "--seed", 1)
    assert (answer.code, answer.out) == (0, "idx\n")
    expected = convert.split(alone, 0.25, 1)
    assert expected.sha256 in answer.err
    assert (folder / "idx" / "source.txt").read_text() == f"{expected.source}\n"
    assert midterm("data", "convert", "idx", "again.npz").code == 0
    for form in ("idx", "again.npz"):
        assert same(load(Path(form)), expected)
    answer = midterm("data", "convert", "again.npz", "idx")
    assert answer.code == 2
    assert "idx is already there" in answer.err


def test_what_has_a_test_set_is_not_split(midterm: Callable[..., Answer], folder: Path) -> None:
    write_npz(folder / "whole.npz", examples())
    answer = midterm("data", "convert", "whole.npz", "out", "--test-share", 0.5)
    assert answer.code == 2
    assert "has a test set: leave out --test-share" in answer.err


def test_synthetic_is_the_same_as_files(midterm: Callable[..., Answer], folder: Path) -> None:
    assert midterm("data", "convert", "synthetic", "s.npz").code == 0
    assert same(load(folder / "s.npz"), datasets.load("synthetic", NOWHERE))
