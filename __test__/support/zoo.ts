/** The models of the corpus: from their config where Keras wrote one, else as TypeScript classes. */
import {
  clearSession,
  Layer,
  layers,
  Model,
  model as functional,
  modelFromConfig,
  sequential,
  type Shape,
  type Structure,
  type Symbolic,
  type Variable,
} from "keras-weights";
import { configOf, type Flavor, type Sample } from "./corpus.ts";

const many = 700;

class Many extends Layer {
  static override readonly className = "Many";
  override build(): void {
    for (let k = 0; k < many; k += 1) {
      this.addWeight({ name: `${"w".repeat(92)}_${String(k).padStart(5, "0")}`, shape: [], initializer: "zeros" });
    }
  }
}

class Block extends Layer {
  static override readonly className = "Block";
  readonly n: number;
  readonly dense: Layer;
  readonly norms: Layer[];
  scale: Variable | undefined;
  counter: Variable | undefined;

  constructor(n: number) {
    super();
    this.n = n;
    this.dense = layers.dense(n);
    this.norms = [layers.layerNormalization(), layers.layerNormalization()];
  }

  override build(inputShape: Shape): void {
    this.scale = this.addWeight({ name: "scale", shape: [this.n], initializer: "ones" });
    this.counter = this.addWeight({ name: "counter", shape: [], initializer: "zeros", trainable: false });
    this.dense.build(inputShape);
    for (const norm of this.norms) norm.build([...inputShape.slice(0, -1), this.n]);
  }

  override computeOutputShape(inputShape: Shape): Shape {
    return [...inputShape.slice(0, -1), this.n];
  }
}

class Sub extends Model {
  static override readonly className = "Sub";
  readonly zeta = layers.dense(4, { name: "z_named" });
  readonly alpha = new Block(3);
  readonly _private = layers.dense(3);
  readonly stack = [layers.dense(3), layers.dense(3), layers.batchNormalization()];
  readonly table = { b: layers.dense(2), a: new Block(2) };
  top: Variable | undefined;

  override build(inputShape: Shape): void {
    this.top = this.addWeight({ name: "top", shape: [2], initializer: "ones" });
    super.build(inputShape);
  }

  override call(x: Structure<Symbolic>): Structure<Symbolic> {
    let y = this._private.apply(this.alpha.apply(this.zeta.apply(x)));
    for (const layer of this.stack) y = layer.apply(y);
    return this.table.a.apply(this.table.b.apply(y));
  }
}

class NC extends Model {
  static override readonly className = "NC";
  readonly deep = [[layers.dense(3), layers.dense(3)], { k: [layers.dense(3)] }, layers.dense(2)] as const;

  override call(x: Structure<Symbolic>): Structure<Symbolic> {
    const [[first, second], { k }, last] = this.deep;
    return last.apply(k[0].apply(second.apply(first.apply(x))));
  }
}

class FA extends Model {
  static override readonly className = "FA";
  readonly alias: Layer;
  readonly extra: Layer;

  constructor(flavor: Flavor) {
    const inputs = layers.input([4]);
    const d1 = layers.dense(3, { name: "d1" });
    super({ inputs, outputs: layers.dense(2, { name: "d2" }).apply(d1.apply(inputs)), name: "fa", flavor });
    this.alias = d1;
    this.extra = layers.dense(2, { name: "extra" });
    this.extra.build([null, 2]);
  }
}

const classes: Record<string, (flavor: Flavor) => Model> = {
  many_weights: (flavor) => {
    const inputs = layers.input([3]);
    return functional({ inputs, outputs: new Many({ name: "many" }).apply(inputs), flavor });
  },
  subclassed: (flavor) => {
    const built = new Sub({ flavor });
    built.build([null, 5]);
    return built;
  },
  nested_containers: (flavor) => {
    const built = new NC({ flavor });
    built.build([null, 4]);
    return built;
  },
  functional_with_attrs: (flavor) => new FA(flavor),
};

/** Whether the model of a sample can be had; text_vectorization has no HDF5 file of its own and comes with archives. */
export function canBuild(sample: Sample): boolean {
  return sample.model in classes || configOf(sample) !== undefined;
}

/** A fresh model of a sample. */
export function buildSample(sample: Sample): Model {
  const make = classes[sample.model];
  // Automatic names begin anew, as in the fresh session in which Keras made the sample.
  clearSession();
  if (make !== undefined) return make(sample.flavor);
  const config = configOf(sample);
  if (config === undefined) throw new Error(`${sample.id} has neither a config nor a class here`);
  return modelFromConfig(config);
}

/** The models of ../fixtures/generate/keras1.py whose config was not recorded because tf_keras raised. */
export function kerasOneModel(name: string): Model {
  const options = { name: "lay" };
  const kinds: [pattern: RegExp, input: number[], layer: () => Layer][] = [
    [/_conv1d/, [8, 2], () => layers.conv1d(5, 3, options)],
    [/_conv2d_cf/, [2, 8, 8], () => layers.conv2d(5, 3, { ...options, dataFormat: "channels_first" })],
    [/_conv2d_/, [8, 8, 2], () => layers.conv2d(5, 3, options)],
    [/_conv2dT_cf/, [2, 8, 8], () => layers.conv2dTranspose(5, 3, { ...options, dataFormat: "channels_first" })],
    [/_conv2dT_cl/, [8, 8, 2], () => layers.conv2dTranspose(5, 3, options)],
    [/_conv3d_cf/, [2, 4, 4, 4], () => layers.conv3d(5, 3, { ...options, dataFormat: "channels_first" })],
    [/_gru9_reset_after|^gru_noreset_to_reset|^cudnn_gru_to_gru$/, [5, 3], () => layers.gru(4, options)],
    [/_gru9|noreset$/, [5, 3], () => layers.gru(4, { ...options, resetAfter: false })],
    [/_bi_lstm24/, [5, 3], () => layers.bidirectional(layers.lstm(4), options)],
    [/_convlstm12/, [3, 5, 5, 2], () => layers.convLstm2d(4, 2, options)],
    [/_td_conv1d/, [4, 8, 2], () => layers.timeDistributed(layers.conv1d(5, 3), options)],
    [/lstm/, [5, 3], () => layers.lstm(4, options)],
  ];
  const kind = kinds.find(([pattern]) => pattern.test(name));
  if (kind === undefined) throw new Error(`no model for the case ${name}`);
  return sequential([layers.input(kind[1]), kind[2]()], { flavor: "keras2" });
}
