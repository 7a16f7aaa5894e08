"""Which representation of my paired data is best? Compare them, and read one page."""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from triptych import Dataset, Modalities
from triptych.comparison import compare
from triptych.report import render

# In place of your own arrays: 400 things, each weighed by a scale and described in words.
rng = np.random.default_rng(0)
kind = rng.choice(["apple", "melon", "grape"], 400)
grams = {"apple": 180.0, "melon": 1500.0, "grape": 6.0}
weight = np.array([[grams[k], grams[k] / 3] for k in kind]) * rng.lognormal(0, 1.2, (400, 2))
words = [f"a {rng.choice(['ripe', 'fresh'])} {rng.choice([k, 'fruit'])}" for k in kind]

X = Modalities(
    {"weight": np.log(weight), "words": words},
    present={"words": rng.random(400) < 0.9},  # a tenth has no description
)
data = Dataset(X, labels={"kind": kind}, name="fruit")

# methods=None takes all of them; a folder in `output` lets a stopped comparison go on.
record = compare(data, methods=["CCA"], label="kind", seeds=(0, 1))
for row in record["rows"]:
    found = row["values"]["probe"]
    print(f"{row['name']:24} accuracy {found['mean']:.2f} ± {found['std']:.2f}")
print(render(record, Path(mkdtemp()) / "index.html"))
