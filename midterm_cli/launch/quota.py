"""The CPU quota of a container, which sees all cores of its machine.

`docker run --cpus 2`, a limit of Kubernetes and systemd's CPUQuota bound the CPU time of a cgroup;
threads beyond that only wait for each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_OWN = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")
# Files with the microseconds of CPU time in a period, and the period.
_VERSION_1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
_VERSION_2 = ("cpu.max",)


def cpu_quota() -> int | None:
    """The CPUs that the quota comes to, rounded up; None where the machine has no more."""
    machine = os.cpu_count() or 1
    quota = min([machine, *map(math.ceil, _quotas())])
    return quota if quota < machine else None


def _quotas() -> Iterator[float]:
    """In CPUs, of each cgroup that this process is in, the outer ones included."""
    with suppress(OSError):  # Linux alone has cgroups
        for line in _OWN.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root, names = (_ROOT / "cpu", _VERSION_1) if controllers else (_ROOT, _VERSION_2)
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                # A container may see the path that its cgroup has outside.
                with suppress(OSError):
                    texts = [(folder / name).read_text(encoding="utf-8") for name in names]
                    quota, period = " ".join(texts).split()
                    if quota not in ("max", "-1"):
                        yield int(quota) / int(period)
                if folder == root:
                    break
