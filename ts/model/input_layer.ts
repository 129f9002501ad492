import type { Json, JsonObject } from "../config/json.ts";
import type { Flavor } from "./flavor.ts";
import { Layer } from "./layer.ts";
import type { ObjectName } from "./naming.ts";
import type { Shape } from "./shape.ts";
import { Symbolic } from "./symbolic.ts";

/** What an input may be given. */
export interface InputOptions {
  /** Keras' layer name; absent: `input_layer` or `input_1`, by flavour. */
  readonly name?: string | undefined;
  /** Keras' dtype name; `float32` when absent. */
  readonly dtype?: string | undefined;
  /** The batch's length, when it is fixed. */
  readonly batchSize?: number | undefined;
  readonly sparse?: boolean | undefined;
  readonly ragged?: boolean | undefined;
  /** Whether the input may be left out. */
  readonly optional?: boolean | undefined;
  readonly flavor?: Flavor | undefined;
}

const prefixes = { keras2: { prefix: "input", fromOne: true }, keras3: { prefix: "input_layer" } };

/** Where a model's data comes in. It has no weights; its shape is the model's input shape. */
export class InputLayer extends Layer {
  static override readonly className: string = "InputLayer";
  /** Its shape with the batch. */
  readonly #batchShape: Shape;
  readonly #options: InputOptions;

  constructor(batchShape: Shape, options: InputOptions = {}, name?: ObjectName) {
    super({ name: options.name, flavor: options.flavor }, name ?? prefixes);
    this.#batchShape = batchShape;
    this.#options = options;
    this.runBuild({ inputs: batchShape }, () => undefined);
    this.applyNode([], {});
  }

  /** Its shape with the batch. */
  get batchShape(): Shape {
    return this.#batchShape;
  }

  /** The tensor it stands for. */
  get output(): Symbolic {
    return this.nodes[0]?.outputs[0] ?? new Symbolic(this.#batchShape, "float32");
  }

  /** @internal */
  override outputs(): Symbolic {
    return new Symbolic(this.#batchShape, this.#options.dtype ?? "float32");
  }

  /** @internal */
  override pythonModule(): string {
    return "keras.layers";
  }

  override getConfig(): JsonObject {
    const { dtype = "float32", sparse = false, ragged = false, optional = false } = this.#options;
    const shape: Json = [...this.#batchShape];
    const key = this.flavor === "keras2" ? "batch_input_shape" : "batch_shape";
    return { [key]: shape, dtype, sparse, ragged, name: this.name, optional };
  }
}
