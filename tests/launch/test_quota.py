"""The CPU quota, as Linux writes it into the files of cgroups."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from midterm_cli.launch import quota


@pytest.fixture
def quota_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int | None]:
    """The quota of a process in these cgroups, on a machine with 64 CPUs."""

    def found(own: str, files: Mapping[str, str]) -> int | None:
        for name, text in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n", encoding="utf-8")
        (tmp_path / "own").write_text(own, encoding="utf-8")
        return quota.cpu_quota()

    monkeypatch.setattr(quota, "_OWN", tmp_path / "own")
    monkeypatch.setattr(quota, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    return found


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),  # docker run --cpus 2
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "1000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "6400000 100000"}, None),  # all that the machine has
        ("0::/", {}, None),
        ("0::/pods/one", {"pods/one/cpu.max": "max 100000", "pods/cpu.max": "300000 100000"}, 3),
        ("0::/a/b", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "400000 100000"}, 4),
        ("0::/../../elsewhere/seen/from/outside", {"cpu.max": "200000 100000"}, 2),
        (
            "7:memory:/\n3:cpu,cpuacct:/docker/1:2\n0::/",
            {
                "cpu/docker/1:2/cpu.cfs_quota_us": "250000",
                "cpu/docker/1:2/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("3:cpuset:/", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_tightest_quota_counts(
    own: str, files: Mapping[str, str], cpus: int | None, quota_of: Callable[..., int | None]
) -> None:
    assert quota_of(own, files) == cpus


def test_where_there_are_no_cgroups_there_is_no_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "_OWN", tmp_path / "nothing")
    assert quota.cpu_quota() is None
