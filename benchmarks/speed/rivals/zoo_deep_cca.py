"""cca-zoo's deep CCA loss.

Its file of losses needs torch alone; the package around it would ask for lightning too.
"""

import importlib.util
from pathlib import Path

import torch


def prepare(n, d):
    """Value and gradient, run as often as ours."""
    import cca_zoo

    path = Path(cca_zoo.__file__).parent / "deep" / "objectives.py"
    spec = importlib.util.spec_from_file_location("objectives", path)
    objectives = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(objectives)
    generator = torch.Generator().manual_seed(0)
    za = torch.randn(n, d, generator=generator)
    zb = za * torch.linspace(0.1, 1, d) + torch.randn(n, d, generator=generator)
    za.requires_grad_()
    zb.requires_grad_()
    criterion = objectives.CCALoss(reg_covar=1e-4)

    def run():
        for _ in range(20):
            za.grad = zb.grad = None
            found = criterion([za, zb])
            found.backward()
        return float(found.detach())

    return {"squares": run}
