"""One epoch of multiviewae's mVAE by its own trainer: the joint term alone, widths as in ours.

Its layers have ReLU and no layer norm.
"""

import os
import sys
import tempfile
import types
import warnings
from pathlib import Path

# As in multivae_fusion_steps.py.
sys.modules["torchvision._meta_registrations"] = types.ModuleType(
    "torchvision._meta_registrations"
)
sys.path.insert(0, str(Path(__file__).parent))

import multiviewae  # noqa: E402
from data_fusion import data  # noqa: E402
from pytorch_lightning.utilities.enums import LightningEnum  # noqa: E402

# Its Lightning makes names of attributes out of these, which Python 3.11 writes otherwise.
LightningEnum.__format__ = lambda self, spec: format(self.value, spec)

CONFIG = """
datamodule:
  is_validate: False
encoder:
  default:
    hidden_layer_dim: [{width}, {width}]
    non_linear: True
decoder:
  default:
    _target_: multiviewae.architectures.mlp.Decoder
    hidden_layer_dim: [{width}, {width}]
    non_linear: True
    bias: True
    dec_dist:
      _target_: multiviewae.base.distributions.Bernoulli
trainer:
  accelerator: cpu
  enable_progress_bar: False
  enable_checkpointing: False
"""


def prepare(n, p, width, d, batch):
    """One epoch."""
    warnings.simplefilter("ignore")
    rows = list(data(n, p).values())
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    path = Path(folder) / "widths.yaml"
    path.write_text(CONFIG.format(width=width))

    def joint():
        model = multiviewae.models.mVAE(cfg=str(path), input_dim=[p, p], z_dim=d)
        model.fit(*rows, max_epochs=1, batch_size=batch)

    return {"light joint vae": joint}
