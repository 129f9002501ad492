"""Trains a classifier of the digits 0 to 4 with Keras 3, and writes it and the pictures to `data/`.

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 h5py==3.14.0 scikit-learn==1.9.1
    python generate.py

The data are the 1,797 handwritten digits that ship with scikit-learn (8x8 pixels, values 0..16).
With a path, `python generate.py best.weights.h5` loads what the example trained and prints how many of the
held-out digits 5 to 9 Keras gets right with it.
"""
import base64
import json
import os
import pathlib
import sys

os.environ.update(
    TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0",
    TF_DETERMINISTIC_OPS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1",
)

import keras
import numpy as np

DATA = pathlib.Path(__file__).resolve().parent / "data"
SEED = 20260102
HELD_OUT = 0.2


def digits():
    """(low, high): of the digits 0..4 and 5..9 a dict each of train and held-out pixels and labels 0..4."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(SEED).permutation(len(pixels))
    pixels, labels = pixels[order].astype("uint8"), labels[order].astype("uint8")
    sets = []
    for first in (0, 5):
        here = (labels >= first) & (labels < first + 5)
        x, y = pixels[here], labels[here] - first
        split = int(len(x) * (1 - HELD_OUT))
        sets.append({"train": (x[:split], y[:split]), "held": (x[split:], y[split:])})
    return sets


def scaled(pixels):
    return pixels.reshape(-1, 8, 8, 1).astype("float32") / 16


def classifier():
    return keras.Sequential([
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, activation="relu", name="strokes"),
        keras.layers.BatchNormalization(name="normalized"),
        keras.layers.Conv2D(24, 3, activation="relu", name="shapes"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(5, activation="softmax", name="digits"),
    ])


def correct(model, held):
    x, y = held
    return int((model.predict(scaled(x), verbose=0).argmax(axis=1) == y).sum())


def packed(x, y):
    return {"pixels": base64.b64encode(x.tobytes()).decode(), "labels": base64.b64encode(y.tobytes()).decode()}


def main():
    low, high = digits()
    if len(sys.argv) > 1:
        model = classifier()
        model.load_weights(sys.argv[1])
        print(json.dumps({"correct": correct(model, high["held"]), "total": len(high["held"][1])}))
        return
    keras.utils.set_random_seed(SEED)
    model = classifier()
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = low["train"]
    model.fit(scaled(x), y, epochs=15, batch_size=32, verbose=0)
    DATA.mkdir(exist_ok=True)
    model.save_weights(DATA / "base.weights.h5")
    (DATA / "base.json").write_text(json.dumps(json.loads(model.to_json()), indent=1) + "\n")
    recorded = {"framework": f"keras {keras.__version__}", "correct": correct(model, low["held"]), "total": len(low["held"][1])}
    pictures = {"scale": 16, "low": packed(*low["held"]), "high": {k: packed(*v) for k, v in high.items()}}
    (DATA / "digits.json").write_text(json.dumps({"recorded": recorded, **pictures}, indent=1) + "\n")
    print(recorded)


if __name__ == "__main__":
    main()
