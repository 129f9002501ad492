import { describe as suite, expect, it } from "vitest";

import { modernLayer } from "../../ts/config/keras1.ts";
import { modelFromConfig } from "../../ts/config/read.ts";
import { clearSession } from "../../ts/model/naming.ts";

suite("configs of Keras 1", () => {
  const cases: [string, object, string, object][] = [
    [
      "Dense",
      { output_dim: 4, init: "uniform", bias: false },
      "Dense",
      { units: 4, kernel_initializer: "uniform", use_bias: false },
    ],
    [
      "Convolution2D",
      { nb_filter: 4, nb_row: 3, nb_col: 5, border_mode: "same", subsample: [2, 2], dim_ordering: "th" },
      "Conv2D",
      { filters: 4, kernel_size: [3, 5], padding: "same", strides: [2, 2], data_format: "channels_first" },
    ],
    [
      "Convolution1D",
      { nb_filter: 4, filter_length: 3, subsample_length: 2 },
      "Conv1D",
      { filters: 4, kernel_size: 3, strides: 2 },
    ],
    [
      "MaxPooling1D",
      { pool_length: 2, stride: 2, border_mode: "valid" },
      "MaxPooling1D",
      { pool_size: 2, strides: 2, padding: "valid" },
    ],
    ["UpSampling1D", { length: 3 }, "UpSampling1D", { size: 3 }],
    ["Dropout", { p: 0.25 }, "Dropout", { rate: 0.25 }],
    [
      "Embedding",
      { input_dim: 5, output_dim: 3, init: "normal" },
      "Embedding",
      { input_dim: 5, output_dim: 3, embeddings_initializer: "normal" },
    ],
    [
      "LSTM",
      {
        output_dim: 4,
        inner_init: "orthogonal",
        forget_bias_init: "one",
        inner_activation: "hard_sigmoid",
        dropout_U: 0.1,
      },
      "LSTM",
      {
        units: 4,
        recurrent_initializer: "orthogonal",
        forget_bias_init: "one",
        recurrent_activation: "hard_sigmoid",
        recurrent_dropout: 0.1,
        unit_forget_bias: true,
      },
    ],
    ["GRU", { units: 4, implementation: 1 }, "GRU", { units: 4, implementation: 1, reset_after: false }],
    [
      "GRU",
      { units: 4, implementation: 1, reset_after: true },
      "GRU",
      { units: 4, implementation: 1, reset_after: true },
    ],
    ["Merge", { name: "m", mode: "concat", concat_axis: 1 }, "Concatenate", { name: "m", trainable: true, axis: 1 }],
    [
      "TimeDistributedDense",
      { name: "t", output_dim: 3 },
      "TimeDistributed",
      { name: "t", trainable: true, layer: { class_name: "Dense", config: { output_dim: 3 } } },
    ],
    ["Conv2D", { filters: 4, kernel_size: [3, 3] }, "Conv2D", { filters: 4, kernel_size: [3, 3] }],
  ];
  for (const [className, config, modern, entries] of cases) {
    it(`${className} ${JSON.stringify(config).slice(0, 60)}`, () => {
      const inbound = className === "Merge" ? { inbound_nodes: [] } : {};
      expect(modernLayer({ class_name: className, config: config as never, ...inbound })).toEqual({
        class_name: modern,
        config: entries,
        ...inbound,
      });
    });
  }

  it("a list of layers is a Sequential model whose first layer tells the input shape", () => {
    clearSession();
    const model = modelFromConfig({
      class_name: "Sequential",
      keras_version: "1.2.2",
      config: [
        {
          class_name: "Convolution2D",
          config: {
            name: "convolution2d_1",
            trainable: true,
            batch_input_shape: [null, 8, 8, 1],
            input_dtype: "float32",
            nb_filter: 2,
            nb_row: 3,
            nb_col: 3,
            init: "glorot_uniform",
            activation: "relu",
            border_mode: "valid",
            subsample: [1, 1],
            dim_ordering: "tf",
            W_regularizer: null,
            bias: true,
          },
        },
        { class_name: "Flatten", config: { name: "flatten_1", trainable: true } },
        {
          class_name: "Dense",
          config: {
            name: "dense_1",
            trainable: true,
            output_dim: 3,
            init: "glorot_uniform",
            input_dim: null,
            bias: true,
          },
        },
      ],
    });
    expect(model.flavor).toBe("keras2");
    expect(model.weights.map(({ name, shape }) => [name, shape])).toEqual([
      ["convolution2d_1/kernel:0", [3, 3, 1, 2]],
      ["convolution2d_1/bias:0", [2]],
      ["dense_1/kernel:0", [72, 3]],
      ["dense_1/bias:0", [3]],
    ]);
  });

  it("a graph of layers with a Merge", () => {
    clearSession();
    const input = (name: string) => ({
      class_name: "InputLayer",
      name,
      inbound_nodes: [],
      config: { name, batch_input_shape: [null, 4], input_dtype: "float32", sparse: false },
    });
    const model = modelFromConfig({
      class_name: "Model",
      keras_version: "1.2.2",
      config: {
        name: "model_1",
        layers: [
          input("a"),
          input("b"),
          {
            class_name: "Dense",
            name: "shared",
            config: { name: "shared", trainable: true, output_dim: 3, bias: false },
            inbound_nodes: [[["a", 0, 0]], [["b", 0, 0]]],
          },
          {
            class_name: "Merge",
            name: "merge_1",
            config: { name: "merge_1", mode: "concat", mode_type: "raw", concat_axis: -1, dot_axes: -1 },
            inbound_nodes: [
              [
                ["shared", 0, 0],
                ["shared", 1, 0],
              ],
            ],
          },
        ],
        input_layers: [
          ["a", 0, 0],
          ["b", 0, 0],
        ],
        output_layers: [["merge_1", 0, 0]],
      },
    });
    expect(model.outputShape).toEqual([null, 6]);
    expect(model.layers.map((layer) => layer.className)).toEqual(["InputLayer", "InputLayer", "Dense", "Concatenate"]);
    expect(model.weights.map(({ name }) => name)).toEqual(["shared/kernel:0"]);
  });

  it("says that the branches of an old Sequential model cannot be read", () => {
    const branches = { class_name: "Merge", config: { name: "m", mode: "sum", layers: [{}] } };
    expect(() => modernLayer(branches)).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_CONFIG" }) as Error);
  });
});
