"""Odd but legal models of this Keras, by name, for the op odd_model: what random choices would hardly meet."""

import numpy as np

J = None  # the judge: K (Keras), V (2 or 3)
MODELS = {}


def register(judge):
    global J
    J = judge


def model(*versions):
    def take(make):
        for version in versions or (2, 3):
            MODELS.setdefault(version, {})[make.__name__] = make
        return make

    return take


def layers():
    return J.K.layers


def I(*shape, **kw):
    return J.K.Input(shape, **kw)


def M(inputs, outputs, **kw):
    return J.K.Model(inputs, outputs, **kw)


def S(*items, **kw):
    return J.K.Sequential(list(items), **kw)


def small(n=4, name=None):
    """A nested functional model from n to n."""
    L = layers()
    i = I(n)
    x = L.BatchNormalization()(L.Dense(3, activation="relu")(i))
    return M(i, L.Dense(n)(x), name=name)


@model()
def deep_nesting():
    L = layers()
    inner = S(I(4), L.Dense(4), small(), L.Dense(4))
    i = I(4)
    middle = M(i, L.Add()([inner(i), L.Dense(4)(i)]))
    outer = S(I(4), middle, L.BatchNormalization(), S(I(4), L.Dense(5), L.Dense(4)))
    j = I(4)
    return M(j, L.Dense(2)(outer(L.Dense(4)(j))))


@model()
def shared_across_models():
    L = layers()
    dense, norm = L.Dense(4, name="shared_dense"), L.BatchNormalization(name="shared_norm")
    i, j, k = I(4), I(4), I(4)
    a = M(i, norm(dense(i)), name="a")
    b = M(j, dense(norm(L.Dense(4)(j))), name="b")
    return M(k, L.Concatenate()([a(k), b(dense(k)), norm(k)]))


@model()
def nested_model_twice_and_inside():
    L = layers()
    core = small(name="core")
    i = I(4)
    wrap = M(i, L.Dense(4)(core(L.Dense(4)(i))), name="wrap")
    j = I(4)
    return M(j, [core(wrap(core(j))), wrap(j)])


@model()
def rnn_cell_lists():
    L = layers()
    i = I(5, 3)
    x = L.RNN([L.LSTMCell(4), L.GRUCell(3), L.SimpleRNNCell(2)], return_sequences=True)(i)
    x = L.RNN(L.StackedRNNCells([L.GRUCell(3, reset_after=False), L.LSTMCell(2, use_bias=False)]), return_sequences=True)(x)
    x = L.Bidirectional(L.RNN(L.LSTMCell(3)))(x)
    return M(i, L.Dense(2)(x))


@model()
def bidirectional_kinds():
    L = layers()
    i = I(5, 3)
    outs = []
    for mode in ("sum", "mul", "ave", "concat"):
        outs.append(L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode=mode)(i))
    both = L.Bidirectional(L.GRU(3), merge_mode=None)(i)
    other = L.Bidirectional(
        L.LSTM(3, return_sequences=True, name="fw"), backward_layer=L.LSTM(3, return_sequences=True, go_backwards=True, name="bw")
    )(i)
    return M(i, [L.Dense(2)(L.Concatenate()([*outs, other])), *both])


@model()
def time_distributed_kinds():
    L = layers()
    i = I(3, 6, 6, 2)
    x = L.TimeDistributed(L.Conv2D(3, 3))(i)
    x = L.TimeDistributed(S(I(4, 4, 3), L.Conv2D(2, 3, use_bias=False), L.BatchNormalization(), L.Flatten()))(x)
    j = I(8)
    inner = M(j, L.Dense(3)(L.Dense(5)(j)), name="per_step")
    x = L.TimeDistributed(inner)(x)
    y = L.TimeDistributed(L.TimeDistributed(L.Dense(2)))(L.Reshape((3, 3, 1))(x))
    return M(i, [x, y])


@model()
def bidirectional_in_time_distributed():
    L = layers()
    i = I(2, 4, 3)
    x = L.TimeDistributed(L.Bidirectional(L.LSTM(2, return_sequences=True)))(i)
    return M(i, L.TimeDistributed(L.GRU(3))(x))


@model()
def dict_inputs_and_outputs():
    L = layers()
    a, b = I(3, name="zz"), I(4, name="aa")
    x = L.Concatenate()([L.Dense(2, name="d_z")(a), L.Dense(3, name="d_a")(b)])
    outputs = {"second": L.Dense(1, name="o2")(x), "first": L.Dense(2, name="o1")(x)}
    return M({"zz": a, "aa": b}, outputs)


@model()
def frozen_parts():
    L = layers()
    inner = small(name="inner")
    inner.layers[1].trainable = False
    inner.trainable = False
    half = small(name="half")
    half.layers[1].trainable = False
    bn = L.BatchNormalization()
    bn.trainable = False
    i = I(4)
    return M(i, L.Dense(2)(bn(L.Dense(4, trainable=False)(half(inner(i))))))


@model()
def policies():
    L = layers()
    P = J.K.mixed_precision.Policy if J.V == 2 else J.K.dtype_policies.DTypePolicy
    i = I(4)
    x = L.Dense(3, dtype="float64")(i)
    x = L.Dense(3, dtype=P("mixed_float16"))(x)
    x = L.LayerNormalization(dtype="float32")(x)
    x = L.Dense(3, dtype=P("mixed_bfloat16"))(x)
    return M(i, L.Activation("linear", dtype="float32")(L.Dense(2, dtype="float32")(x)))


@model()
def attention_kinds():
    L = layers()
    i, j = I(5, 4), I(6, 4)
    x = L.MultiHeadAttention(2, 3, value_dim=4, output_shape=5, use_bias=False)(i, j)
    y = L.MultiHeadAttention(2, 3, attention_axes=(2,))(L.Reshape((5, 4, 1))(i), L.Reshape((5, 4, 1))(i))
    z = L.Attention(use_scale=True, score_mode="concat" if J.V == 3 else "dot")([i, j])
    w = L.AdditiveAttention()([i, j])
    return M([i, j], [x, L.Flatten()(y), z, L.Dense(2)(w)])


@model()
def convolutions():
    L = layers()
    i = I(8, 8, 4)
    x = L.Conv2D(6, (2, 3), groups=2, dilation_rate=2, padding="same")(i)
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = L.SeparableConv2D(4, 3, depth_multiplier=2, use_bias=False)(x)
    x = L.ZeroPadding2D()(L.Cropping2D(1)(L.UpSampling2D()(x)))
    y = L.Reshape((-1, 4))(x)
    y = L.Conv1D(3, 3, padding="causal")(y)
    y = L.SeparableConv1D(4, 3)(L.DepthwiseConv1D(2)(y))
    y = L.Conv1DTranspose(2, 3, strides=2)(y)
    k = I(4, 4, 4, 2)
    z = L.Conv3DTranspose(2, 2)(L.Conv3D(3, 2, groups=1)(k))
    return M([i, k], [L.GlobalMaxPooling2D()(x), L.GlobalAveragePooling1D()(y), L.Flatten()(z)])


@model()
def recurrent_options():
    L = layers()
    i = I(5, 3)
    h = L.Dense(4)(L.Flatten()(i))
    c = L.Dense(4)(L.Flatten()(i))
    seq, h1, c1 = L.LSTM(4, return_sequences=True, return_state=True, unit_forget_bias=False)(i, initial_state=[h, c])
    x, s = L.GRU(3, reset_after=False, use_bias=False, return_sequences=True, return_state=True)(seq)
    y = L.SimpleRNN(3, go_backwards=True, unroll=True)(x, initial_state=s)
    z = L.Bidirectional(L.LSTM(2, return_state=True))(seq)
    return M(i, [y, h1, c1, *z])


@model()
def conv_lstms():
    L = layers()
    i, j = I(3, 6, 2), I(3, 5, 5, 2)
    a = L.ConvLSTM1D(2, 3, return_sequences=True, use_bias=False)(i)
    b = L.Bidirectional(L.ConvLSTM2D(2, 3, padding="same"))(j)
    return M([i, j], [L.Flatten()(a), L.Flatten()(b)])


@model()
def inner_tensors():
    L = layers()
    i = I(4, name="whole_in")
    a = L.Dense(3, name="a")(i)
    b = L.Dense(3, name="b")(a)
    c = L.Dense(2, name="c")(L.Add(name="sum")([a, b]))
    M(i, c)
    tail = M([a, b], c, name="tail")
    j = I(3)
    return M(j, L.Dense(2)(tail([j, L.Dense(3)(j)])))


@model()
def only_inner_tensors():
    L = layers()
    i = I(4)
    a = L.Dense(3, name="a")(i)
    b = L.BatchNormalization(name="b")(a)
    return M(a, L.Dense(2, name="c")(b))


@model()
def operations():
    L, K = layers(), J.K
    i = I(5, 4)
    x = L.Dense(4)(i) + i * 2.0
    x = x[:, 1:, :]
    if J.V == 3:
        x = K.ops.concatenate([x, K.ops.relu(x)], axis=-1)
        x = K.ops.mean(x, axis=1)
    else:
        import tensorflow as tf

        x = tf.concat([x, tf.nn.relu(x)], axis=-1)
        x = tf.reduce_mean(x, axis=1)
    return M(i, L.Dense(2)(x))


@model()
def deferred_sequential():
    L = layers()
    inner = S(L.Dense(3), L.LayerNormalization())
    outer = S(L.Dense(4, activation="relu"), inner, L.Dense(2))
    outer.build((None, 5))
    return outer


@model()
def deferred_inside_functional():
    L = layers()
    inner = S(L.Dense(3), S(L.Dense(4), L.BatchNormalization()))
    i = I(5)
    return M(i, L.Dense(2)(inner(L.Dense(3)(inner(i)[:, :5] if J.V == 2 else i))) if J.V == 3 else L.Dense(2)(inner(i)))


@model()
def model_first():
    L = layers()
    return S(small(), L.Dense(3), small(3), L.Dense(1))


@model()
def many_outputs_nested():
    L = layers()
    i = I(4)
    x = L.Dense(3)(i)
    heads = M(i, [L.Dense(2)(x), L.Dense(3)(x), L.Dense(4)(i)], name="heads")
    j = I(4)
    a, _, c = heads(j)
    d, e, _ = heads(L.Dense(4)(j))
    return M(j, [L.Concatenate()([a, c, d]), e])


@model(3)  # Keras 2 refuses them
def strange_names():
    L = layers()
    i = I(4, name="in put")
    x = L.Dense(3, name="block 1.dense-α")(i)
    x = L.BatchNormalization(name="_private")(x)
    x = S(I(3), L.Dense(2, name="layers"), name="vars")(x)
    return M(i, L.Dense(2, name="Dense")(x), name="My Model")


@model()
def passthrough():
    L = layers()
    i, j = I(4), I(3)
    x = L.Dense(2)(i)
    return M([i, j], [x, j, L.Identity()(i) if hasattr(L, "Identity") else i])


@model()
def norms():
    L = layers()
    i = I(4, 6)
    x = L.BatchNormalization(axis=1, center=False)(i)
    x = L.LayerNormalization(axis=-1 if J.V == 2 else [1, 2], scale=False)(x)
    x = L.GroupNormalization(3)(x)
    x = L.UnitNormalization()(x)
    if J.V == 3:
        x = L.RMSNormalization()(x)
        x = L.SpectralNormalization(L.Dense(6), power_iterations=2)(x)
    x = L.Normalization(mean=[0.5] * 6, variance=[2.0] * 6)(x)
    return M(i, L.Dense(2)(x))


@model()
def adapted_preprocessing():
    L = layers()
    n = L.Normalization(axis=-1)
    n.adapt(np.arange(24, dtype="float32").reshape(6, 4))
    scalar = L.Normalization(axis=None)
    scalar.adapt(np.arange(24, dtype="float32").reshape(6, 4))
    d = L.Discretization(bin_boundaries=[-0.5, 0.0, 0.5])
    i = I(4)
    x = L.Concatenate()([n(i), scalar(i), L.Rescaling(2.0, offset=1.0)(i)])
    y = L.CategoryEncoding(num_tokens=4, output_mode="multi_hot")(d(i))
    return M(i, L.Dense(2)(L.Concatenate()([x, y])))


@model()
def weightless_zoo():
    L = layers()
    i = I(8, 8, 3)
    x = L.RandomRotation(0.1)(L.RandomFlip()(i))
    x = L.RandomZoom(0.1)(L.RandomContrast(0.1)(x))
    x = L.GaussianNoise(0.1)(L.Dropout(0.2)(L.SpatialDropout2D(0.1)(x)))
    x = L.MaxPooling2D(2)(L.AveragePooling2D(2, padding="same")(x))
    x = L.PReLU(shared_axes=[1, 2])(L.LeakyReLU()(L.ELU()(x)))
    x = L.Permute((3, 1, 2))(L.Resizing(4, 4)(x))
    y = L.Dot(axes=1)([L.Flatten()(x), L.Flatten()(x)])
    z = L.RepeatVector(3)(L.Dense(4)(L.Flatten()(x)))
    z = L.ActivityRegularization(0.1)(z)
    return M(i, [y, L.Minimum()([z, L.Softmax()(z)]), L.Masking()(z)])


@model()
def embeddings():
    L = layers()
    i = I(5, dtype="int32")
    shared = L.Embedding(11, 4, mask_zero=True, name="shared")
    x = L.LSTM(3)(shared(i))
    y = L.GlobalAveragePooling1D()(shared(i))
    return M(i, L.Dense(2)(L.Concatenate()([x, y])))


@model()
def einsums():
    L = layers()
    i = I(5, 4)
    x = L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de")(i)
    y = L.EinsumDense("abde,def->abf", output_shape=(None, 6), bias_axes="f")(x)
    z = L.EinsumDense("...x,xy->...y", output_shape=3)(y)
    return M(i, z)


@model()
def regularized():
    L, K = layers(), J.K
    i = I(4)
    x = L.Dense(
        3, kernel_regularizer=K.regularizers.L1L2(0.1, 0.2), bias_constraint=K.constraints.NonNeg(),
        kernel_initializer=K.initializers.VarianceScaling(2.0, "fan_out"), activity_regularizer="l2",
        kernel_constraint=K.constraints.MaxNorm(2.0), bias_initializer=K.initializers.Constant(0.5))(i)
    x = L.Dense(3, activation=L.LeakyReLU(0.1) if J.V == 3 else "swish", kernel_initializer="orthogonal")(x)
    return M(i, L.Dense(2, activation="softmax")(x))


@model()
def lambdas():
    L = layers()
    i = I(4)
    x = L.Lambda(lambda t: t * 2.0, output_shape=(4,))(i)
    return M(i, L.Dense(2)(L.Dense(3)(x)))


@model()
def list_of_lists():
    L = layers()
    a, b, c = I(2), I(3), I(4)
    x = L.Concatenate()([L.Dense(2)(a), L.Dense(2)(b), L.Dense(2)(c)])
    return M([[a, b], c] if J.V == 3 else [a, b, c], [L.Dense(1)(x), [L.Dense(2)(x)]] if J.V == 3 else L.Dense(1)(x))


@model(3)
def grouped_attention():
    L = layers()
    i = I(5, 6)
    x = L.GroupQueryAttention(3, 4, 2)(i, i)
    return M(i, L.Dense(2)(x))


@model(3)
def reversible():
    L = layers()
    i = I(5, dtype="int32")
    e = L.ReversibleEmbedding(9, 4, tie_weights=False)
    t = L.ReversibleEmbedding(9, 4)
    return M(i, [e(L.Dense(4)(e(i)), reverse=True), t(L.Dense(4)(t(i)), reverse=True)])


@model(3)
def quantized_int8():
    L = layers()
    i = I(6)
    inner = S(I(6), L.Dense(8, activation="relu"), L.Dense(6))
    m = M(i, L.Dense(3)(inner(L.EinsumDense("ab,bc->ac", output_shape=5, bias_axes="c")(i) if False else i)))
    m.quantize("int8")
    return m


@model(3)
def quantized_int4():
    L = layers()
    i = I(6)
    m = M(i, L.Dense(4)(L.Dense(8, activation="relu")(i)))
    m.quantize("int4")
    return m


@model(3)
def pipelines():
    L = layers()
    i = I(8, 8, 3)
    x = L.Pipeline([L.RandomBrightness(0.1), L.Rescaling(0.5)])(i)
    x = L.MaxNumBoundingBoxes(3)(x) if False else x
    return M(i, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


@model(2)
def keras2_only():
    L = layers()
    i, j = I(6, 3), I(6, 6, 2)
    a = L.LocallyConnected1D(2, 3)(i)
    b = L.LocallyConnected2D(2, 3)(j)
    return M([i, j], [L.Flatten()(a), L.Flatten()(b)])


@model(2)
def thresholds():
    L = layers()
    i = I(5, 4)
    x = L.ThresholdedReLU(0.1)(i)
    x = L.AlphaDropout(0.1)(L.GaussianDropout(0.1)(x))
    return M(i, L.Dense(2)(L.StackedRNNCells and L.GRU(3)(x)))


def custom_classes():
    """Classes that only this program knows: layers inside by attribute, in a list and in a dictionary, own weights."""
    L = layers()

    @J.K.saving.register_keras_serializable(package="Odd")
    class Block(L.Layer):
        def __init__(self, units=4, **kw):
            super().__init__(**kw)
            self.units = units
            self.attention = L.MultiHeadAttention(2, 3)
            self.stack = [L.Dense(units), L.LayerNormalization()]
            self.table = {"b": L.Dense(units), "a": L.Dense(units, use_bias=False)}

        def build(self, shape):
            self.gain = self.add_weight(name="gain", shape=(self.units,), initializer="ones")
            self.steps = self.add_weight(name="steps", shape=(), initializer="zeros", trainable=False)
            if J.V == 3:
                self.attention.build(shape, shape)
                for layer in [*self.stack, *self.table.values()]:
                    layer.build(shape)
            super().build(shape)

        def call(self, x):
            x = self.attention(x, x)
            for layer in [*self.stack, self.table["a"], self.table["b"]]:
                x = layer(x)
            return x * self.gain

        def compute_output_shape(self, shape):
            return shape

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return Block


@model()
def custom_composite():
    L = layers()
    block = custom_classes()
    i = I(5, 4)
    x = block(name="first")(L.Dense(4)(i))
    return M(i, L.Dense(2)(block(name="second")(x)))


@model()
def custom_in_sequential():
    L = layers()
    block = custom_classes()
    return S(I(5, 4), L.Conv1D(4, 2), block(), L.LSTM(3), L.Dense(2))
