import { isObject, type Json, type JsonObject } from "../config/json.ts";
import type { DType } from "../tensor.ts";
import { Layer, type LayerOptions } from "../model/layer.ts";
import { snakeCase } from "../model/naming.ts";

/** A weight that a file has and no definition tells of. */
export interface AdoptedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly trainable?: boolean;
}

/**
 * A layer of a class that nobody declared, as a config names it. It is data: its code is never run. Its weights are
 * unknown until a file or a definition (`registerLayer`) tells them.
 */
export class UnknownLayer extends Layer {
  static override readonly className: string = "Layer";
  readonly #className: string;
  readonly #config: JsonObject;
  #adopted = false;

  constructor(className: string, config: JsonObject, options: LayerOptions) {
    const prefix = { prefix: snakeCase(className) };
    super(options, { keras2: prefix, keras3: prefix });
    this.#className = className;
    this.#config = config;
  }

  override get className(): string {
    return this.#className;
  }

  /** Whether its weights are known. */
  get hasWeights(): boolean {
    return this.#adopted;
  }

  /** @internal Takes over weights that a file has for it. */
  adopt(weights: readonly AdoptedWeight[]): void {
    this.#adopted = true;
    this.runBuild({}, () => {
      for (const { name, shape, dtype, trainable = true } of weights) {
        this.addWeight({ name, shape, dtype, trainable, initializer: "zeros" });
      }
    });
  }

  override build(): void {
    // What it makes of a shape is not known.
  }

  override getConfig(): JsonObject {
    return this.#config;
  }
}

/** A bare operation in a graph (`x + y`, `keras.ops…`): no weights, and in Keras 3 no layer either. */
export class OperationLayer extends UnknownLayer {
  override get hasWeights(): boolean {
    return true;
  }
}

/** Whether a config entry names an operation and no layer. */
export function isOperation(entry: JsonObject): boolean {
  const { module, class_name: className } = entry;
  if (typeof module === "string" && module.startsWith("keras.src.ops.")) return true;
  return (
    className === "TFOpLambda" ||
    className === "SlicingOpLambda" ||
    className === "ClassMethod" ||
    className === "TensorFlowOpLayer" ||
    className === "InstanceMethod" ||
    className === "InstanceProperty"
  );
}

/** A JSON value as a config, `{}` when it is none. */
export function configOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}
