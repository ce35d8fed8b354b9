"""What an experiment is given where nobody chose otherwise."""

from collections.abc import Iterator

import torch

from midterm_cli.experiment import Context, Event, Job


def count_up(letter: str, end: int) -> Iterator[str]:
    for number in range(end):
        yield f"{letter}{number}"


def test_jobs_run_one_after_the_other() -> None:
    context = Context(torch.device("cpu"))
    jobs = [Job("first", count_up, "a", (2,)), Job("second", count_up, "b", (1,))]
    assert list(context.launch(jobs)) == [Event(0, "a0"), Event(0, "a1"), Event(1, "b0")]
