"""What do two views have in common? Canonical correlations, on training rows and on new ones."""

import numpy as np

from triptych.coordination import CCA
from triptych.datasets import load_two_view_digits
from triptych.evaluation import linear_probe

data = load_two_view_digits(random_state=0)
train, test = data.part("train"), data.part("test")
print(train.X)

model = CCA(n_components=10, ridge=0.1).fit(train.X)
codes = model.transform(test.X)  # Modalities: each view's own code, (n, 10)
first, second = (codes[name] for name in codes.names)
unseen = [np.corrcoef(first[:, i], second[:, i])[0, 1] for i in range(10)]
print("correlations, training rows:", np.round(model.correlations_, 2))
print("correlations, unseen rows:  ", np.round(unseen, 2))

# One view alone is enough to get a code, and the code of one view tells the digit.
name = train.X.names[0]
label = next(iter(train.labels))
z_train = model.transform(train.X.select(name))[name]
probe = linear_probe(z_train, train.labels[label], first, test.labels[label])
print(f"{label} from {name} alone: {probe.value:.2f}")
