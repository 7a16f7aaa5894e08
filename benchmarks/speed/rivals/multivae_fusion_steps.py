"""One epoch of multivae's MVAE by its own trainer: networks and terms as in ours."""

import logging
import sys
import tempfile
import types
from pathlib import Path

# torchvision's wheel may be built for CUDA and then lacks its own operators beside a CPU torch,
# which its shapes for tracing would ask for.
sys.modules["torchvision._meta_registrations"] = types.ModuleType(
    "torchvision._meta_registrations"
)
sys.path.insert(0, str(Path(__file__).parent))

import torch  # noqa: E402
from data_fusion import NAMES, data  # noqa: E402
from multivae.data.datasets import MultimodalBaseDataset  # noqa: E402
from multivae.models import MVAE, MVAEConfig  # noqa: E402
from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput  # noqa: E402
from multivae.trainers import BaseTrainer, BaseTrainerConfig  # noqa: E402
from torch import nn  # noqa: E402


def hidden(n_in, width):
    """Two hidden layers."""
    return [
        *(nn.Linear(n_in, width), nn.LayerNorm(width), nn.GELU()),
        *(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU()),
    ]


class Encoder(BaseEncoder):
    """Law of a code."""

    def __init__(self, p, width, d):
        super().__init__()
        self.latent_dim = d
        self.layers = nn.Sequential(*hidden(p, width), nn.Linear(width, 2 * d))

    def forward(self, x):
        """Mean and log-variance."""
        mean, log_variance = self.layers(x).chunk(2, 1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Logits of a code."""

    def __init__(self, p, width, d):
        super().__init__()
        self.layers = nn.Sequential(*hidden(d, width), nn.Linear(width, p))

    def forward(self, z):
        """What it rebuilds."""
        return ModelOutput(reconstruction=self.layers(z))


def prepare(n, p, width, d, batch):
    """One epoch, all three terms."""
    logging.disable(logging.WARNING)
    rows = {m: torch.from_numpy(v) for m, v in data(n, p).items()}
    rows = MultimodalBaseDataset(rows)

    def vae():
        model = MVAE(
            MVAEConfig(
                n_modalities=2,
                latent_dim=d,
                input_dims=dict.fromkeys(NAMES, (p,)),
                decoders_dist=dict.fromkeys(NAMES, "bernoulli"),
                warmup=0,
            ),
            encoders={m: Encoder(p, width, d) for m in NAMES},
            decoders={m: Decoder(p, width, d) for m in NAMES},
        )
        with tempfile.TemporaryDirectory() as folder:
            BaseTrainer(
                model,
                train_dataset=rows,
                training_config=BaseTrainerConfig(
                    output_dir=folder,
                    num_epochs=1,
                    per_device_train_batch_size=batch,
                    learning_rate=1e-3,
                    no_cuda=True,
                ),
            ).train()

    return {"vae": vae}
