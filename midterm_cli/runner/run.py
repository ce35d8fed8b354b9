"""The path itself: config, device, stage, computation, figures, record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midterm_cli.errors import UserError
from midterm_cli.experiment import Context, ExperimentConfig, Output
from midterm_cli.runner import config as configs
from midterm_cli.runner import experiments, interrupt, launch, naming, record, terminal
from midterm_cli.runner.files import tensor_bytes
from midterm_cli.runner.mistakes import shown
from midterm_cli.runner.paths import data_dir
from midterm_cli.runner.provenance import now, provenance
from midterm_cli.runner.saved import Saved, differing
from midterm_cli.runner.terminal import printable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Request:
    """How a run is to be made, beside its config.

    Attributes:
        command: the command as typed, for the record.
        output: the run folder, or None for outputs/<experiment>/<name>.
        data_dir: the folder that holds FashionMNIST/raw, or None to look for it.
        quiet: no progress and no summary.
        force: replace a finished run.
        resume: continue an unfinished run; a finished one is returned as it is.
        cluster: whose workers are to compute; None for the cores of this machine.
    """

    command: str
    output: Path | None = None
    data_dir: Path | None = None
    quiet: bool = False
    force: bool = False
    resume: bool = False
    cluster: launch.Cluster | None = None


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and its metrics document."""

    folder: Path
    document: Mapping[str, Any]


def run(experiment: str, resolved: configs.Resolved, request: Request) -> Run:
    """Make a run and its folder, or return the finished one that --resume finds.

    Raises:
        UserError: a mistake in config, data, device or output; no folder is left.
        KeyboardInterrupt: interrupted (Terminated for SIGTERM); what it has saved is kept.
    """
    name = naming.run_name(configs.plain(resolved.config), configs.plain(resolved.default))
    folder = request.output or Path("outputs", experiment, name)
    # What is recorded names the device that was used, so that a repeated run uses it again.
    device = _device(resolved.config.device, request.cluster)
    config = resolved.config.model_copy(update={"device": str(device)})
    plain = configs.plain(config)
    if request.resume and not request.force and record.is_finished(folder):
        return _finished(folder, experiment, plain)
    facts = provenance(config, device, request.command)
    # What was saved by another version is not continued: its numbers may be others.
    identity = {"version": facts["version"], "experiment": experiment} | plain
    module = experiments.load(experiment)  # imported while an interrupt still ends all at once
    published = False
    with interrupt.unwinding():
        try:
            with (
                record.stage(
                    folder, identity, now(), force=request.force, resume=request.resume
                ) as stage,
                terminal.Progress(request.quiet) as progress,
            ):
                with launch.launcher(device, request.cluster) as launcher:
                    context = Context(
                        device=device,
                        data_dir=data_dir(request.data_dir),
                        progress=progress,
                        state=stage.saved.state,
                        journal=stage.saved.journal,
                        launch=launcher,
                        workers=launcher.workers,
                        remote=launcher.remote,
                    )
                    output = module.run(config, context)
                    if launcher.forked:
                        facts["processes"] = launcher.forked
                document = _document(experiment, plain, output, facts, stage.saved)
                stage.publish(_files(experiment, config, document, output.checkpoint))
                published = True
            for warning in output.warnings:
                terminal.say(f"Warning: {printable(warning)}")
            if not request.quiet:
                terminal.show(module.summarize(document["results"]))
        except KeyboardInterrupt:
            terminal.say(_how_to_go_on(folder, published))
            raise
    return Run(folder, document)


def draw(path: Path) -> list[Path]:
    """Draw the figures of a finished run again, from its metrics alone.

    Returns:
        The files written.

    Raises:
        UserError: there is no finished run, or it is one that this version cannot draw.
    """
    document = record.read_run(path)
    folder = path.parent if path.name == "metrics.json" else path
    experiment = document["experiment"]
    if experiment not in experiments.EXPERIMENTS:
        raise UserError(
            f"{printable(path)} is a run of {shown(experiment)}, which this midterm does not know"
        )
    config = configs.from_document(experiment, document["config"], printable(path))
    try:
        files = _figures(experiment, config, document["results"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"the results in {printable(path)} are damaged ({type(error).__name__}): "
            "make the run again with --force"
        ) from error
    for name, content in files.items():
        record.replace_file(folder / name, content)
    return [folder / name for name in files]


def resolve_device(name: str) -> torch.device:
    """Turn auto, cpu, cuda or cuda:N into a device that is there; auto takes CUDA if it can.

    Raises:
        UserError: CUDA was asked for by name and is not there: it never quietly becomes the CPU.
    """
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"{name} was asked for, but this PyTorch sees no CUDA device: use --device cpu"
        )
    index = int(name.partition(":")[2] or 0)
    count = torch.cuda.device_count()
    if index >= count:
        raise UserError(
            f"{name} was asked for, but this machine has cuda:0 to cuda:{count - 1}: "
            "use one of these, or --device cpu"
        )
    return torch.device("cuda", index)


def _device(name: str, cluster: launch.Cluster | None) -> torch.device:
    """Where the tensors of a run live; on a cluster it is the CPU."""
    if cluster is None:
        return resolve_device(name)
    if name not in ("auto", "cpu"):
        raise UserError(f"--launcher dask computes on CPUs, not on {name}: use --device cpu")
    return resolve_device("cpu")


def _finished(folder: Path, experiment: str, plain: Mapping[str, Any]) -> Run:
    document = record.read_run(folder)
    if document["experiment"] != experiment:
        raise UserError(
            f"{printable(folder)} holds a run of {shown(document['experiment'])}, "
            f"not of {experiment}: choose another --output"
        )
    changes = differing(document["config"], plain)
    if changes:
        raise UserError(
            f"{printable(folder)} was made with {changes}\n"
            "give the same settings, choose another --output, or replace it with --force"
        )
    record.drop_leftovers(folder, document)
    return Run(folder, document)


def _document(
    experiment: str,
    plain: Mapping[str, Any],
    output: Output,
    facts: Mapping[str, Any],
    saved: Saved,
) -> dict[str, Any]:
    """The metrics document of a run, as it reads back from its file."""
    times = {"started_at": saved.started_at, "wall_time_s": round(saved.wall_time(), 3)}
    document = {
        "schema_version": record.SCHEMA_VERSION,
        "experiment": experiment,
        "status": "completed",
        "failed": output.failed,
        "config": plain,
        "results": output.results,
        "provenance": {**facts, **times, **output.provenance},
    }
    # Figures and summary are made from what is stored, so that they can be made again from it.
    read_back: dict[str, Any] = json.loads(record.to_json(document))
    return read_back


def _files(
    experiment: str,
    config: ExperimentConfig,
    document: Mapping[str, Any],
    checkpoint: Mapping[str, Any] | None,
) -> dict[str, bytes]:
    """The files of a run folder, by name."""
    header = f"# The config of one run of {experiment}: given to --config, it repeats the run.\n"
    files = {
        "config.yaml": (header + configs.dump(config)).encode(),
        "metrics.json": record.to_json(document).encode(),
        **_figures(experiment, config, document["results"]),
    }
    if checkpoint is not None:
        files["checkpoint.pt"] = tensor_bytes(checkpoint)
    return files


def _figures(
    experiment: str, config: ExperimentConfig, results: Mapping[str, Any]
) -> dict[str, bytes]:
    figures = experiments.load(experiment).draw(config, results)
    return {f"{stem}.png": record.to_png(figure) for stem, figure in figures.items()}


def _how_to_go_on(folder: Path, published: bool) -> str:
    if published:
        return f"Interrupted when the run was finished: {printable(folder)} is whole"
    if record.is_begun(folder):
        return "Interrupted: the same command with --resume goes on from what was saved"
    return "Interrupted before anything was saved: start the same command again"
