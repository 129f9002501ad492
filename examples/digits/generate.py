"""Trains the digits classifier with real Keras and writes `data/`.

    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 keras==3.15.1 h5py==3.14.0 scikit-learn==1.9.1
    python generate.py

The data are the 1,797 handwritten digits that ship with scikit-learn (8x8 pixels, values 0..16).
Keras 3 and tf_keras each run in a process of their own: one process cannot hold both cleanly.
"""
import base64
import json
import os
import pathlib
import subprocess
import sys

# One thread and no oneDNN: two runs add floats in the same order and end with the same weights.
os.environ.update(
    TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0",
    TF_DETERMINISTIC_OPS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1",
)

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE / "data"
SEED = 20260101
HELD_OUT = 360
EPOCHS = 30
BATCH = 32


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def digits():
    """(train pixels, train labels, held-out pixels, held-out labels); pixels are uint8 0..16."""
    import numpy as np
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(SEED).permutation(len(pixels))
    pixels, labels = pixels[order].astype("uint8"), labels[order].astype("uint8")
    return pixels[:-HELD_OUT], labels[:-HELD_OUT], pixels[-HELD_OUT:], labels[-HELD_OUT:]


def scaled(pixels):
    return pixels.astype("float32") / 16


def train(tag):
    """Trains with one Keras and returns what the example must reproduce."""
    import numpy as np

    if tag == "k3":
        import keras as K
    else:
        import tf_keras as K

    train_x, train_y, held_x, held_y = digits()
    K.utils.set_random_seed(SEED)
    model = K.Sequential([
        K.Input((64,)),
        K.layers.Dense(64, activation="relu"),
        K.layers.Dense(10, activation="softmax"),
    ])
    model.compile(optimizer=K.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(scaled(train_x), train_y, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    _, accuracy = model.evaluate(scaled(held_x), held_y, verbose=0)
    probabilities = model.predict(scaled(held_x), verbose=0)
    predicted = probabilities.argmax(axis=1)

    if tag == "k3":
        model.save_weights(DATA / "k3.weights.h5")
        model.save(DATA / "k3.full.h5")
    else:
        model.save_weights(str(DATA / "k2.h5"))
        model.save(str(DATA / "k2.full.h5"))
    write_json(DATA / f"{tag}.config.json", json.loads(model.to_json()))
    return {
        "framework": f"{K.__name__.split('.')[0]} {K.__version__}",
        "correct": int((predicted == held_y).sum()),
        "total": len(held_y),
        "accuracy": float(accuracy),
        "predicted": base64.b64encode(predicted.astype("uint8").tobytes()).decode(),
        "firstFive": [[float(np.float32(p)) for p in row] for row in probabilities[:5]],
    }


def main():
    if len(sys.argv) > 1:
        print(json.dumps(train(sys.argv[1])))
        return
    DATA.mkdir(exist_ok=True)
    _, _, held_x, held_y = digits()
    write_json(DATA / "heldout.json", {
        "shape": list(held_x.shape),
        "scale": 16,  # a model sees pixel / scale as float32
        "pixels": base64.b64encode(held_x.tobytes()).decode(),
        "labels": base64.b64encode(held_y.tobytes()).decode(),
    })
    expected = {}
    for tag in ("k3", "k2"):
        run = subprocess.run([sys.executable, __file__, tag], check=True, stdout=subprocess.PIPE, text=True)
        expected[tag] = json.loads(run.stdout.strip().splitlines()[-1])
        print(tag, expected[tag]["correct"], "of", expected[tag]["total"], expected[tag]["accuracy"])
    write_json(DATA / "expected.json", expected)


if __name__ == "__main__":
    main()
