"""Real Keras as a judge of weights files: `python judge.py --keras 3|2`.

One JSON job per line on stdin, one JSON answer per line on stdout, in order. Logs go to stderr.
A job has an `op` (one function below each) and may have an `id`, which comes back. Answers have `ok`; a refusal has
`stage` (build, load, predict, train, job), `error_type` and `message`. Keras 3 and tf_keras need a process each.
"""

import argparse
import hashlib
import json
import logging
import os
import pathlib
import random
import sys
import traceback
import warnings

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_USE_LEGACY_KERAS="1", KERAS_BACKEND="tensorflow")
# The fixtures' predictions were made with oneDNN: without it half precision rounds elsewhere.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
# Libraries print to stdout at will: keep the real one for answers and give them stderr.
ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf8")
os.dup2(2, 1)

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fixtures" / "generate")]

import h5py
import numpy as np

from common import dtname, fill, raw, sha

OPS = {}


def op(fn):
    """Registers a function under its name as an op."""
    OPS[fn.__name__.removesuffix("_op")] = fn
    return fn


class Refused(Exception):
    def __init__(self, stage, error):
        super().__init__(str(error))
        self.stage, self.error = stage, error


class Stage:
    """Names the stage in which Keras threw."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, tb):
        if isinstance(error, Exception) and not isinstance(error, Refused):
            raise Refused(self.name, error) from error


class Heard(logging.Handler):
    """Collects Python warnings and log records: Keras 3 warns, tf_keras logs."""

    NOISE = ("experimental", "__array__ implementation", "considered legacy")

    def __enter__(self):
        self.list = []
        self.caught = warnings.catch_warnings(record=True)
        self.warned = self.caught.__enter__()
        warnings.simplefilter("always")
        self.loggers = [logging.getLogger("tensorflow"), logging.getLogger("absl")]
        for logger in self.loggers:
            logger.addHandler(self)
        return self

    def emit(self, record):
        self.list.append({"category": f"log.{record.levelname}", "message": record.getMessage()})

    def __exit__(self, *_):
        for logger in self.loggers:
            logger.removeHandler(self)
        self.caught.__exit__(*_)
        self.list += [{"category": w.category.__name__, "message": str(w.message)} for w in self.warned]
        self.list = [w for w in self.list if not any(n in w["message"] for n in self.NOISE)]


def load_keras(version):
    global K, V, tf
    import tensorflow as tf

    V = version
    if V == 3:
        import keras as K
    else:
        import tf_keras as K
    tf.get_logger().setLevel("WARNING")
    logging.getLogger("absl").setLevel("WARNING")
    warnings.simplefilter("ignore")  # Heard listens where it matters


# --- models ---------------------------------------------------------------------------------------------------------


def number(w):
    return np.asarray(K.ops.convert_to_numpy(w) if V == 3 else w.numpy())


def label(w):
    return getattr(w, "path", None) or w.name


def fresh(seed=42):
    K.backend.clear_session()
    # For the Lambda layers of our own models.
    if V == 3:
        K.config.enable_unsafe_deserialization()
    else:
        from tf_keras.src.saving import serialization_lib

        serialization_lib.enable_unsafe_deserialization()
    random.seed(5)
    K.utils.set_random_seed(seed)


def zero(variables):
    """A value that a load leaves alone must not look loaded."""
    for w in variables:
        if "seed_generator_state" not in label(w):
            value = number(w)
            w.assign(tf.zeros(value.shape, value.dtype))


def optimizer_variables(model):
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return []
    found = optimizer.variables
    return list(found() if callable(found) else found)


def zoo_model(name):
    from zoo import ZOO

    entry = ZOO[name]
    model, inputs = entry["fn"](K, V)
    if not model.built and inputs is not None:
        model(inputs if len(inputs) > 1 else inputs[0])
    after = getattr(model, "_post_fill", None)
    if after is not None:  # quantize, enable_lora: they change which weights there are
        fill(model, model.weights)
        delattr(model, "_post_fill")
        after(model)
    if entry["compiled"]:
        model.optimizer.build(model.trainable_variables)
    return model


def built(spec):
    """"zoo:NAME" | {"config_file": path} | {"whole": path}"""
    fresh()
    if isinstance(spec, str) and spec.startswith("zoo:"):
        return zoo_model(spec[4:])
    if "config_file" in spec:
        return K.models.model_from_json(pathlib.Path(spec["config_file"]).read_text())
    if "whole" in spec:
        return K.models.load_model(spec["whole"])
    raise ValueError(f"no such model: {spec!r}")


def predict(model, inputs, eager):
    """A plain call needs no tracing and is much quicker; but half precision rounds as in predict() only in predict()."""
    inputs = inputs if len(inputs) > 1 else inputs[0]
    out = model(inputs, training=False) if eager else model.predict(inputs, verbose=0)
    out = list(out) if isinstance(out, (list, tuple)) else [out]
    return [np.asarray(o.numpy() if hasattr(o, "numpy") else o) for o in out]


# --- answers --------------------------------------------------------------------------------------------------------


def records(variables):
    out = []
    for w in variables:
        value = number(w)
        out.append({"path": label(w), "shape": list(value.shape), "dtype": dtname(value), "sha256": sha(value)})
    return out


def numbered(npz, prefix):
    out, k = [], 0
    names = set(npz.files)
    while True:
        name = next((n for n in (f"{prefix}{k}", f"{prefix}{k:04d}") if n in names), None)
        if name is None:
            return out
        out.append(npz[name])
        k += 1


def same_bits(value, expected):
    return value.shape == expected.shape and raw(value) == raw(expected)


def farthest(found, expected):
    """Largest absolute difference; NaN in the same place is no difference, a different shape is a huge one."""
    worst = 0.0
    for a, b in zip(found, expected):
        if b.dtype == np.uint16 and a.dtype.itemsize == 2:  # bfloat16 kept as bits
            b = b.view(a.dtype)
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
            return 1e308
        if a.size:
            with np.errstate(invalid="ignore"):
                gap = np.where((a == b) | np.isnan(a), 0, np.abs(a - b)).max()
            worst = max(worst, float(min(gap, 1e308)))
    return worst if len(found) == len(expected) else 1e308


def verdict(model, npz_path=None, eager=False):
    """Weights in get_weights order; with an npz also `identical`, `differ` (indexes) and `max_pred_diff`."""
    weights = list(model.weights)
    out = {"ok": True, "class": type(model).__name__, "name": model.name, "weights": records(weights)}
    slots = optimizer_variables(model)
    if slots:
        out["optimizer"] = records(slots)
    if npz_path is None:
        return out
    with np.load(npz_path) as npz:
        expected = list(npz["all"]) if "all" in npz.files else numbered(npz, "w")
        inputs, preds = numbered(npz, "input"), numbered(npz, "pred")
    values = [number(w) for w in weights]
    out["differ"] = [k for k, (a, b) in enumerate(zip(values, expected)) if not same_bits(a, b)]
    out["identical"] = len(values) == len(expected) and not out["differ"]
    if inputs:
        with Stage("predict"):
            out["max_pred_diff"] = farthest(predict(model, inputs, eager), preds)
    return out


# --- ops ------------------------------------------------------------------------------------------------------------


@op
def load_weights(job):
    """{model, file, by_name?, skip_mismatch?, expected_npz?, status?: a method of tf_keras' checkpoint status}"""
    with Stage("build"):
        model = built(job["model"])
        zero(model.weights)
        zero(optimizer_variables(model))
    options = {k: job[k] for k in ("by_name", "skip_mismatch") if job.get(k) is not None}
    with Heard() as heard, Stage("load"):
        status = model.load_weights(job["file"], **options)
        if job.get("status"):
            getattr(status, job["status"])()
    return {**verdict(model, job.get("expected_npz"), job.get("eager", False)), "warnings": heard.list}


@op
def load_model(job):
    """{file, compile?, expected_npz?}"""
    fresh()
    with Heard() as heard, Stage("load"):
        model = K.models.load_model(job["file"], compile=job.get("compile", True))
    return {**verdict(model, job.get("expected_npz"), job.get("eager", False)), "warnings": heard.list}


@op
def load_checkpoint(job):
    """{model, file: prefix, root?: "self" | "model", method?: "read" | "restore", status?, expected_npz?}

    restore also wants tf.train.Checkpoint's save_counter in the file; read does not. status: default assert_consumed.
    """
    with Stage("build"):
        model = built(job["model"])
        zero(model.weights)
        zero(optimizer_variables(model))
    with Heard() as heard, Stage("load"):
        checkpoint = tf.train.Checkpoint(model=model) if job.get("root") == "model" else tf.train.Checkpoint(model)
        status = getattr(checkpoint, job.get("method", "read"))(job["file"])
        getattr(status, job.get("status", "assert_consumed"))()
    return {**verdict(model, job.get("expected_npz"), job.get("eager", False)), "warnings": heard.list}


def batches():
    """The same data in every call: what differs between two trainings is the model alone."""
    rng = np.random.RandomState(7)
    x = rng.uniform(-1, 1, (48, 5)).astype("float32")
    return x, (x @ rng.uniform(-1, 1, (5, 1)) + 0.1).astype("float32")


def losses_of(model, first, last):
    """Losses of some steps of training, one batch of eight a step."""
    x, y = batches()
    out = []
    for step in range(first, last):
        at = slice(step % 6 * 8, step % 6 * 8 + 8)
        model.reset_metrics()  # the loss it gives is a mean over steps
        loss = model.train_on_batch(x[at], y[at])
        out.append(float(loss[0] if isinstance(loss, (list, tuple)) else loss))
    return out


def optimizers():
    """Optimizers by name; of Keras 2 those of before 2.11 too."""
    O = K.optimizers
    found = {
        "Adam": lambda: O.Adam(0.05),
        "SGD": lambda: O.SGD(0.05, momentum=0.9),
        "RMSprop": lambda: O.RMSprop(0.01, momentum=0.5, centered=True),
        "Nadam": lambda: O.Nadam(0.01),
        "AdamW": lambda: O.AdamW(0.01, amsgrad=True, use_ema=True),
        "Adafactor": lambda: O.Adafactor(0.05),
        "Ftrl": lambda: O.Ftrl(0.05),
        "SGD with a schedule": lambda: O.SGD(O.schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.9),
    }
    if V == 2:
        old = O.legacy
        found["old Adam"] = lambda: old.Adam(0.05)
        found["old SGD"] = lambda: old.SGD(0.05, momentum=0.9, decay=0.01)
        found["old RMSprop"] = lambda: old.RMSprop(0.01, momentum=0.5, centered=True)
        found["old Nadam"] = lambda: old.Nadam(0.01)
        found["old Ftrl"] = lambda: old.Ftrl(0.05)
    return found


def trainee(optimizer):
    L = K.layers
    model = K.Sequential([K.Input((5,)), L.Dense(4, activation="tanh"), L.BatchNormalization(), L.Dense(1)])
    model.compile(optimizer=optimizers()[optimizer](), loss="mse", metrics=["mae"])
    return model


def checkpoint_of(model, root):
    if root == "beside":
        return tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    return tf.train.Checkpoint(model=model) if root == "model" else tf.train.Checkpoint(model)


@op
def train_half_checkpoint(job):
    """{optimizer, file, weights: prefix, root?: "model" | "beside"}: saves a compiled model to `file` and its checkpoint to
    `weights` after four steps of training, without a root by save_weights; answers the losses of the next six steps."""
    fresh()
    with Stage("build"):
        model = trainee(job["optimizer"])
        model.save(job["file"])
        losses_of(model, 0, 4)
        if job.get("root"):
            checkpoint_of(model, job["root"]).write(job["weights"])
        else:
            model.save_weights(job["weights"])
    return {"ok": True, "losses": losses_of(model, 4, 10)}


@op
def continue_checkpoint(job):
    """{optimizer, weights: prefix, root?, built?}: restores a checkpoint into a new model, all of whose objects must be
    matched, and answers the losses of six steps. `built` makes the optimizer's variables before that."""
    fresh(seed=43)
    with Stage("build"):
        model = trainee(job["optimizer"])
        if job.get("built"):
            losses_of(model, 0, 1)
    with Stage("load"):
        if job.get("root"):
            status = checkpoint_of(model, job["root"]).read(job["weights"])
        else:
            status = model.load_weights(job["weights"])
        status.assert_existing_objects_matched()
    with Stage("train"):
        return {"ok": True, "losses": losses_of(model, 4, 10)}


@op
def train_half(job):
    """{optimizer, file}: trains a model four steps, saves it to `file`, and answers the losses of the next six steps."""
    fresh()
    L, O = K.layers, K.optimizers
    with Stage("build"):
        model = K.Sequential([K.Input((5,)), L.Dense(4, activation="tanh"), L.BatchNormalization(), L.Dense(1)])
        optimizer = {"Adam": lambda: O.Adam(0.05), "SGD": lambda: O.SGD(0.05, momentum=0.9)}[job["optimizer"]]()
        model.compile(optimizer=optimizer, loss="mse", metrics=["mae"])
        losses_of(model, 0, 4)
        model.save(job["file"])
    return {"ok": True, "losses": losses_of(model, 4, 10)}


@op
def continue_training(job):
    """{file, weights?}: loads a compiled model, and weights into it, and answers the losses of the next six steps."""
    fresh()
    with Stage("load"):
        model = K.models.load_model(job["file"])
        if job.get("weights"):
            zero(model.weights)
            zero(optimizer_variables(model)[1 if V == 2 else 2 :])
            model.load_weights(job["weights"])
    with Stage("train"):
        return {"ok": True, "losses": losses_of(model, 4, 10)}


def plain(value):
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, bytes):
        return value.decode("utf8", "backslashreplace")
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()] if value.shape else plain(value[()])
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return repr(value)
    return value if isinstance(value, (int, float, str, type(None))) else str(value)


def attributes(node):
    out = {}
    for name in node.attrs:
        a = node.attrs.get_id(name)
        shape = None if a.shape is None else list(a.shape)
        out[name] = {"value": plain(node.attrs[name]), "dtype": str(a.dtype), "shape": shape}
    return out


@op
def h5py_op(job):
    """{file}: all datasets, groups and links as h5py sees them."""
    datasets, groups, links = [], [], []

    def walk(group, path):
        groups.append({"path": path or "/", "attrs": attributes(group)})
        for name in group:
            below = f"{path}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                links.append({"path": below, "kind": type(group.get(name, getlink=True)).__name__})
                continue
            node = group[name]
            if isinstance(node, h5py.Group):
                walk(node, below)
                continue
            if not isinstance(node, h5py.Dataset):
                links.append({"path": below, "kind": type(node).__name__})
                continue
            strings = node.dtype.kind == "O"
            value = node[()] if node.shape is not None else None
            datasets.append({
                "path": below,
                "shape": None if node.shape is None else list(node.shape),
                "dtype": str(node.dtype),
                "sha256": None if strings or value is None else sha(value),
                "values": plain(value) if strings else None,
                "offset": node.id.get_offset(),
                "chunks": node.chunks and list(node.chunks),
                "compression": node.compression,
                "shuffle": bool(node.shuffle),
                "fletcher32": bool(node.fletcher32),
                "attrs": attributes(node),
            })

    with Stage("load"), h5py.File(job["file"], "r") as f:
        walk(f, "")
    return {"ok": True, "datasets": datasets, "groups": groups, "links": links, "libhdf5": h5py.version.hdf5_version}


@op
def arrays(job):
    """{file, again}: what safetensors or numpy reads from a file, and writes once more to `again`: dtype, shape, digest by
    name."""
    found = {}
    with Stage("load"):
        if job["file"].endswith(".npz"):
            with np.load(job["file"], allow_pickle=False) as npz:
                values = {name: npz[name] for name in npz.files}
            for name, value in values.items():
                found[name] = [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
            np.savez_compressed(job["again"], **values)
        else:
            import safetensors

            tensors = safetensors.deserialize(pathlib.Path(job["file"]).read_bytes())
            for name, tensor in tensors:
                digest = hashlib.sha256(bytes(tensor["data"])).hexdigest()
                found[name] = [tensor["dtype"], list(tensor["shape"]), digest]
            numpy_can = {"F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"}
            if all(dtype in numpy_can for dtype, _, _ in found.values()):
                import safetensors.numpy

                loaded = safetensors.numpy.load_file(job["file"])
                for name, value in loaded.items():
                    if hashlib.sha256(value.tobytes()).hexdigest() != found[name][2]:
                        raise ValueError(f"{name}: numpy has other values than the file")
                safetensors.numpy.save_file(loaded, job["again"], metadata={"by": "safetensors"})
            else:
                pathlib.Path(job["again"]).write_bytes(pathlib.Path(job["file"]).read_bytes())
    return {"ok": True, "arrays": found}


@op
def versions(_job):
    import safetensors

    return {
        "ok": True, "keras": K.__version__, "tensorflow": tf.__version__, "h5py": h5py.__version__,
        "numpy": np.__version__, "safetensors": safetensors.__version__, "python": sys.version.split()[0],
    }


# --- the loop -------------------------------------------------------------------------------------------------------


def answer(line):
    job = {}
    try:
        job = json.loads(line)
        out = OPS[job["op"]](job)
    except Refused as e:
        out = {"ok": False, "stage": e.stage, "error_type": type(e.error).__name__, "message": str(e.error)}
    except Exception as e:  # the judge must outlive a bad job
        traceback.print_exc()
        out = {"ok": False, "stage": "job", "error_type": type(e).__name__, "message": str(e)}
    return {"id": job["id"], **out} if isinstance(job, dict) and "id" in job else out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keras", type=int, choices=(2, 3), default=3)
    load_keras(parser.parse_args().keras)
    import random_models
    import tfjs_models

    random_models.register(sys.modules[__name__])
    tfjs_models.register(sys.modules[__name__])
    for line in sys.stdin:
        if line.strip():
            ANSWERS.write(json.dumps(answer(line), allow_nan=False) + "\n")
            ANSWERS.flush()


if __name__ == "__main__":
    main()
