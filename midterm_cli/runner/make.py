"""The path of every run: config, device, stage, computation, figures, record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from midterm_cli import figure, files, source, terminal
from midterm_cli.config import resolve, yaml
from midterm_cli.config.resolve import Resolved
from midterm_cli.data import datasets
from midterm_cli.data.datasets import data_dir as find_data
from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig, Parent
from midterm_cli.launch.launcher import launcher
from midterm_cli.launch.options import Cluster
from midterm_cli.registry import Experiment
from midterm_cli.runner import document, interrupt, stage, summary
from midterm_cli.runner.document import Run
from midterm_cli.runner.name import run_name
from midterm_cli.runner.provenance import (
    as_recorded,
    dataset_of,
    matches,
    now,
    provenance,
    resolve_device,
)
from midterm_cli.runner.saved import tensor_bytes
from midterm_cli.runner.stage import Stage
from midterm_cli.text import differing, printable

if TYPE_CHECKING:
    import torch


# Keys in which a run may differ from the one that it goes on from: epochs, and the device.
_CAN_DIFFER = 2


def make(
    resolved: Resolved,
    *,
    command: str,
    output: Path | None = None,
    data_dir: Path | None = None,
    quiet: bool = False,
    force: bool = False,
    resume: bool = False,
    extend: bool = True,
    cluster: Cluster | None = None,
) -> Run:
    """Make a run and its folder, or return the finished one that has the answer already.

    Args:
        resolved: what to run.
        command: as typed, for the record.
        output: the run folder, or None for outputs/<experiment>/<name>.
        data_dir: the folder that holds FashionMNIST/raw, or None to look for it.
        quiet: no progress.
        force: replace a run, finished or not; with `resume`, only one that is not what would be
            computed.
        resume: continue an unfinished run.
        extend: with `resume`, go on from the end of a finished run beside it that had fewer epochs.
        cluster: whose workers are to compute; None for the cores of this machine.

    Raises:
        UserError: a mistake in config, data, device or output; there is a finished run that was
            made with another config, code or inputs, and no `force`; or an unfinished one, and
            neither `force` nor `resume`. No folder is left.
        KeyboardInterrupt: interrupted (Terminated for SIGTERM); what it has saved is kept.
    """
    experiment = resolved.experiment
    folder = output or Path("outputs", experiment.name, run_name(resolved))
    data_dir = find_data(data_dir)
    if document.is_finished(folder) and (resume or not force):
        try:
            run = _finished(folder, resolved, data_dir)
        except UserError as error:
            if not force:
                raise
            terminal.say(f"{str(error).splitlines()[0]}: computed again")
        else:
            if not (resume or quiet):
                computed = f"computed at {run.provenance.started_at}"
                terminal.say(f"{run.name} has the answer, {computed}: --force computes it again")
            return run
    parent = _parent(folder, resolved, data_dir) if resume and extend else None
    if parent and not stage.is_begun(folder):
        terminal.say(f"Goes on from the end of {printable(parent.folder)}")
    # Mistakes are told before torch is imported.
    stage.require_free(folder, force)
    if not (force or resume):
        stage.require_not_begun(folder)
    _require_trust(resolved)
    for path in resolved.config.input_files:
        _require_input(path, folder)
    dataset = dataset_of(resolved.config)
    loaded = datasets.load(dataset, data_dir) if dataset else None
    data_sha256 = loaded and loaded.sha256
    if loaded and loaded.note:
        terminal.say(f"Note: {loaded.note}")
    device = _device(resolved.config.device, cluster)
    # What is recorded names the device that was used, so that a repeated run uses it again.
    config = resolved.config.model_copy(update={"device": str(device)})
    facts = provenance(config, device, command)
    inputs_sha256 = _inputs_sha256(config)
    identity = {
        "code": source.code_sha256(experiment.package),
        "data": data_sha256,
        "inputs": inputs_sha256,
        "experiment": experiment.name,
        **resolve.plain(as_recorded(config)),
    }
    experiment.load()  # imported while an interrupt still ends all at once
    staged: Stage | None = None
    with interrupt.unwinding():
        try:
            with (
                stage.stage(folder, identity, now(), force=force, resume=resume) as staged,
                terminal.Progress(quiet) as progress,
            ):
                with launcher(device, cluster) as launched:
                    context = Context(
                        device=device,
                        data_dir=data_dir,
                        progress=progress,
                        state=staged.saved.state,
                        journal=staged.saved.journal,
                        launch=launched,
                        workers=launched.workers,
                        remote=launched.remote,
                        parent=parent,
                    )
                    found = experiment.run(config, context)
                    if launched.forked:
                        facts["processes"] = launched.forked
                facts |= {
                    "started_at": staged.saved.started_at,
                    "wall_time_s": round(staged.saved.wall_time(), 3),
                    "code_sha256": source.code_sha256(experiment.package),
                    "inputs_sha256": inputs_sha256,
                    **found.provenance,
                }
                checkpoint = None
                if found.checkpoint is not None:
                    checkpoint = tensor_bytes(found.checkpoint)
                    facts["checkpoint_sha256"] = hashlib.sha256(checkpoint).hexdigest()
                run = document.make(folder, experiment, as_recorded(config), found, facts)
                staged.publish(_files(run, found.files, checkpoint))
        except KeyboardInterrupt:
            terminal.say(_how_to_resume(folder, staged))
            raise
    return run


def _require_trust(resolved: Resolved) -> None:
    """Refuse code that a config names, and its own option does not.

    Raises:
        UserError: names the file, and the option.
    """
    for key in resolved.config.runs_code:
        option = f"--{key.replace('_', '-')}"
        if resolved.origin(key) not in (option, f"{key}="):
            named = printable(str(getattr(resolved.config, key)))
            raise UserError(
                f"{key} (from {resolved.origin(key)}) names Python code, which would run on this "
                f"machine: {named}\nif you trust it, give {option} {named} as well"
            )


def _require_input(path: Path, folder: Path) -> None:
    """Require an input file that can be read, that the run does not replace, and that is whole."""
    with _reading(path):
        path.stat()
        own = folder.exists() and path.parent.samefile(folder)
    if own:
        raise UserError(
            f"{printable(folder)} is what the run would read from: choose another --output"
        )
    if path.name == "checkpoint.pt" and document.is_finished(path.parent):
        document.require_checkpoint(document.read(path.parent))


def _device(name: str, cluster: Cluster | None) -> torch.device:
    """Where the tensors of a run live; on a cluster it is the CPU."""
    if cluster is None:
        return resolve_device(name)
    if name not in ("auto", "cpu"):
        raise UserError(f"--launcher dask computes on CPUs, not on {name}: use --device cpu")
    return resolve_device("cpu")


def _finished(folder: Path, resolved: Resolved, data: Path) -> Run:
    """The finished run of a folder.

    Raises:
        UserError: it is damaged, or not what would be computed now.
    """
    run = document.read(folder)
    if changes := _changes(run, resolved, data):
        asked = as_recorded(resolved.config).model_copy(update={"device": run.config.device})
        if run.experiment == resolved.experiment and asked.continues(run.config):
            raise UserError(
                f"{run.name} is finished, made with {changes}\n"
                "choose another --output beside it: --resume then goes on from its end"
            )
        raise UserError(
            f"{run.name} was made with {changes}\n"
            "give the same settings, choose another --output, or add --force to replace it"
        )
    terminal.warn(run.notes)
    stage.drop_leftovers(run)
    return run


def _parent(folder: Path, resolved: Resolved, data: Path) -> Parent | None:
    """The finished run beside a run folder from whose end it can go on: the longest there is."""
    if type(resolved.config).continues is ExperimentConfig.continues:
        return None
    config = as_recorded(resolved.config)
    ours = set(resolve.dump(config).splitlines())
    found: list[Run] = []
    for beside in sorted(folder.parent.glob("*/config.yaml")):
        with suppress(UserError, ValidationError):  # what is no run of today is no parent
            values = yaml.load_file(beside)
            values.pop(resolve.EXPERIMENT, None)
            if len(set(yaml.dump(values).splitlines()) - ours) > _CAN_DIFFER:
                continue
            earlier = type(resolved.config).model_validate(values, strict=True)
            asked = config.model_copy(update={"device": earlier.device})
            if matches(config.device, earlier.device) and asked.continues(earlier):
                run = document.read(beside.parent)
                changed = _changes(run, replace(resolved, config=run.config), data)
                if changed:
                    terminal.say(f"Does not go on from {run.name}, made with {changed}")
                else:
                    found.append(run)
    longest = found[0] if found else None
    for run in found:
        if longest is not None and run.config.continues(longest.config):
            longest = run
    if longest is None:
        return None
    document.require_checkpoint(longest)
    return Parent(longest.folder, longest.results)


def _changes(run: Run, resolved: Resolved, data: Path) -> str:
    """Name what a finished run was made with that is not so now; empty if it is what is asked.

    What an earlier version did not record counts as unchanged.
    """
    if run.experiment != resolved.experiment:
        raise UserError(
            f"{run.name} holds a run of {run.experiment.name}, not of {resolved.experiment.name}: "
            "choose another --output"
        )
    asked = resolved.config
    if matches(asked.device, run.config.device):
        asked = asked.model_copy(update={"device": run.config.device})
    # An earlier version recorded paths as they were typed.
    changes = [differing(resolve.plain(as_recorded(run.config)), resolve.plain(as_recorded(asked)))]
    recorded = run.provenance
    if recorded.code_sha256 not in (None, source.code_sha256(run.experiment.package)):
        changes.append("other code")
    if recorded.inputs_sha256 not in (None, _inputs_sha256(asked)):
        changes.append(f"another content of {', '.join(map(printable, asked.input_files))}")
    dataset = dataset_of(asked)
    if dataset and recorded.data_sha256 not in (None, datasets.sha256(dataset, data)):
        changes.append(f"another content of the dataset {printable(dataset)}")
    return "; ".join(filter(None, changes))


def _inputs_sha256(config: ExperimentConfig) -> str | None:
    """The digest of the files that a config names; None where it names none."""
    paths = config.input_files
    if not paths:
        return None
    with _reading(*paths):
        return files.sha256(paths)


@contextmanager
def _reading(*paths: Path) -> Iterator[None]:
    """Turn what the file system refuses of input files into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot read input file {printable(error.filename)}: {error.strerror}"
        ) from error
    except ValueError as error:  # a name that no file can have: with a NUL or half a surrogate pair
        names = ", ".join(map(printable, paths))
        raise UserError(f"cannot read input file {names}: no file has such a name") from error


def draw(path: Path, form: figure.Format = figure.Format.PNG, dpi: int = figure.DPI) -> list[Path]:
    """Draw the figures of a finished run again, from its metrics alone.

    Args:
        path: the run folder.
        form: of the files.
        dpi: pixels per inch of a PNG.

    Returns:
        The files written.

    Raises:
        UserError: there is no finished run, or it is damaged.
    """
    run = document.read(path)
    terminal.warn(run.notes)
    drawn = _figures(run.experiment, run.config, run.results, form, dpi)
    for name, content in drawn.items():
        files.replace_file(run.folder / name, content)
    return [run.folder / name for name in drawn]


def _files(run: Run, others: Mapping[str, bytes], checkpoint: bytes | None) -> dict[str, bytes]:
    """The files of a run folder, by name."""
    name = run.experiment.name
    header = f"{stage.CONFIG_HEADER}{name}: given to --config, it repeats the run.\n"
    header += f"{resolve.EXPERIMENT}: {name}\n"
    contents = {
        "config.yaml": (header + resolve.dump(run.config)).encode(),
        "metrics.json": run.json.encode(),
        "summary.md": summary.markdown(run).encode(),
        **_figures(run.experiment, run.config, run.results),
    }
    contents |= others
    if checkpoint is not None:
        contents["checkpoint.pt"] = checkpoint
    return contents


def _figures(
    experiment: Experiment,
    config: ExperimentConfig,
    results: Any,
    form: figure.Format = figure.Format.PNG,
    dpi: int = figure.DPI,
) -> Mapping[str, bytes]:
    figures = experiment.draw(config, results)
    terminal.say_all(f"Note: {note}" for note in figure.glyph_note(figures.values()))
    return {f"{stem}.{form}": figure.render(drawn, form, dpi) for stem, drawn in figures.items()}


def _how_to_resume(folder: Path, staged: Stage | None) -> str:
    if staged and staged.published:
        return f"Interrupted when the run was finished: {printable(folder)} is whole"
    if stage.is_begun(folder):
        return "Interrupted: the same command with --resume continues from what was saved"
    return "Interrupted before anything was saved: start the same command again"
