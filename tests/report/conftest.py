"""A comparison as ``compare`` writes it, made by code: glyphs, five methods, four baselines."""

import base64
import io
import json
import math
import random

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

NAMES = {
    "A": "latin capital letter a",
    "ß": "latin small letter sharp s",
    "Ж": "cyrillic capital letter zhe",
    "ω": "greek small letter omega",
    "Δ": "greek capital letter delta",
    "Ð": "latin capital letter eth",
    "Ш": "cyrillic capital letter sha",
    "ξ": "greek small letter xi",
    "⊕": "circled plus",
    "Ǖ": "latin capital letter u with diaeresis and macron",
}
COLUMNS = [
    ("probe_all", "Script, both", "", "higher", "Probes", "A linear classifier on all codes."),
    ("probe_image", "Script, picture only", "", "higher", "Probes", "The same from one modality."),
    ("probe_text", "Script, text only", "", "higher", "Probes", ""),
    ("r1", "R@1 image→text", "", "higher", "Retrieval", "Partner is the nearest."),
    ("r10", "R@10 image→text", "", "higher", "Retrieval", "Partner is among the ten nearest."),
    ("r10b", "R@10 text→image", "", "higher", "Retrieval", ""),
    ("rank", "Median rank", "", "lower", "Retrieval", "Rank of the true partner of 600."),
    ("r2", "Picture R²", "", "higher", "Reconstruction", "Against the mean picture."),
    ("xent", "Text cross-entropy", "nats per token", "lower", "Reconstruction", "Per token."),
    ("leak", "shared tells face", "accuracy", "lower", "Leakage", "Ceiling 0.14, majority 0.12."),
    ("time", "Fit time", "s", "lower", "Resources", "Wall time of fit."),
    ("memory", "Peak memory", "MiB", "lower", "Resources", ""),
    ("params", "Parameters", "", None, "Resources", "Learnt numbers."),
]


def picture(character, blur=0.0):
    canvas = Image.new("L", (32, 32), 255)
    font = ImageFont.truetype("DejaVuSans.ttf", 24)
    ImageDraw.Draw(canvas).text((16, 16), character, 0, font, anchor="mm")
    stored = io.BytesIO()
    canvas.filter(ImageFilter.GaussianBlur(blur)).save(stored, "PNG")
    return {"kind": "image", "png": base64.b64encode(stored.getvalue()).decode()}


def text(words):
    return {"kind": "text", "text": words}


def history(terms, epochs=24):
    def falling(scale, floor):
        return [scale * math.exp(-e / 6) + floor for e in range(epochs)]

    return {
        "train": {t: falling(3.0 - 0.5 * i, 0.6) for i, t in enumerate(terms)},
        "valid": {
            t: [v + 0.004 * e**1.5 for e, v in enumerate(falling(2.8 - 0.5 * i, 0.9))]
            for i, t in enumerate(terms)
        },
    }


def retrieval(right=0.6, seed=0):
    draw = random.Random(seed)
    characters = list(NAMES)
    forth, back = [], []
    for character in characters[:6]:
        others = draw.sample([c for c in characters if c != character], 4)
        hit = draw.random() < right
        found = [character, *others] if hit else [*others, draw.choice(others)]
        draw.shuffle(found)
        similarities = sorted((draw.random() for _ in found), reverse=True)
        shown = list(zip(found, similarities, strict=True))
        rank = found.index(character) + 1 if hit else draw.randrange(6, 300)
        forth.append(
            {
                "query": picture(character),
                "truth": text(NAMES[character]),
                "rank": rank,
                "found": [
                    {"item": text(NAMES[c]), "correct": c == character, "similarity": s}
                    for c, s in shown
                ],
            }
        )
        back.append(
            {
                "query": text(NAMES[character]),
                "truth": picture(character),
                "rank": rank,
                "found": [
                    {"item": picture(c), "correct": c == character, "similarity": s}
                    for c, s in shown
                ],
            }
        )
    return [
        {"query_modality": "image", "target_modality": "text", "examples": forth},
        {"query_modality": "text", "target_modality": "image", "examples": back},
    ]


def traversals():
    chosen = list(NAMES)[:5]
    steps = [-2.0, -1.0, 0.0, 1.0, 2.0]
    return [
        {
            "modality": "image",
            "steps": steps,
            "lines": [{"dimension": d, "items": [picture(c) for c in chosen]} for d in (3, 0)],
        },
        {
            "modality": "text",
            "steps": steps,
            "lines": [{"dimension": 3, "items": [text(NAMES[c]) for c in chosen]}],
        },
    ]


def reconstructions():
    chosen = list(NAMES)[:5]
    return [
        {
            "absent": "image",
            "given": ["text"],
            "examples": [
                {"given": text(NAMES[c]), "truth": picture(c), "rebuilt": picture(c, 1.6)}
                for c in chosen
            ],
        },
        {
            "absent": "text",
            "given": ["image"],
            "examples": [
                {
                    "given": picture(c),
                    "truth": text(NAMES[c]),
                    "rebuilt": text(" ".join(NAMES[c].split()[:3]) + " a"),
                }
                for c in chosen
            ],
        },
    ]


def code_map(seed=0, points=500):
    draw = random.Random(seed)
    scripts = ["Latin", "Cyrillic", "Greek", "Common", "Arabic", "Armenian", "Georgian", "Hebrew"]
    xy, labels = [], []
    for i in range(points):
        k = min(int(draw.expovariate(0.4)), len(scripts) - 1)
        angle = 2 * math.pi * k / len(scripts)
        xy.append(
            [3 * math.cos(angle) + draw.gauss(0, 0.7), 3 * math.sin(angle) + draw.gauss(0, 1)]
        )
        labels.append(scripts[k])
        if i == 7:
            xy[-1] = [math.nan, 0.0]
    return {"xy": xy, "labels": labels}


def missing(start, slope):
    share = [0, 0.25, 0.5, 0.75]
    return {"share": share, "accuracy": [start - slope * s * s for s in share]}


def noisy(start, slope):
    level = [0, 0.5, 1, 2]
    return {"level": level, "accuracy": [start - slope * v for v in level]}


def row(name, panel, numbers, extras=None, why="it has no decoder", std=0.008, n=3, params=None):
    values = {}
    for (key, *_), number in zip(COLUMNS, numbers, strict=True):
        if number is None:
            values[key] = {"why": f"does not apply because {why}"}
        else:
            values[key] = {"mean": number, "std": min(std, abs(number) * 0.06), "n": n}
    return {
        "name": name,
        "panel": panel,
        "status": "ok",
        "why": None,
        "params": params or {},
        "values": values,
        "extras": extras or {},
    }


def make_comparison():
    o = None
    swapped = [
        {
            "modality": "image",
            "shared": [picture("A"), picture("ω")],
            "private": [picture("Ж"), picture("Δ"), picture("ß")],
            "cells": [[picture(c, 1.2)] * 3 for c in "Aω"],
        }
    ]
    failed = {
        "name": "DCCAE",
        "panel": "coordination",
        "status": "failed",
        "why": "TrainingError: the loss is no longer finite at epoch 3; lower the learning rate.",
        "params": {"n_components": 64},
        "values": {},
        "extras": {},
    }
    rows = [
        row(
            "CCA",
            "coordination",
            [0.812, 0.61, 0.79, 0.061, 0.214, 0.209, 61.0, o, o, o, 2.1, 412.0, 131072],
            {
                "correlations": [0.97 * 0.9**i for i in range(16)],
                "null": {
                    "level": 0.95,
                    "by_chance": [0.62 - 0.03 * i for i in range(10)],
                    "correlations": [0.98 * 0.92**i for i in range(10)],
                    "p_values": [0.01] * 5 + [0.09, 0.2, 0.5, 0.8, 1.0],
                    "permutations": 99,
                    "rows": 300,
                    "all_rows": False,
                },
                "retrieval": retrieval(0.3, 1),
                "map": code_map(1),
            },
            params={"n_components": 16, "ridge": 1e-3},
        ),
        row(
            "CLIP",
            "coordination",
            [0.941, 0.87, 0.93, 0.431, 0.703, 0.688, 3.0, o, o, o, 31.2, 988.0, 842113],
            {
                "history": history(["loss", "temperature"]),
                "retrieval": retrieval(0.8, 2),
                "map": code_map(2),
                "missing": missing(0.941, 0.15),
                "noisy": noisy(0.941, 0.2),
            },
            params={"n_components": 64, "training": {"epochs": 24, "batch_size": 256}},
        ),
        failed,
        row(
            "MultimodalAutoencoder",
            "fusion",
            [0.947, 0.86, 0.94, o, o, o, o, 0.287, 3.91, o, 44.0, 1210.0, 1310720],
            {
                "history": history(["loss", "image", "text"]),
                "reconstructions": reconstructions(),
                "traversals": traversals(),
                "map": code_map(3),
                "missing": missing(0.947, 0.08),
                "noisy": noisy(0.947, 0.11),
            },
            why="a fusion method gives one code, so there is nothing to retrieve",
        ),
        row(
            "SharedPrivate",
            "fission",
            [0.929, 0.85, 0.92, 0.39, 0.642, 0.651, 4.0, 0.301, 3.88, 0.19, 52.7, 1340.0, 1724416],
            {
                "history": history(["loss", "image", "text", "agreement", "orthogonality"]),
                "retrieval": retrieval(0.6, 4),
                "reconstructions": reconstructions(),
                "map": code_map(4),
                "missing": missing(0.929, 0.22),
                "swaps": swapped,
            },
        ),
        row(
            "chance", "baseline", [0.31, 0.31, 0.31, 0.0017, 0.017, 0.017, 300.0] + [o] * 6, std=0
        ),
        row(
            "shuffled pairs (CLIP)",
            "baseline",
            [0.72, 0.5, 0.71, 0.002, 0.019, 0.016, 296.0, o, o, o, 30.9, 988.0, 842113],
        ),
        row("best single modality", "baseline", [0.935, o, 0.935] + [o] * 7 + [0.8, 300.0, 0]),
        row("concatenation + PCA", "baseline", [0.902, 0.71, 0.9] + [o] * 7 + [1.3, 640.0, 65536]),
    ]
    return {
        "title": "Glyphs and their names: which representation?",
        "created": "2026-03-01T12:00:00+00:00",
        "data": {
            "name": "glyphs",
            "rows": 47000,
            "train": 35000,
            "test": 600,
            "modalities": [
                {"name": "image", "kind": "image", "shape": [1, 32, 32], "present": 1.0},
                {"name": "text", "kind": "text", "shape": [], "present": 0.8},
            ],
            "labels": [{"name": "script", "classes": 24}, {"name": "face", "classes": 12}],
            "label": "script",
            "checksum": "sha256:" + "9f2c" * 16,
        },
        "versions": {"triptych": "0.1.0", "python": "3.12.3", "torch": "2.13.0"},
        "settings": {"epochs": 24, "device": "cpu", "methods": ["CCA", "CLIP"], "augment": None},
        "seeds": [0, 1, 2],
        "columns": [
            dict(zip(("key", "title", "unit", "better", "group", "help"), c, strict=True))
            for c in COLUMNS
        ],
        "rows": rows,
    }


@pytest.fixture
def comparison():
    """A fresh record for each test, as it comes back from JSON (NaN included)."""
    return json.loads(json.dumps(make_comparison()))
