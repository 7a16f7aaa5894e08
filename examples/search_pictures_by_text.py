"""Which picture do these words describe? Train picture and text encoders, then search."""

from triptych import Training
from triptych.coordination import CLIP
from triptych.datasets import load_glyphs

data = load_glyphs(faces=1)  # pictures of characters, and their names
train, test = data.part("train"), data.part("test")

# Three epochs keep the example short; more make it better.
model = CLIP(n_components=64, training=Training(epochs=3), random_state=0)
model.fit(train.X[:1500])

queries = ["greek small letter alpha", "black chess queen"]
pictures = test.X.select("image")  # of characters that were not in training
rows, cosines = model.retrieve({"text": queries}, among=pictures, k=3)
names = test.X["text"]
for query, found, similar in zip(queries, rows, cosines, strict=True):
    print(query)
    for row, cosine in zip(found, similar, strict=True):
        print(f"  {cosine:.2f}  {names[row].lower()}")
