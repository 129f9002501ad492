import { layers } from "../../ts/layers/index.ts";
import type { Flavor } from "../../ts/model/flavor.ts";
import { model } from "../../ts/model/functional.ts";
import { Layer } from "../../ts/model/layer.ts";
import { Model } from "../../ts/model/model.ts";
import { sequential } from "../../ts/model/sequential.ts";
import type { Shape, ShapeStructure } from "../../ts/model/shape.ts";
import type { Structure } from "../../ts/model/structure.ts";
import type { Symbolic } from "../../ts/model/symbolic.ts";

/** The models of `fixtures/generate/zoo.py` and `trees.py`, written in TypeScript. */
export type Builder = (flavor: Flavor) => Model;

class Block extends Layer {
  static override readonly className = "Block";
  readonly #n: number;
  dense: Layer;
  norms: Layer[];

  constructor(n: number) {
    super();
    this.#n = n;
    this.dense = layers.dense(n);
    this.norms = [layers.layerNormalization(), layers.layerNormalization()];
  }

  override build(inputShape: ShapeStructure): void {
    this.addWeight({ name: "scale", shape: [this.#n], initializer: "ones" });
    this.addWeight({ name: "counter", shape: [], initializer: "zeros", trainable: false });
    this.dense.build(inputShape);
    const inner = this.dense.computeOutputShape(inputShape) as Shape;
    for (const norm of this.norms) norm.build(inner);
  }

  override computeOutputShape(inputShape: ShapeStructure): ShapeStructure {
    return this.dense.computeOutputShape(inputShape);
  }
}

class Sub extends Model {
  static override readonly className = "Sub";
  zeta: Layer;
  alpha: Block;
  _private: Layer;
  stack: Layer[];
  table: Record<string, Layer>;

  constructor(flavor: Flavor) {
    super({ flavor });
    this.zeta = layers.dense(4, { name: "z_named" });
    this.alpha = new Block(3);
    this._private = layers.dense(3);
    this.stack = [layers.dense(3), layers.dense(3), layers.batchNormalization()];
    this.table = { b: layers.dense(2), a: new Block(2) };
  }

  override build(inputShape: ShapeStructure): void {
    this.addWeight({ name: "top", shape: [2], initializer: "ones" });
    super.build(inputShape);
  }

  override call(inputs: Structure<Symbolic>): Structure<Symbolic> {
    let x = this._private.apply(this.alpha.apply(this.zeta.apply(inputs)));
    for (const layer of this.stack) x = layer.apply(x);
    return this.table["a"]!.apply(this.table["b"]!.apply(x));
  }
}

class NC extends Model {
  static override readonly className = "NC";
  deep: [Layer[], { k: Layer[] }, Layer];

  constructor(flavor: Flavor) {
    super({ flavor });
    this.deep = [[layers.dense(3), layers.dense(3)], { k: [layers.dense(3)] }, layers.dense(2)];
  }

  override call(inputs: Structure<Symbolic>): Structure<Symbolic> {
    const [[first, second], { k }, last] = this.deep;
    return last.apply(k[0]!.apply(second!.apply(first!.apply(inputs))));
  }
}

class NL extends Model {
  static override readonly className = "NL";
  blocks: [Layer[], number[], [Layer, { z: Layer; a: Layer }]];
  pair: [Layer, Layer];
  last: Layer;
  same: Layer;

  constructor(flavor: Flavor) {
    super({ flavor, name: "nl" });
    const { dense, batchNormalization } = layers;
    this.blocks = [
      [dense(3), batchNormalization()],
      [1, 2],
      [dense(3), { z: batchNormalization(), a: dense(3) }],
    ];
    this.pair = [layers.dense(3), layers.batchNormalization()];
    this.last = layers.dense(2);
    this.same = this.last;
  }

  override call(inputs: Structure<Symbolic>): Structure<Symbolic> {
    const [first, , [third, table]] = this.blocks;
    const x = table.z.apply(table.a.apply(third.apply(first[1]!.apply(first[0]!.apply(inputs)))));
    return this.last.apply(this.pair[1].apply(this.pair[0].apply(x)));
  }
}

class FA extends Model {
  static override readonly className = "FA";
  alias: Layer;
  extra: Layer;

  constructor(flavor: Flavor) {
    const inputs = layers.input([4]);
    const d1 = layers.dense(3, { name: "d1" });
    const outputs = layers.dense(2, { name: "d2" }).apply(d1.apply(inputs));
    super({ inputs, outputs, name: "fa", flavor });
    this.alias = d1;
    this.extra = layers.dense(2, { name: "extra" });
    this.extra.build([null, 2]);
  }
}

class Many extends Layer {
  static override readonly className = "Many";

  override build(): void {
    for (let k = 0; k < 700; k += 1) {
      this.addWeight({ name: `${"w".repeat(92)}_${String(k).padStart(5, "0")}`, shape: [], initializer: "zeros" });
    }
  }
}

function subclassed(flavor: Flavor): Sub {
  const built = new Sub(flavor);
  built.build([2, 5]);
  return built;
}

function nestedFunctional(flavor: Flavor): Model {
  const inside = layers.input([4]);
  const { dense, batchNormalization, input } = layers;
  const pre = dense(5, { name: "pre" }).apply(inside);
  const deep = dense(3, { name: "deep" }).apply(batchNormalization({ name: "bn" }).apply(pre));
  const inner = model({ inputs: inside, outputs: deep, name: "inner", flavor });
  const chain = sequential([input([3]), dense(2, { name: "s0" }), dense(2)], { name: "inner_seq", flavor });
  const outside = input([4]);
  const x = chain.apply(inner.apply(dense(4, { name: "stem" }).apply(outside)));
  return model({ inputs: outside, outputs: dense(1, { name: "head" }).apply(x), name: "outer", flavor });
}

export const zoo: Readonly<Record<string, Builder>> = {
  mnist_dense: (flavor) =>
    sequential(
      [layers.input([784]), layers.dense(64, { activation: "relu" }), layers.dense(10, { activation: "softmax" })],
      {
        flavor,
      },
    ),
  offset_names: (flavor) => {
    for (let i = 0; i < 3; i += 1) layers.dense(1);
    layers.batchNormalization();
    return sequential([layers.input([5]), layers.dense(4), layers.batchNormalization(), layers.dense(3)], { flavor });
  },
  cnn_bn: (flavor) =>
    sequential(
      [
        layers.input([12, 12, 3]),
        layers.conv2d(6, 3, { name: "c1" }),
        layers.batchNormalization(),
        layers.relu(),
        layers.maxPooling2d(),
        layers.conv2d(4, 3, { useBias: false }),
        layers.batchNormalization(),
        layers.globalAveragePooling2d(),
        layers.dense(5),
      ],
      { flavor },
    ),
  lstm: (flavor) => {
    const inputs = layers.input([6], { dtype: "int32" });
    const embedded = layers.embedding(20, 5).apply(inputs);
    const sequence = layers.lstm(4, { returnSequences: true }).apply(embedded);
    const last = layers.lstm(3, { useBias: false, name: "lstm_nobias" }).apply(sequence);
    return model({ inputs, outputs: layers.dense(2).apply(last), flavor });
  },
  gru: (flavor) => {
    const inputs = layers.input([6, 5]);
    const sequence = layers.gru(4, { returnSequences: true, resetAfter: true }).apply(inputs);
    const last = layers.gru(3, { resetAfter: false }).apply(sequence);
    return model({ inputs, outputs: layers.dense(2).apply(last), flavor });
  },
  mha_transformer: (flavor) => {
    const { embedding, multiHeadAttention, layerNormalization, add, dense, dropout, globalAveragePooling1d } = layers;
    const inputs = layers.input([7], { dtype: "int32" });
    let x = embedding(30, 8, { name: "tok" }).apply(inputs);
    const a = multiHeadAttention({ numHeads: 2, keyDim: 4, valueDim: 3, name: "mha" }).apply(x, x);
    const norm = layerNormalization({ epsilon: 1e-6 });
    x = norm.apply(add().apply([x, a]));
    let f = dense(16, { activation: "gelu" }).apply(x);
    f = dense(8).apply(f);
    f = dropout(0.1, { seed: 11 }).apply(f);
    const second = layerNormalization({ epsilon: 1e-6 });
    x = second.apply(add().apply([x, f]));
    x = globalAveragePooling1d().apply(x);
    return model({ inputs, outputs: dense(3).apply(x), name: "transformer", flavor });
  },
  nested_functional: nestedFunctional,
  frozen_whole: (flavor) => {
    const frozen = nestedFunctional(flavor);
    frozen.trainable = false;
    return frozen;
  },
  frozen_mix: (flavor) => {
    const { dense, batchNormalization, input } = layers;
    const inside = input([4]);
    const pre = dense(5, { name: "pre" }).apply(inside);
    const deep = dense(3, { name: "deep" }).apply(batchNormalization({ name: "bn" }).apply(pre));
    const inner = model({ inputs: inside, outputs: deep, name: "inner", flavor });
    const inputs = input([4]);
    const head = dense(1, { name: "head" });
    const outputs = head.apply(inner.apply(batchNormalization({ name: "top_bn" }).apply(inputs)));
    const outer = model({ inputs, outputs, name: "outer", flavor });
    inner.getLayer("pre").trainable = false;
    outer.getLayer("top_bn").trainable = false;
    return outer;
  },
  shared_layers: (flavor) => {
    const shared = layers.dense(4, { name: "shared" });
    const a = layers.input([3], { name: "a" });
    const b = layers.input([3], { name: "b" });
    const x = layers.concatenate().apply([shared.apply(a), shared.apply(b)]);
    return model({ inputs: [a, b], outputs: layers.dense(2).apply(x), flavor });
  },
  norms: (flavor) => {
    const inputs = layers.input([6, 4]);
    const stack: Layer[] = [
      layers.batchNormalization({ axis: 1, name: "bn_axis1" }),
      layers.batchNormalization({ scale: false, name: "bn_noscale" }),
      layers.batchNormalization({ center: false, name: "bn_nocenter" }),
      layers.batchNormalization({ center: false, scale: false, name: "bn_none" }),
      layers.layerNormalization({ axis: flavor === "keras3" ? [1, 2] : -1, name: "ln_12" }),
      layers.layerNormalization({ center: false, name: "ln_nocenter" }),
      layers.groupNormalization(2, { name: "gn" }),
      layers.unitNormalization({ name: "un" }),
      layers.spectralNormalization(layers.dense(5, { name: "sn_dense" }), { powerIterations: 2, name: "sn" }),
      layers.prelu({ name: "prelu" }),
      layers.prelu({ sharedAxes: [1], name: "prelu_shared" }),
      ...(flavor === "keras3" ? [layers.rmsNormalization({ name: "rms" })] : []),
    ];
    const outputs = stack.reduce((x: Symbolic, layer) => layer.apply(x), inputs);
    return model({ inputs, outputs, flavor });
  },
  timedistributed_convlstm: (flavor) => {
    const { convLstm2d, timeDistributed, conv2d, batchNormalization, flatten, convLstm1d, reshape, dense } = layers;
    const inputs = layers.input([3, 6, 6, 2]);
    let x = convLstm2d(3, 3, { returnSequences: true }).apply(inputs);
    x = timeDistributed(conv2d(2, 2)).apply(x);
    x = timeDistributed(batchNormalization()).apply(x);
    x = timeDistributed(flatten()).apply(x);
    const last = convLstm1d(2, 3);
    x = last.apply(reshape([3, 6, 3]).apply(x));
    x = flatten().apply(x);
    return model({ inputs, outputs: dense(2).apply(x), flavor });
  },
  einsum_dense: (flavor) => {
    const inputs = layers.input([5, 4]);
    let x = layers.einsumDense("abc,cd->abd", [null, 6], { biasAxes: "d" }).apply(inputs);
    x = layers.einsumDense("abc,cde->abde", { outputShape: [null, 2, 3] }).apply(x);
    x = layers.reshape([30]).apply(x);
    return model({ inputs, outputs: layers.dense(1).apply(x), flavor });
  },
  dropout_seeds: (flavor) => {
    const inputs = layers.input([6, 6, 1]);
    let x = layers.gaussianNoise(0.1, { seed: 3 }).apply(inputs);
    x = layers.spatialDropout2d(0.2, { seed: 4 }).apply(x);
    x = layers.conv2d(2, 3).apply(x);
    x = layers.dropout(0.3, { seed: 5 }).apply(x);
    x = layers.flatten().apply(x);
    x = layers.alphaDropout(0.1, { seed: 6 }).apply(x);
    return model({ inputs, outputs: layers.dense(2).apply(x), flavor });
  },
  mixed_bfloat16: (flavor) =>
    sequential(
      [layers.input([5]), layers.dense(4, { dtype: "mixed_bfloat16" }), layers.dense(2, { dtype: "float32" })],
      { flavor },
    ),
  pure_bfloat16: (flavor) =>
    sequential(
      [
        layers.input([5]),
        layers.dense(4, { dtype: "bfloat16" }),
        layers.layerNormalization({ dtype: "bfloat16" }),
        layers.dense(2, { dtype: "float32" }),
      ],
      { flavor },
    ),
  float16_float64: (flavor) =>
    sequential([layers.input([5]), layers.dense(4, { dtype: "float16" }), layers.dense(2, { dtype: "float64" })], {
      flavor,
    }),
  compiled_adam: (flavor) =>
    sequential(
      [layers.input([5]), layers.dense(4, { activation: "relu" }), layers.batchNormalization(), layers.dense(1)],
      { flavor },
    ),
  rnn_cells: (flavor) => {
    const { rnn, lstmCell, gruCell, bidirectional, lstm, gru, dense } = layers;
    const inputs = layers.input([6, 5]);
    let x = rnn([lstmCell(4), gruCell(3), lstmCell(2)], { returnSequences: true }).apply(inputs);
    x = bidirectional(lstm(3, { returnSequences: true }), { name: "bi" }).apply(x);
    x = bidirectional(gru(2), { backwardLayer: lstm(2, { goBackwards: true }) }).apply(x);
    return model({ inputs, outputs: dense(2).apply(x), flavor });
  },
  subclassed,
  frozen_subclassed: (flavor) => {
    const frozen = subclassed(flavor);
    frozen.alpha.norms[1]!.trainable = false;
    frozen.stack[0]!.trainable = false;
    (frozen.table["a"] as Block).dense.trainable = false;
    return frozen;
  },
  nested_containers: (flavor) => {
    const built = new NC(flavor);
    built.build([2, 4]);
    return built;
  },
  nested_lists: (flavor) => {
    const built = new NL(flavor);
    built.build([2, 4]);
    return built;
  },
  functional_with_attrs: (flavor) => new FA(flavor),
  many_layers: (flavor) => {
    const inputs = layers.input([3]);
    const x = layers.dense(2, { name: "first_dense_layer_with_long_name" }).apply(inputs);
    const many = Array.from({ length: 2998 }, (_, k) =>
      layers.activation("linear", { name: `activation_layer_number_${String(k).padStart(5, "0")}` }).apply(x),
    );
    const sum = layers.add({ name: "add_everything" }).apply(many);
    const outputs = layers.dense(2, { name: "last_dense_layer_with_long_name" }).apply(sum);
    return model({ inputs, outputs, flavor });
  },
  many_weights: (flavor) => {
    const inputs = layers.input([3]);
    class Named extends Many {}
    return model({ inputs, outputs: new Named({ name: "many" }).apply(inputs), flavor });
  },
};
