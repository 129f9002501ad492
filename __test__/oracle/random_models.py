"""Random models of this Keras, deterministic by seed, for property tests: the ops random_model, random_check and
random_container."""

import json
import pathlib
import random
import sys

import numpy as np
import odd_models

from common import fill, npz_safe, weights_record

J = None  # the judge: K (Keras), V (2 or 3), and its helpers
LIMIT = 200_000
WORDS = ["enc", "Dec", "block", "Head", "stem-a", "x.y", "conv", "dense", "lstm", "norm_out"]


def register(judge):
    global J
    J = judge
    odd_models.register(judge)
    judge.op(odd_names)
    judge.op(odd_model)
    judge.op(random_model)
    judge.op(random_check)
    judge.op(random_container)


class Grower:
    """Builds one model. Every choice comes from `rng`; a layer that Keras refuses for a shape is simply left out."""

    def __init__(self, rng):
        self.rng = rng
        self.K, self.L = J.K, J.K.layers
        self.named = rng.random() < 0.5
        self.mixed_types = rng.random() < 0.25
        self.used = {}

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, *options):
        return self.rng.choice(options)

    def some(self, low, high):
        return self.rng.randint(low, high)

    def options(self, weights=True):
        """Keyword arguments any layer takes."""
        out = {}
        if self.named and self.chance(0.5):
            word = self.rng.choice(WORDS)
            self.used[word] = self.used.get(word, 0) + 1
            out["name"] = f"{word}_{self.used[word]}"
        if weights and self.mixed_types and self.chance(0.5):
            policy = self.pick("float64", "float16", "bfloat16", "mixed_bfloat16", "mixed_float16")
            out["dtype"] = self.K.mixed_precision.Policy(policy) if J.V == 2 and "mixed" in policy else policy
        return out

    def plain(self):
        return self.options(weights=False)

    def bias(self):
        return self.chance(0.7)

    def activation(self):
        return self.pick(None, "relu", "tanh", "sigmoid", "elu", "softplus")

    # One function per family; each answers a layer for inputs of this shape (without the batch).

    def dense(self, shape):
        units = self.some(64, 160) if len(shape) == 1 and self.chance(0.1) else self.some(1, 8)
        return self.L.Dense(units, activation=self.activation(), use_bias=self.bias(), **self.options())

    def einsum(self, shape):
        n = self.some(1, 5)
        letters = "abcdef"[: len(shape) + 1]
        out = letters[:-1] + "z"
        middle = tuple([None] * (len(shape) - 1)) + (n,)
        if self.chance(0.3) and len(shape) <= 2:
            letters_out = letters[:-1] + "yz"
            return self.L.EinsumDense(
                f"{letters},{letters[-1]}yz->{letters_out}", output_shape=middle[:-1] + (2, n),
                bias_axes=self.pick(None, "z", "yz"), **self.options())
        return self.L.EinsumDense(
            f"{letters},{letters[-1]}z->{out}", output_shape=middle, bias_axes=self.pick(None, "z"), **self.options())

    def batch_norm(self, shape):
        axis = self.pick(-1, -1, self.some(1, len(shape)))
        return self.L.BatchNormalization(axis=axis, center=self.chance(0.8), scale=self.chance(0.8), **self.plain())

    def layer_norm(self, shape):
        # tf_keras cannot normalize over two axes on a CPU
        axis = list(range(1, len(shape) + 1)) if J.V == 3 and self.chance(0.2) else -1
        return self.L.LayerNormalization(axis=axis, center=self.chance(0.8), scale=self.chance(0.8), **self.plain())

    def group_norm(self, shape):
        groups = self.rng.choice([g for g in range(1, shape[-1] + 1) if shape[-1] % g == 0])
        return self.L.GroupNormalization(groups, center=self.chance(0.8), scale=self.chance(0.8), **self.plain())

    def other_norm(self, shape):
        kinds = ["unit", "adaptless"] + (["rms"] if J.V == 3 else [])
        kind = self.rng.choice(kinds)
        if kind == "unit":
            return self.L.UnitNormalization(**self.plain())
        if kind == "rms":
            return self.L.RMSNormalization(**self.plain())
        return self.L.Normalization(**self.plain())

    def spectral(self, shape):
        if J.V == 2:  # tf_keras cannot read its own config of this wrapper
            return self.prelu(shape)
        return self.L.SpectralNormalization(self.L.Dense(self.some(2, 5), use_bias=self.bias()), **self.plain())

    def prelu(self, shape):
        shared = [a for a in range(1, len(shape)) if self.chance(0.5)]
        return self.L.PReLU(shared_axes=shared or None, **self.plain())

    def weightless(self, shape):
        kind = self.pick("drop", "act", "relu", "noise", "leaky", "alpha")
        if kind == "drop":
            return self.L.Dropout(0.3, seed=self.pick(None, 7), **self.plain())
        if kind == "noise":
            return self.L.GaussianNoise(0.1, **self.plain())
        if kind == "alpha":
            return self.L.AlphaDropout(0.1, **self.plain())
        if kind == "relu":
            return self.L.ReLU(**self.plain())
        if kind == "leaky":
            return self.L.LeakyReLU(**self.plain())
        return self.L.Activation(self.pick("tanh", "sigmoid", "softplus"), **self.plain())

    def conv(self, shape):
        n = len(shape) - 1
        kernel = self.some(1, min(3, *shape[:-1]))
        common = dict(padding=self.pick("valid", "same"), use_bias=self.bias(), activation=self.activation(), **self.plain())
        kind = self.pick("conv", "conv", "transpose", "depthwise", "separable")
        if kind == "depthwise" and n < 3:
            return getattr(self.L, f"DepthwiseConv{n}D")(kernel, depth_multiplier=self.some(1, 2), **common)
        if kind == "separable" and n < 3:
            return getattr(self.L, f"SeparableConv{n}D")(
                self.some(1, 6), kernel, depth_multiplier=self.some(1, 2), **common)
        if kind == "transpose":
            return getattr(self.L, f"Conv{n}DTranspose")(self.some(1, 6), kernel, strides=self.some(1, 2), **common)
        filters, groups = self.some(1, 6), 1
        if shape[-1] % 2 == 0 and J.V == 3 and n < 3 and self.chance(0.2):
            filters, groups = 4, 2
        return getattr(self.L, f"Conv{n}D")(filters, kernel, groups=groups, **common)

    def rnn_options(self, cls):
        out = dict(use_bias=self.bias())
        if cls == "GRU":
            out["reset_after"] = self.chance(0.5)
        if cls == "LSTM":
            out["unit_forget_bias"] = self.chance(0.5)
        return out

    def rnn(self, shape, sequences=None, name=True):
        cls = self.pick("SimpleRNN", "LSTM", "GRU")
        sequences = self.chance(0.5) if sequences is None else sequences
        return getattr(self.L, cls)(
            self.some(1, 5), return_sequences=sequences, go_backwards=self.chance(0.2),
            **self.rnn_options(cls), **(self.plain() if name else {}))

    def stacked(self, shape):
        cells = []
        for _ in range(self.some(1, 3)):
            cls = self.pick("SimpleRNN", "LSTM", "GRU")
            cells.append(getattr(self.L, cls + "Cell")(self.some(1, 4), **self.rnn_options(cls)))
        return self.L.RNN(cells if len(cells) > 1 else cells[0], return_sequences=self.chance(0.5), **self.plain())

    def bidirectional(self, shape):
        sequences = self.chance(0.5)
        inner = self.rnn(shape, sequences, name=self.chance(0.3))
        return self.L.Bidirectional(inner, merge_mode=self.pick("concat", "sum", "ave"), **self.plain())

    def time_distributed(self, shape):
        inner = self.layer(shape[1:], self.pick("dense", "batch_norm", "layer_norm", "prelu", "conv"))
        return self.L.TimeDistributed(inner, **self.plain())

    def conv_lstm(self, shape):
        n = len(shape) - 2
        return getattr(self.L, f"ConvLSTM{n}D")(
            self.some(1, 3), self.some(1, 2), return_sequences=self.chance(0.4), use_bias=self.bias(), **self.plain())

    def pool(self, shape):
        n = len(shape) - 1
        kind = self.pick("Max", "Average", "GlobalMax", "GlobalAverage", "pad", "up")
        if kind == "pad":
            return getattr(self.L, f"ZeroPadding{n}D")(1, **self.plain())
        if kind == "up":
            return getattr(self.L, f"UpSampling{n}D")(2, **self.plain())
        layer = getattr(self.L, f"{kind}Pooling{n}D")
        return layer(**self.plain()) if "Global" in kind else layer(2, padding="same", **self.plain())

    def reshape(self, shape):
        if len(shape) == 1:
            return self.L.RepeatVector(self.some(2, 4), **self.plain())
        if len(shape) == 3:
            return self.L.Reshape((shape[0] * shape[1], shape[2]), **self.plain())
        if len(shape) == 2 and self.chance(0.5):
            return self.L.Permute((2, 1), **self.plain())
        return self.L.Flatten(**self.plain())

    def sequential(self, shape, depth=1):
        model = self.K.Sequential([self.K.Input(shape)], **self.model_name())
        for _ in range(self.some(1, 4)):
            shape = self.grow_sequential(model, shape, depth)
        if not model.layers:
            model.add(self.L.Dense(2))
        return model

    def functional(self, shape, depth=1):
        i = self.K.Input(shape)
        x = i
        for _ in range(self.some(1, 4)):
            x = self.step(x, depth)
        if x is i:
            x = self.L.Activation("tanh")(x)
        return self.K.Model(i, x, **self.model_name())

    def model_name(self):
        return {k: v for k, v in self.plain().items() if k == "name"}

    KINDS = {
        1: "dense dense einsum batch_norm layer_norm group_norm other_norm spectral prelu weightless reshape",
        2: "dense einsum conv conv rnn rnn rnn stacked bidirectional bidirectional time_distributed batch_norm layer_norm"
           " group_norm prelu weightless pool reshape other_norm",
        3: "dense conv conv conv conv_lstm time_distributed batch_norm layer_norm group_norm prelu weightless pool pool reshape",
        4: "conv conv conv_lstm time_distributed batch_norm group_norm weightless pool pool prelu",
    }

    def layer(self, shape, kind=None, depth=2):
        if kind is None:
            if depth < 2 and self.chance(0.2):
                return self.pick(self.sequential, self.functional)(shape, depth + 1)
            kind = self.rng.choice(self.KINDS[min(len(shape), 4)].split())
        if kind == "conv" and len(shape) < 2:
            kind = "dense"
        return getattr(self, kind)(shape)

    @staticmethod
    def shape(x):
        return tuple(None if d is None else int(d) for d in x.shape)[1:]

    def fits(self, shape):
        return len(shape) and all(d for d in shape) and int(np.prod(shape)) <= 4096 and len(shape) <= 4

    def step(self, x, depth=0):
        """x, or what a random layer (or two joined branches) makes of it."""
        shape = self.shape(x)
        try:
            if self.chance(0.15):
                return self.branch(x, shape, depth)
            y = self.layer(shape, depth=depth)(x)
            return y if self.fits(self.shape(y)) else x
        except (ValueError, TypeError, NotImplementedError, ArithmeticError, AttributeError, RuntimeError) as e:
            print(f"left out: {type(e).__name__}: {str(e)[:200]}", file=sys.stderr)
            return x

    def grow_sequential(self, model, shape, depth=0):
        """Adds a random layer to a Sequential; answers the output shape."""
        try:
            layer = self.layer(shape, depth=depth)
            y = layer(self.K.Input(shape))  # tried on its own first: a failed add would leave half a model
            if self.fits(self.shape(y)):
                model.add(layer)
                return self.shape(y)
        except (ValueError, TypeError, NotImplementedError, ArithmeticError, AttributeError, RuntimeError) as e:
            print(f"left out: {type(e).__name__}: {str(e)[:200]}", file=sys.stderr)
        return shape

    def branch(self, x, shape, depth):
        kind = self.pick("shared", "residual", "wide", "attention", "attention")
        if kind == "attention" and len(shape) == 2:
            return self.attention(x, shape)
        if kind == "shared" or kind == "attention":
            layer = self.layer(shape, depth=depth)
            y = self.L.Activation("tanh")(x)
            a, b = layer(x), layer(y)
            return self.pick(self.L.Add, self.L.Concatenate, self.L.Average, self.L.Maximum)(**self.plain())([a, b])
        if kind == "residual":
            y = self.L.Dense(shape[-1], use_bias=self.bias(), **self.plain())(x)
            return self.pick(self.L.Add, self.L.Multiply, self.L.Subtract)(**self.plain())([x, y])
        a = self.L.Dense(self.some(1, 4), **self.plain())(x)
        b = self.L.Dense(self.some(1, 4), use_bias=False, **self.plain())(x)
        return self.L.Concatenate(**self.plain())([a, b])

    def attention(self, x, shape):
        if J.V == 3 and self.chance(0.2):
            layer = self.L.GroupQueryAttention(self.some(1, 4), 2, 1, use_bias=self.bias(), **self.plain())
        elif self.chance(0.15):
            layer = self.L.AdditiveAttention(use_scale=self.chance(0.7), **self.plain())
            return layer([x, x])
        else:
            layer = self.L.MultiHeadAttention(
                self.some(1, 3), self.some(1, 4), value_dim=self.pick(None, 3), use_bias=self.bias(),
                output_shape=self.pick(None, None, 5), **self.plain())
        y = self.L.Dense(shape[-1])(x) if self.chance(0.5) else x
        return layer(x, y)

    def input(self):
        """(input, tensor to go on with, maker of values)"""
        rank = self.pick(0, 1, 1, 2, 2, 2, 3, 3, 4)
        if rank == 0:
            top, length = self.some(4, 20), self.some(3, 7)
            i = self.K.Input((length,), dtype="int32")
            x = self.L.Embedding(top, self.some(1, 6), **self.options())(i)
            return i, x, lambda r: r.randint(0, top, size=(2, length)).astype("int32")
        shape = {
            1: lambda: (self.some(1, 8),),
            2: lambda: (self.some(3, 7), self.some(1, 6)),
            3: lambda: (self.some(4, 8), self.some(4, 8), self.some(1, 4)),
            4: lambda: (self.some(3, 4), self.some(4, 5), self.some(4, 5), self.some(1, 3)),
        }[rank]()
        i = self.K.Input(shape, **self.model_name())
        return i, i, lambda r: r.uniform(-1, 1, size=(2, *shape)).astype("float32")

    def to_vector(self, x):
        shape = self.shape(x)
        if len(shape) == 1:
            return x
        if len(shape) == 2 and self.chance(0.4):
            return self.rnn(shape, False)(x)
        if self.chance(0.5):
            return getattr(self.L, f"GlobalAveragePooling{len(shape) - 1}D")(**self.plain())(x)
        return self.L.Flatten(**self.plain())(x)

    def model(self):
        if self.chance(0.25):
            rank = self.some(1, 4)
            shape = start = (self.some(3, 6),) * (rank - 1) + (self.some(2, 5),)
            model = self.K.Sequential([self.K.Input(shape)], **self.model_name())
            for _ in range(self.some(2, 9)):
                shape = self.grow_sequential(model, shape)
            model.add(self.L.Dense(self.some(1, 3), **self.plain()))
            return model, [lambda r: r.uniform(-1, 1, size=(2, *start)).astype("float32")]
        inputs, live, makers = [], [], []
        for _ in range(self.pick(1, 1, 1, 2, 3)):
            i, x, maker = self.input()
            inputs.append(i), live.append(x), makers.append(maker)
        for _ in range(self.some(3, 12)):
            k = self.rng.randrange(len(live))
            live[k] = self.step(live[k])
            if len(live) < 4 and self.chance(0.1):  # a second branch from here
                live.append(self.step(live[k]))
            if len(live) > 1 and self.chance(0.15):  # and some join again
                a, b = live.pop(), live.pop(0)
                live.append(self.L.Concatenate(**self.plain())([self.to_vector(a), self.to_vector(b)]))
        if len(live) > 1 and self.chance(0.5):
            live = [self.L.Concatenate(**self.plain())([self.to_vector(x) for x in live])]
        outputs = [self.L.Dense(self.some(1, 4), use_bias=self.bias(), **self.plain())(x) for x in live]
        return self.K.Model(inputs, outputs if len(outputs) > 1 else outputs[0], **self.model_name()), makers


# --- freezing -------------------------------------------------------------------------------------------------------


def inner_layers(layer):
    """Layers one level down that a path can name: models only, so that every reader can follow."""
    return list(layer.layers) if isinstance(layer, J.K.Model) else []


def at(model, path):
    for k in path:
        model = inner_layers(model)[k]
    return model


def freeze(model, orders):
    for o in orders:
        at(model, o["path"]).trainable = o["trainable"]


def random_freezing(model, rng):
    if rng.random() < 0.5:
        return []
    paths = []

    def walk(layer, path):
        for k, inner in enumerate(inner_layers(layer)):
            if inner.weights:
                paths.append([*path, k])
            walk(inner, [*path, k])

    walk(model, [])
    return [
        {"path": p, "name": at(model, p).name, "trainable": rng.random() < 0.15}
        for p in rng.sample(paths, min(len(paths), rng.randint(1, 3)))
    ]


# --- ops ------------------------------------------------------------------------------------------------------------


KEPT = {}


def rebuilt(folder, expected):
    """The model from its config with all weights zero. Building takes most of the time: the last one is kept."""
    if folder not in KEPT:
        KEPT.clear()
        J.fresh()
        model = J.K.models.model_from_json((folder / "config.json").read_text())
        freeze(model, expected["freeze"])
        KEPT[folder] = model
    J.zero(KEPT[folder].weights)
    return KEPT[folder]


def finalize(model):
    """Normalization keeps values derived from its weights: fill assigns behind its back."""
    for layer in model._flatten_layers():
        if type(layer).__name__ == "Normalization" and layer.built:
            layer.finalize_state()


def save_all(model, folder):
    """file name -> "ok", or what Keras said"""
    def legacy():
        if J.V == 2:
            return model.save_weights(str(folder / "legacy.h5"))
        import h5py
        from keras.src.legacy.saving import legacy_h5_format

        with h5py.File(folder / "legacy.h5", "w") as f:  # Keras 3 has no public call for this
            legacy_h5_format.save_weights_to_hdf5_group(f, model)

    out = {}
    for name, save in {
        "model.weights.h5": lambda: model.save_weights(str(folder / "model.weights.h5")),
        "legacy.h5": legacy,
        "full.h5": lambda: model.save(str(folder / "full.h5")),
    }.items():
        out[name] = saved(save)
        if out[name] != "ok":
            (folder / name).unlink(missing_ok=True)
    return out


def saved(save):
    """"ok", or what Keras said"""
    try:
        with J.Heard():
            save()
        return "ok"
    except Exception as e:
        return f"{type(e).__name__}: {str(e)[:400]}"


KINDS = {"v3": "model.weights.h5", "legacy": "legacy.h5", "legacy_by_name": "legacy.h5", "full": "full.h5", "archive": "model.keras"}


def random_model(job):
    """{seed, dir}: makes the model and all its files; `reads` in expected.json says what Keras reads back itself."""
    folder = pathlib.Path(job["dir"])
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in range(20):  # a Keras bug in some odd combination costs an attempt, not the seed
        rng = random.Random(f"{job['seed']}.{attempt}")
        KEPT.clear()
        J.fresh(seed=job["seed"] % 2**31)
        try:
            model, makers = Grower(rng).model()
            orders = random_freezing(model, rng)
            freeze(model, orders)
            text = model.to_json()
            # The model under test is the one made from the config, as every reader of config.json makes it.
            (folder / "config.json").write_text(json.dumps(json.loads(text), indent=1) + "\n")
            first = [list(w.shape) for w in model.weights]
            model = rebuilt(folder, {"freeze": orders})
            fill(model, model.weights)
            finalize(model)
            r = np.random.RandomState(job["seed"] % 2**31)
            inputs = [make(r) for make in makers]
            preds = J.predict(model, inputs, eager=True)
            if model.count_params() > LIMIT or not model.weights:
                raise ValueError("too big or empty")
            if not all(np.isfinite(np.asarray(p, "float64")).all() for p in preds):
                raise ValueError("not finite")
            break
        except Exception as e:
            print(f"seed {job['seed']} attempt {attempt}: {type(e).__name__}: {str(e)[:600]}", file=sys.stderr)
    else:
        raise RuntimeError(f"no model for seed {job['seed']}")
    about = {"seed": job["seed"], "attempt": attempt, "orderDiffersFromOriginal": first != [list(w.shape) for w in model.weights]}
    return recorded(folder, model, orders, inputs, preds, about, save_all(model, folder))


def odd_names(_job):
    return {"ok": True, "names": list(odd_models.MODELS[J.V])}


def odd_model(job):
    """{name, dir}: the same for a model of odd_models.py, archives included."""
    folder = pathlib.Path(job["dir"])
    folder.mkdir(parents=True, exist_ok=True)
    KEPT.clear()
    J.fresh()
    model = odd_models.MODELS[J.V][job["name"]]()
    first = [list(w.shape) for w in model.weights]
    (folder / "config.json").write_text(json.dumps(json.loads(model.to_json()), indent=1) + "\n")
    model = rebuilt(folder, {"freeze": []})
    fill(model, model.weights)
    files = save_all(model, folder)
    files["model.keras"] = saved(lambda: model.save(str(folder / "model.keras")))
    about = {"orderDiffersFromOriginal": first != [list(w.shape) for w in model.weights]}
    return recorded(folder, model, [], *predicted(model), about, files)


def predicted(model):
    """Inputs and outputs, where both are plain lists: a verdict on a file compares them too."""
    r = np.random.RandomState(5)
    tensors = model.inputs if isinstance(model.inputs, list) else [model.inputs]
    shapes = [(2, *tuple(t.shape)[1:]) for t in tensors]
    inputs = [r.randint(0, 8, s) if "int" in str(t.dtype) else r.uniform(-1, 1, s).astype("float32") for s, t in zip(shapes, tensors)]
    try:
        outputs = J.predict(model, inputs, eager=True)
        # Object arrays: dictionaries of outputs.
        return ([], []) if any(output.dtype == object for output in outputs) else (inputs, outputs)
    except Exception as e:
        print(f"no predictions: {type(e).__name__}: {str(e)[:200]}", file=sys.stderr)
        return [], []


def recorded(folder, model, orders, inputs, preds, about, files):
    weights = list(model.weights)
    values = [J.number(w) for w in weights]
    trainable = {id(w) for w in model.trainable_weights}
    expected = {
        "framework": f"{J.K.__name__.split('.')[0]} {J.K.__version__}",
        **about,
        "class": type(model).__name__, "model_name": model.name,
        "freeze": orders,
        "get_weights": weights_record(weights, values, lambda w: {"trainable": id(w) in trainable}),
        "countParams": int(model.count_params()),
        "layers": [{
            "name": l.name, "class": type(l).__name__, "trainable": bool(l.trainable),
            "weights": [J.label(w) for w in l.weights],
            "legacy_order": [J.label(w) for w in list(l.trainable_weights) + list(l.non_trainable_weights)],
        } for l in model.layers],
    }
    arrays = {f"w{k:04d}": npz_safe(a) for k, a in enumerate(values)}
    arrays |= {f"input{k}": a for k, a in enumerate(inputs)} | {f"pred{k}": npz_safe(a) for k, a in enumerate(preds)}
    np.savez_compressed(folder / "expected.npz", **arrays)
    expected["files"] = files
    expected["reads"] = {}
    for kind, name in KINDS.items():
        if expected["files"].get(name) == "ok":
            expected["reads"][kind] = own_reading(folder, expected, kind, name)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return {"ok": True, **{k: expected[k] for k in ("class", "countParams", "files", "reads", "freeze")},
            "weights": len(weights)}


def own_reading(folder, expected, kind, name):
    """"ok" if Keras gets its own file back into a model from the same config, else how it fails."""
    try:
        out = check(folder, expected, folder / name, kind)
        # Some whole-model .h5 files bring every weight back and still predict otherwise: the config lost something.
        gap = out.get("max_pred_diff") or 0
        if gap > 1e-5:
            return f"predicts otherwise: {gap}"
        if not out["identical"]:
            return f"differs: {out['differ'][:8]}"
        gap = out.get("max_pred_diff") or 0
        return f"predicts otherwise: {gap}" if gap > 1e-5 else "ok"
    except J.Refused as e:
        return f"{type(e.error).__name__}: {str(e)[:400]}"


def check(folder, expected, file, kind):
    if kind in ("full", "archive"):
        with J.Heard() as heard, J.Stage("load"):
            model = J.K.models.load_model(str(file))
    else:
        with J.Stage("build"):
            model = rebuilt(folder, expected)
        options = {"by_name": True} if kind == "legacy_by_name" else {}
        with J.Heard() as heard, J.Stage("load"):
            model.load_weights(str(file), **options)
    return {**J.verdict(model, folder / "expected.npz", eager=True), "warnings": heard.list}


def random_check(job):
    """{dir, file, kind: one of KINDS}: a file for the model that random_model put in dir."""
    folder = pathlib.Path(job["dir"])
    if job["kind"] not in KINDS:
        raise ValueError(f"no such kind: {job['kind']}")
    expected = json.loads((folder / "expected.json").read_text())
    return check(folder, expected, job["file"], job["kind"])


def read_container(folder, expected, file, kind):
    """{kind: "archive" | "sharded" | "checkpoint"}"""
    if kind == "archive":
        with J.Heard() as heard, J.Stage("load"):
            model = J.K.models.load_model(str(file))
    else:
        with J.Stage("build"):
            model = rebuilt(folder, expected)
        with J.Heard() as heard, J.Stage("load"):
            if kind == "sharded" or J.V == 2:
                status = model.load_weights(str(file))
            else:
                status = J.tf.train.Checkpoint(model=model).read(str(file))
            if kind == "checkpoint":
                status.assert_existing_objects_matched()
    return {**J.verdict(model, folder / "expected.npz", eager=True), "warnings": heard.list}


def own_container(folder, expected, kind):
    """"ok" if Keras gets its own file of this kind back, else how it fails."""
    try:
        model = rebuilt(folder, expected)
        with np.load(folder / "expected.npz") as npz:
            for weight, value in zip(model.weights, J.numbered(npz, "w")):
                weight.assign(value.view(weight.dtype.as_numpy_dtype) if value.dtype == np.uint16 else value)
        finalize(model)
        file = folder / {"archive": "own.keras", "sharded": "own.weights.json", "checkpoint": "own"}[kind]
        with J.Heard():
            if kind == "archive":
                model.save(str(file))
            elif kind == "sharded":
                model.save_weights(str(file), max_shard_size=1)
            elif J.V == 2:
                model.save_weights(str(file))
            else:
                J.tf.train.Checkpoint(model=model).write(str(file))
        out = read_container(folder, expected, file, kind)
        if not out["identical"]:
            return f"differs: {out['differ'][:8]}"
        gap = out.get("max_pred_diff") or 0
        return f"predicts otherwise: {gap}" if gap > 1e-5 else "ok"
    except Exception as e:
        return f"{type(e).__name__}: {str(e)[:400]}"


def random_container(job):
    """{dir, file, kind: "archive" | "sharded" | "checkpoint"}: as random_check. Where the weights or the predictions differ, `own` says
    whether Keras gets them from a file of its own."""
    folder = pathlib.Path(job["dir"])
    expected = json.loads((folder / "expected.json").read_text())
    try:
        out = read_container(folder, expected, job["file"], job["kind"])
    except J.Refused as e:
        out = {"ok": False, "identical": False, "message": f"{type(e.error).__name__}: {str(e)[:600]}"}
    if not out["identical"] or (out.get("max_pred_diff") or 0) > 1e-5:
        out["own"] = own_container(folder, expected, job["kind"])
    return out
