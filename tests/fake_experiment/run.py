import torch

from fake_experiment.schema import Config, Results
from midterm_cli.experiment import Context, Output


def on_epoch(epoch: int) -> None:
    """What a test wants to happen once an epoch has been saved."""


def run(config: Config, context: Context) -> Output:
    state = context.state.load(dict) or {"epoch": 0, "w": torch.zeros(2, dtype=torch.float64)}
    w = state["w"]
    for epoch in range(state["epoch"], config.epochs):
        w = 0.9 * w + config.lr * torch.tensor([epoch, config.seed], dtype=torch.float64).sin()
        context.state.save({"epoch": epoch + 1, "w": w})
        context.progress(epoch + 1, config.epochs, f"w = {w[0]:.3g}")
        on_epoch(epoch + 1)
    failed = config.lr > 1
    return Output(
        results=Results(w=w.tolist(), outcome="collapsed" if failed else "trained"),
        checkpoint={"w": w},
        provenance={"data_source": "made up"},
        failed=failed,
        warnings=["collapsed"] if failed else (),
    )
