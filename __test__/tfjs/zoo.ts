// Models that TensorFlow.js makes itself: every layer it has, in the options that change what is computed.
import { tf } from "./predictions.ts";

/** A model, or why Keras cannot have it. */
export interface ZooModel {
  readonly name: string;
  readonly make: () => tf.LayersModel;
  /** Which Keras refuses it, with a word of the reason. */
  readonly refused?: { readonly keras2?: RegExp; readonly keras3?: RegExp };
  /** Inputs are whole numbers below this. */
  readonly below?: number;
}

const l = tf.layers;
type Layer = tf.layers.Layer;
type Shape = (number | null)[];

const stack = (shape: Shape, ...layers: Layer[]): tf.LayersModel => {
  const input = tf.input({ shape });
  const output = layers.reduce((x, layer) => layer.apply(x) as tf.SymbolicTensor, input);
  return tf.model({ inputs: input, outputs: output });
};
const one = (name: string, shape: Shape, layer: () => Layer, more: Omit<ZooModel, "name" | "make"> = {}): ZooModel => ({
  name,
  make: () => stack(shape, layer()),
  ...more,
});
const both = (reason: RegExp): { keras2: RegExp; keras3: RegExp } => ({ keras2: reason, keras3: reason });
const merge = (name: string, layer: () => Layer): ZooModel => ({
  name,
  make: () => {
    const [a, b] = [tf.input({ shape: [3, 4] }), tf.input({ shape: [3, 4] })];
    return tf.model({ inputs: [a, b], outputs: layer().apply([a, b]) as tf.SymbolicTensor });
  },
});
// Keras' default; that of TensorFlow.js is another function in Keras 3.
const gates = { recurrentActivation: "sigmoid" } as const;

const activations = [
  ...["elu", "linear", "relu", "relu6", "selu", "sigmoid", "softmax", "softplus", "softsign", "tanh", "swish", "mish"],
  ...["gelu", "logSoftmax"],
] as const;

export const zoo: readonly ZooModel[] = [
  ...activations.map((activation) =>
    one(`dense_${activation}`, [6], () => l.dense({ units: 4, activation: activation as "relu" })),
  ),
  one("dense_hardSigmoid", [6], () => l.dense({ units: 4, activation: "hardSigmoid" }), {
    refused: { keras3: /relu6/u },
  }),
  one("dense_no_bias_regularized", [6], () =>
    l.dense({
      units: 4,
      useBias: false,
      kernelRegularizer: tf.regularizers.l1l2({ l1: 0.1, l2: 0.2 }),
      kernelConstraint: tf.constraints.maxNorm({ maxValue: 3 }),
      kernelInitializer: tf.initializers.varianceScaling({ scale: 2, mode: "fanOut", distribution: "normal", seed: 3 }),
    }),
  ),
  one("activation", [6], () => l.activation({ activation: "softplus" })),
  one("flatten", [3, 4], () => l.flatten()),
  one("flatten_first", [3, 4, 2], () => l.flatten({ dataFormat: "channelsFirst" })),
  one("reshape", [3, 4], () => l.reshape({ targetShape: [2, 6] })),
  one("permute", [3, 4, 2], () => l.permute({ dims: [3, 1, 2] })),
  one("repeat_vector", [4], () => l.repeatVector({ n: 3 })),
  one("embedding", [5], () => l.embedding({ inputDim: 7, outputDim: 3 }), { below: 7 }),
  ...(["valid", "same"] as const).flatMap((padding) => [
    one(`conv1d_${padding}`, [9, 3], () => l.conv1d({ filters: 4, kernelSize: 3, strides: 2, padding })),
    one(`conv2d_${padding}`, [9, 8, 3], () =>
      l.conv2d({ filters: 4, kernelSize: [3, 2], strides: [2, 1], padding, activation: "relu" }),
    ),
    one(`conv3d_${padding}`, [5, 6, 4, 2], () => l.conv3d({ filters: 3, kernelSize: 2, strides: 2, padding })),
    one(`conv2d_transpose_${padding}`, [4, 5, 3], () =>
      l.conv2dTranspose({ filters: 2, kernelSize: 3, strides: 2, padding }),
    ),
    one(`conv3d_transpose_${padding}`, [3, 4, 2, 2], () =>
      l.conv3dTranspose({ filters: 2, kernelSize: 2, strides: 2, padding }),
    ),
    one(`depthwise_${padding}`, [7, 6, 3], () =>
      l.depthwiseConv2d({ kernelSize: 3, depthMultiplier: 2, padding, depthwiseRegularizer: "l1l2" }),
    ),
    one(`separable_${padding}`, [7, 6, 3], () =>
      l.separableConv2d({ filters: 5, kernelSize: 3, depthMultiplier: 2, padding }),
    ),
    one(`max_pooling1d_${padding}`, [7, 3], () => l.maxPooling1d({ poolSize: 2, padding })),
    one(`average_pooling1d_${padding}`, [7, 3], () => l.averagePooling1d({ poolSize: 3, strides: 2, padding })),
    one(`max_pooling2d_${padding}`, [7, 6, 3], () => l.maxPooling2d({ poolSize: [2, 3], padding })),
    one(`average_pooling2d_${padding}`, [7, 6, 3], () => l.averagePooling2d({ poolSize: 2, strides: 1, padding })),
    one(`max_pooling3d_${padding}`, [5, 4, 6, 2], () => l.maxPooling3d({ poolSize: 2, padding })),
    one(`average_pooling3d_${padding}`, [5, 4, 6, 2], () => l.averagePooling3d({ poolSize: 2, padding })),
  ]),
  one("conv1d_dilated", [9, 3], () => l.conv1d({ filters: 4, kernelSize: 3, dilationRate: 2 })),
  one("conv2d_dilated", [9, 8, 3], () => l.conv2d({ filters: 4, kernelSize: 3, dilationRate: 2 })),
  one("depthwise_dilated", [9, 8, 3], () => l.depthwiseConv2d({ kernelSize: 3, dilationRate: 2 }), {
    refused: both(/dilation/u),
  }),
  one("global_max1d", [5, 3], () => l.globalMaxPooling1d()),
  one("global_average1d", [5, 3], () => l.globalAveragePooling1d()),
  one("global_max2d", [5, 4, 3], () => l.globalMaxPooling2d({})),
  one("global_average2d", [5, 4, 3], () => l.globalAveragePooling2d({})),
  one("zero_padding", [3, 4, 2], () =>
    l.zeroPadding2d({
      padding: [
        [1, 2],
        [0, 3],
      ],
    }),
  ),
  one("cropping", [6, 7, 2], () =>
    l.cropping2D({
      cropping: [
        [1, 2],
        [0, 3],
      ],
    }),
  ),
  one("up_sampling", [3, 4, 2], () => l.upSampling2d({ size: [2, 3] })),
  one("up_sampling_bilinear", [3, 4, 2], () => l.upSampling2d({ interpolation: "bilinear" }), {
    refused: both(/interpolation/u),
  }),
  one("batch_normalization", [4, 3], () => l.batchNormalization({ epsilon: 0.01 })),
  one("batch_normalization_plain", [4], () => l.batchNormalization({ center: false, scale: false })),
  one("batch_normalization_axis", [4, 5, 3], () => l.batchNormalization({ axis: 1 }), { refused: both(/last axis/u) }),
  one("layer_normalization", [4, 3], () => l.layerNormalization({ epsilon: 0.01 })),
  merge("add", () => l.add()),
  merge("multiply", () => l.multiply()),
  merge("average", () => l.average()),
  merge("maximum", () => l.maximum()),
  merge("minimum", () => l.minimum()),
  merge("concatenate", () => l.concatenate({ axis: 1 })),
  merge("dot", () => l.dot({ axes: 2 })),
  merge("dot_normalized", () => l.dot({ axes: [1, 1], normalize: true })),
  one("dropout", [4, 3], () => l.dropout({ rate: 0.4, noiseShape: [1, 3], seed: 2 })),
  one("alpha_dropout", [4], () => l.alphaDropout({ rate: 0.4 })),
  one("gaussian_dropout", [4], () => l.gaussianDropout({ rate: 0.4 })),
  one("gaussian_noise", [4], () => l.gaussianNoise({ stddev: 0.4 })),
  one("spatial_dropout", [4, 3], () => l.spatialDropout1d({ rate: 0.4 })),
  one("relu", [5], () => l.reLU({ maxValue: 0.3 })),
  one("leaky_relu", [5], () => l.leakyReLU({ alpha: 0.1 })),
  one("leaky_relu_default", [5], () => l.leakyReLU()),
  one("prelu", [5, 3], () => l.prelu({ sharedAxes: [1] })),
  one("elu", [5], () => l.elu()),
  one("thresholded_relu", [5], () => l.thresholdedReLU({ theta: 0.2 })),
  one("softmax", [5], () => l.softmax()),
  one("simple_rnn", [5, 3], () => l.simpleRNN({ units: 4 })),
  one("lstm", [5, 3], () => l.lstm({ units: 4, ...gates, returnSequences: true })),
  one("lstm_default", [5, 3], () => l.lstm({ units: 4 }), { refused: { keras3: /relu6/u } }),
  one("gru", [5, 3], () => l.gru({ units: 4, ...gates, goBackwards: true })),
  one("conv_lstm", [3, 5, 5, 2], () => l.convLstm2d({ filters: 2, kernelSize: 3, ...gates })),
  one("rnn_of_cell", [5, 3], () => l.rnn({ cell: l.lstmCell({ units: 4, ...gates }) })),
  one("rnn_of_cells", [5, 3], () =>
    l.rnn({
      cell: [l.gruCell({ units: 4, ...gates }), l.simpleRNNCell({ units: 2 })],
      returnSequences: true,
    }),
  ),
  one("bidirectional", [5, 3], () =>
    l.bidirectional({ layer: l.lstm({ units: 2, ...gates, returnSequences: true }), mergeMode: "sum" }),
  ),
  one("bidirectional_concat", [5, 3], () =>
    l.bidirectional({ layer: l.gru({ units: 2, ...gates }), mergeMode: "concat" }),
  ),
  one("time_distributed", [5, 3], () => l.timeDistributed({ layer: l.dense({ units: 2 }) })),
  one("masking", [5, 3], () => l.masking({ maskValue: 0 })),
  {
    name: "masked",
    make: () => stack([5], l.embedding({ inputDim: 7, outputDim: 3, maskZero: true }), l.lstm({ units: 2, ...gates })),
    below: 7,
  },
  {
    name: "masked_average",
    make: () => stack([5], l.embedding({ inputDim: 7, outputDim: 3, maskZero: true }), l.globalAveragePooling1d()),
    below: 7,
    refused: both(/masked steps/u),
  },
  one("rescaling", [4, 4, 3], () => l.rescaling({ scale: 0.1, offset: -1 })),
  one("resizing", [4, 4, 3], () => l.resizing({ height: 3, width: 5 }), { refused: both(/places the pixels/u) }),
  one("center_crop", [6, 6, 3], () => l.centerCrop({ height: 3, width: 3 }), { refused: both(/places the crop/u) }),
  one("category_encoding", [6], () => l.categoryEncoding({ numTokens: 6 }), { refused: both(/shape of its input/u) }),
  {
    name: "states",
    make: (): tf.LayersModel => {
      const [x, y] = [tf.input({ shape: [5, 3] }), tf.input({ shape: [4, 3] })];
      const first = l.lstm({ units: 4, ...gates, returnState: true }).apply(x) as tf.SymbolicTensor[];
      const second = l.lstm({ units: 4, ...gates }).apply(y, { initialState: first.slice(1) }) as tf.SymbolicTensor;
      return tf.model({ inputs: [x, y], outputs: [second, first[0]!] });
    },
  },
  {
    name: "shared",
    make: (): tf.LayersModel => {
      const [x, y] = [tf.input({ shape: [3] }), tf.input({ shape: [3] })];
      const layer = l.dense({ units: 4, activation: "tanh" });
      const both = [layer.apply(x), layer.apply(y)] as tf.SymbolicTensor[];
      return tf.model({ inputs: [x, y], outputs: l.concatenate().apply(both) as tf.SymbolicTensor });
    },
  },
  {
    name: "nested",
    make: (): tf.LayersModel => {
      const inner = tf.sequential({
        layers: [l.dense({ units: 4, inputShape: [3], activation: "relu" }), l.batchNormalization()],
      });
      const [x, y] = [tf.input({ shape: [3] }), tf.input({ shape: [3] })];
      const deeper = tf.model({ inputs: x, outputs: inner.apply(x) as tf.SymbolicTensor });
      const joined = l.add().apply([deeper.apply(y), inner.apply(y)] as tf.SymbolicTensor[]) as tf.SymbolicTensor;
      return tf.model({ inputs: y, outputs: l.dense({ units: 2 }).apply(joined) as tf.SymbolicTensor });
    },
  },
  {
    name: "sequential_nested",
    make: () =>
      tf.sequential({
        layers: [
          tf.sequential({ layers: [l.dense({ units: 4, inputShape: [3] }), l.leakyReLU({ alpha: 0.2 })] }),
          l.dense({ units: 2, trainable: false }),
        ],
      }),
  },
  {
    name: "whole_numbers_in",
    make: (): tf.LayersModel => {
      const [x, y] = [tf.input({ shape: [4], dtype: "int32" }), tf.input({ shape: [4, 2] })];
      const e = l.embedding({ inputDim: 5, outputDim: 2 }).apply(x) as tf.SymbolicTensor;
      return tf.model({ inputs: [x, y], outputs: l.add().apply([e, y]) as tf.SymbolicTensor });
    },
    below: 5,
  },
];

/** Numbers that are the same in every run. */
export function numbers(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Gives all weights values that no initializer gives: variances are positive. */
export function fill(model: tf.LayersModel): void {
  const walk = (layer: { weights: readonly tf.LayerVariable[]; layers?: unknown }): tf.LayerVariable[] =>
    Array.isArray(layer.layers) ? (layer.layers as (typeof layer)[]).flatMap(walk) : [...layer.weights];
  [...new Set(walk(model))].forEach((weight, index) => {
    const shape = weight.shape as number[];
    const values = numbers(
      shape.reduce((size, dim) => size * dim, 1),
      1000 + index,
    );
    const positive = weight.originalName.endsWith("moving_variance");
    weight.write(tf.tensor(positive ? values.map((value) => 1 + value / 2) : values.map((v) => v / 2), shape));
  });
}

/** A tensor as plain data. */
export interface Values {
  readonly shape: number[];
  readonly values: Float32Array;
}

/** Inputs for a model, as plain arrays. */
export function inputsOf(model: tf.LayersModel, below?: number): Values[] {
  return model.inputs.map((input, index) => {
    const shape = [2, ...input.shape.slice(1).map((dim) => dim ?? 3)];
    const values = numbers(
      shape.reduce((size, dim) => size * dim, 1),
      7 + index,
    );
    const whole = below !== undefined && (index === 0 || input.dtype === "int32");
    return { shape, values: whole ? values.map((value) => Math.floor(((value + 1) / 2) * below)) : values };
  });
}

/** What a model predicts. */
export function predicted(model: tf.LayersModel, inputs: readonly Values[]): Values[] {
  return tf.tidy(() => {
    const tensors = inputs.map(({ shape, values }, index) => tf.tensor(values, shape, model.inputs[index]!.dtype));
    const result = model.predict(tensors.length === 1 ? tensors[0]! : tensors);
    return (Array.isArray(result) ? result : [result]).map((tensor) => ({
      shape: [...tensor.shape],
      values: Float32Array.from(tensor.dataSync()),
    }));
  });
}
