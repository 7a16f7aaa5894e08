"""Which class, how surely, from which modality? Fusion learnt from labels, rows with gaps."""

import numpy as np

from triptych import Modalities, Training
from triptych.datasets import load_two_view_digits
from triptych.evaluation import calibration, drop_modalities
from triptych.fusion import GatedFusion, LateFusion

data = load_two_view_digits(random_state=0)
train, test = data.part("train"), data.part("test")
label = next(iter(train.labels))
y, asked = train.labels[label], test.labels[label]

training = Training(epochs=10, batch_size=64)
model = GatedFusion(32, training=training, random_state=0).fit(train.X, y)
print(f"{label} from both: {model.score(test.X, asked):.2f}")
for name in test.X.names:
    right = np.mean(model.predict(test.X.select(name)) == asked)
    print(f"{label} from {name} alone: {right:.2f}")

gaps: Modalities = drop_modalities(test.X, 0.5)  # every row keeps one
told = calibration(model.predict_proba(gaps), asked, model.classes_)
print(f"half of the modalities gone: {model.score(gaps, asked):.2f}, calibration {told.ece:.3f}")
for name, gates in model.gates(test.X).items():
    print(f"gates of {name}: {gates.mean():.2f} open")

# The yardstick: every modality predicts by itself, and the predictions are multiplied.
late = LateFusion("product", training=training, random_state=0).fit(train.X, y)
print(f"late fusion: {late.score(test.X, asked):.2f}")
