// A model of TensorFlow.js from a translated config, without the work of making initial values.
import { isList, isObject, type Json, type JsonObject } from "../config/json.ts";
import { WeightsError } from "../errors.ts";
import { checkAxes } from "./axes.ts";
import { registerLayers } from "./gru.ts";
import type { TfClass, TfModelLike, TfNamespaceLike } from "./structural.ts";

type FromConfig = (cls: object, config: object, customObjects: object, zeros: boolean) => object;

interface Serialization {
  readonly SerializationMap: {
    getMap(): { readonly classNameMap: Readonly<Record<string, readonly [object, FromConfig]>> };
  };
  readonly Serializable: new () => object;
  registerClass(cls: TfClass): unknown;
}

/** Stands around every model in a config. TensorFlow.js itself skips initializers only for files in its own format. */
const wrapper = "KerasWeightsModel";
const prepared = new WeakSet();

function registerWrapper(tf: TfNamespaceLike): void {
  const serialization = tf.serialization as Serialization;
  if (prepared.has(serialization)) return;

  class KerasWeightsModel extends serialization.Serializable {
    static readonly className: string = wrapper;

    static fromConfig(_cls: object, config: { model: { className: string; config: object } }): object {
      const { className, config: inner } = config.model;
      const found = serialization.SerializationMap.getMap().classNameMap[className];
      if (found === undefined)
        throw new WeightsError("ERR_WEIGHTS_INTERNAL", `TensorFlow.js lost its class ${className}`);
      const [cls, fromConfig] = found;
      return fromConfig(cls, inner, {}, true);
    }
  }
  serialization.registerClass(KerasWeightsModel);
  prepared.add(serialization);
}

const models = new Set(["Sequential", "Functional", "Model"]);

function wrapped(value: Json): Json {
  if (isList(value)) return value.map((item) => wrapped(item));
  if (!isObject(value)) return value;
  const inside = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, wrapped(item)]));
  if (typeof value["class_name"] !== "string" || !models.has(value["class_name"])) return inside;
  const { class_name: className, config, ...rest } = inside;
  const name = isObject(config ?? null) ? (config as JsonObject)["name"] : undefined;
  return {
    ...rest,
    class_name: wrapper,
    config: {
      ...(name === undefined ? {} : { name }),
      model: { class_name: className ?? null, config: config ?? null },
    },
  };
}

/** Makes the model; all its weights are zero. */
export async function buildModel(tf: TfNamespaceLike, topology: JsonObject): Promise<TfModelLike> {
  registerLayers(tf);
  registerWrapper(tf);
  let model: TfModelLike;
  try {
    model = (await tf.models.modelFromJSON(wrapped(topology) as never)) as TfModelLike;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WeightsError("ERR_WEIGHTS_UNSUPPORTED", `TensorFlow.js refuses this model: ${reason}`, { cause });
  }
  checkAxes(model);
  return model;
}
