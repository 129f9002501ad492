"""Writes the files that the benchmark reads: `python make_files.py FOLDER small|full`. Prints who wrote what, as JSON.

With tf_keras the contiguous file is written by Keras itself; without it, h5py writes the same layout. Values are
seeded, so two runs write the same tensors.
"""
import json
import os
import pathlib
import sys

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_USE_LEGACY_KERAS="1")

import h5py
import numpy as np

SIZES = {
    # units and layers of the contiguous file; rows of 1,024 in the compressed one; layers of the many-layers one
    "full": {"units": 2066, "layers": 30, "rows": 65536, "many": 3000},
    "small": {"units": 1024, "layers": 15, "rows": 8192, "many": 300},
}


def values(shape, index):
    return np.random.default_rng(1000 + index).standard_normal(shape, dtype=np.float32)


def legacy_file(path, layers):
    """Keras 2's layout: `layers` is [(layer name, [(weight name, array)])]."""
    with h5py.File(path, "w") as f:
        f.attrs["layer_names"] = [name.encode() for name, _ in layers]
        f.attrs["backend"] = b"tensorflow"
        f.attrs["keras_version"] = b"2.21.0"
        for name, weights in layers:
            group = f.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight, _ in weights]
            for weight, array in weights:
                group.create_dataset(weight, data=array)


def dense(index, units):
    name = f"dense_{index}"
    return name, [
        (f"{name}/kernel:0", values((units, units), 2 * index)),
        (f"{name}/bias:0", values((units,), 2 * index + 1)),
    ]


def contiguous(path, units, layers):
    try:
        import tf_keras
    except ImportError:
        legacy_file(path, [dense(index, units) for index in range(layers)])
        return f"h5py {h5py.__version__}"
    model = tf_keras.Sequential([tf_keras.Input((units,))])
    for index in range(layers):
        layer = tf_keras.layers.Dense(units, name=f"dense_{index}")
        model.add(layer)
        layer.set_weights([array for _, array in dense(index, units)[1]])
    model.save_weights(str(path))
    return f"tf_keras {tf_keras.__version__}"


def compressed(path, rows):
    with h5py.File(path, "w") as f:
        f.attrs["layer_names"] = [b"embedding"]
        group = f.create_group("embedding")
        group.attrs["weight_names"] = [b"embedding/embeddings:0"]
        group.create_dataset(
            "embedding/embeddings:0", data=values((rows, 1024), 0), chunks=(256, 1024), compression="gzip",
            compression_opts=4, shuffle=True,
        )
    return f"h5py {h5py.__version__}"


def many(path, layers):
    legacy_file(path, [dense(index, 20) for index in range(layers)])
    return f"h5py {h5py.__version__}"


def main():
    folder, size = pathlib.Path(sys.argv[1]), SIZES[sys.argv[2]]
    jobs = {
        "contiguous": lambda path: contiguous(path, size["units"], size["layers"]),
        "compressed": lambda path: compressed(path, size["rows"]),
        "many": lambda path: many(path, size["many"]),
    }
    written = {}
    for name, job in jobs.items():
        part = folder / f"{name}.part.h5"
        written[name] = job(part)
        part.rename(folder / f"{name}.h5")
    print(json.dumps(written))


if __name__ == "__main__":
    main()
