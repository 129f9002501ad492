import type { Json } from "../config/json.ts";
import { snakeCase } from "../model/naming.ts";
import { withDim, type Dim, type Shape } from "../model/shape.ts";
import { makePart } from "./declared.ts";
import { defineLayer, type LayerDefinition, type Part, type ShapeContext } from "./definition.ts";
import { anything, flag, json, number, only, text, type Field, type Fields, type OptionsOf } from "./fields.ts";

/** Factors: Keras 3 stores one number as a range from 0 or from its negative. */
function range(low: "zero" | "negative", fallback?: Json): Field<Json, Json> {
  const spread = (value: Json): Json => (typeof value === "number" ? [low === "zero" ? 0 : -value, value] : value);
  const read = (value: Json, flavor: "keras2" | "keras3" | undefined): Json =>
    flavor === "keras2" ? value : spread(value);
  return {
    ...(fallback !== undefined && { fallback: spread(fallback) }),
    read: (value, { flavor }) => read(value as Json, flavor),
    write: (value) => value,
  };
}

/** Both Kerases store the brightness as a range. */
const otherRange: Field<Json, Json> = {
  read: (value) => (typeof value === "number" ? [-value, value] : (value as Json)),
  write: (value) => value,
};

const posterization: Field<Json, Json> = {
  read: (value) => (typeof value === "number" ? [1, value] : (value as Json)),
  write: (value) => value,
};

const format = only("keras3", text("channels_last"));
const generator = only("keras2", text("stateful"));
const seed = json<number | null>(null);
const pixels = anything([0, 255]);
const bilinear = text("bilinear");

function sized({ input, config }: ShapeContext<Fields>, height: Dim, width: Dim): Shape {
  const first = config["data_format"] === "channels_first";
  const [rows, columns] = first ? [-2, -1] : [-3, -2];
  return withDim(withDim(input, rows, height), columns, width);
}

function toSize(className: string, more: Fields, flavors?: readonly ("keras2" | "keras3")[]) {
  return defineLayer({
    className,
    ...(flavors && { flavors }),
    args: ["height", "width"],
    config: { height: number(), width: number(), data_format: format, ...more },
    outputShape: (context) =>
      sized(context as unknown as ShapeContext<Fields>, context.config.height, context.config.width),
  });
}

/** `Resizing`. */
export const resizing = toSize("Resizing", {
  interpolation: bilinear,
  crop_to_aspect_ratio: flag(false),
  pad_to_aspect_ratio: only("keras3", flag(false)),
  fill_mode: only("keras3", text("constant")),
  fill_value: only("keras3", number(0)),
  antialias: only("keras3", flag(false)),
});
/** `CenterCrop`. */
export const centerCrop = toSize("CenterCrop", {});
/** `RandomCrop`. */
export const randomCrop = toSize("RandomCrop", { seed, rng_type: generator });

function image(
  className: string,
  own: Fields,
  args: readonly string[] = [],
  flavors?: readonly ("keras2" | "keras3")[],
) {
  const config: Fields = { ...own, data_format: format };
  return defineLayer({ className, ...(flavors && { flavors }), args, config });
}

/** `RandomFlip`. */
export const randomFlip = image("RandomFlip", { mode: text("horizontal_and_vertical"), seed, rng_type: generator }, [
  "mode",
]);

const fill = { fill_mode: text("reflect"), fill_value: number(0), interpolation: bilinear, seed } as const;

/** `RandomTranslation`. */
export const randomTranslation = image(
  "RandomTranslation",
  { height_factor: json(), width_factor: json(), ...fill, rng_type: generator },
  ["height_factor", "width_factor"],
);
/** `RandomRotation`. */
export const randomRotation = image("RandomRotation", { factor: range("negative"), ...fill, rng_type: generator }, [
  "factor",
]);
/** `RandomZoom`. */
export const randomZoom = image(
  "RandomZoom",
  { height_factor: json(), width_factor: anything(), ...fill, rng_type: generator },
  ["height_factor", "width_factor"],
);
/** `RandomContrast`. */
export const randomContrast = image(
  "RandomContrast",
  { factor: range("zero"), value_range: only("keras3", pixels), seed, rng_type: generator },
  ["factor"],
);
/** `RandomBrightness`. */
export const randomBrightness = image(
  "RandomBrightness",
  { factor: otherRange, value_range: pixels, seed, rng_type: generator },
  ["factor"],
);

function scaling(className: string, axis: number) {
  return defineLayer({
    className,
    flavors: ["keras2"],
    args: ["factor"],
    config: { factor: json(), interpolation: bilinear, seed, rng_type: generator },
    outputShape: ({ input }) => withDim(input, axis, null),
  });
}

/** `RandomHeight` (Keras 2). */
export const randomHeight = scaling("RandomHeight", -3);
/** `RandomWidth` (Keras 2). */
export const randomWidth = scaling("RandomWidth", -2);

function keras3Image(className: string, config: Fields, args: readonly string[] = []) {
  return image(className, config, args, ["keras3"]);
}

const value = { value_range: pixels } as const;
const seeded = { value_range: pixels, seed } as const;

/** `AutoContrast`. */
export const autoContrast = keras3Image("AutoContrast", value);
/** `Equalization`. */
export const equalization = keras3Image("Equalization", { ...value, bins: number(256) });
/** `Solarization`. */
export const solarization = keras3Image("Solarization", {
  ...seeded,
  addition_factor: range("zero", 0),
  threshold_factor: range("zero", 0),
});
/** `RandomColorDegeneration`. */
export const randomColorDegeneration = keras3Image(
  "RandomColorDegeneration",
  { ...seeded, factor: range("negative") },
  ["factor"],
);
/** `RandomColorJitter`. */
export const randomColorJitter = keras3Image("RandomColorJitter", {
  ...seeded,
  brightness_factor: anything(),
  contrast_factor: anything(),
  saturation_factor: anything(),
  hue_factor: anything(),
});
/** `RandomErasing`. */
export const randomErasing = keras3Image("RandomErasing", {
  ...seeded,
  factor: range("zero", 1),
  scale: anything([0.02, 0.33]),
  fill_value: anything(),
});
/** `RandomGaussianBlur`. */
export const randomGaussianBlur = keras3Image("RandomGaussianBlur", {
  ...seeded,
  factor: range("zero", 1),
  kernel_size: anything([3, 3]),
  sigma: range("zero", 1),
});
/** `RandomGrayscale`. */
export const randomGrayscale = keras3Image("RandomGrayscale", { factor: anything(0.5) }, ["factor"]);
/** `RandomHue`. */
export const randomHue = keras3Image("RandomHue", { ...seeded, factor: range("zero") }, ["factor"]);
/** `RandomInvert`. */
export const randomInvert = keras3Image("RandomInvert", { ...seeded, factor: range("zero", 1) }, ["factor"]);
/** `RandomPerspective`. */
export const randomPerspective = keras3Image("RandomPerspective", {
  factor: range("zero", 1),
  scale: anything(1),
  interpolation: bilinear,
  fill_value: number(0),
  seed,
});
/** `RandomPosterization`. */
export const randomPosterization = keras3Image("RandomPosterization", { ...seeded, factor: posterization }, ["factor"]);
/** `RandomSaturation`. */
export const randomSaturation = keras3Image("RandomSaturation", { ...seeded, factor: otherRange }, ["factor"]);
/** `RandomSharpness`. */
export const randomSharpness = keras3Image("RandomSharpness", { ...seeded, factor: range("zero") }, ["factor"]);
/** `RandomShear`. */
export const randomShear = keras3Image("RandomShear", {
  x_factor: range("negative", 0),
  y_factor: range("negative", 0),
  ...fill,
});
/** `RandomElasticTransform`. */
export const randomElasticTransform = keras3Image("RandomElasticTransform", {
  ...fill,
  ...value,
  factor: range("zero", 1),
  scale: range("zero", 1),
});
/** `MixUp`. */
export const mixUp = keras3Image("MixUp", { alpha: number(0.2), seed }, ["alpha"]);
/** `CutMix`. */
export const cutMix = keras3Image("CutMix", { factor: range("zero", 1), seed }, ["factor"]);
/** The layers that the two mixtures choose from; each mixture makes them in an order of its own. */
function mixture(className: string, config: Fields, inside: readonly LayerDefinition[]) {
  return defineLayer({
    className,
    flavors: ["keras3"],
    config: { ...config, data_format: format },
    innerNames: inside.map((definition) => definition.className),
    parts: (context) =>
      inside.map((definition, i): Part => {
        const layer = makePart(definition, context, context.innerNames[i], mixtureOptions(definition));
        return {
          attr: snakeCase(definition.className),
          value: layer,
          build: ({ input }) => {
            layer.buildCalled({ inputs: input });
          },
        };
      }),
  });
}

/** What the layers inside need to be made at all; their strengths are chosen anew at every call. */
function mixtureOptions({ config }: LayerDefinition): OptionsOf<Fields> {
  const needed = Object.entries(config).filter(([, entry]) => entry.fallback === undefined);
  return Object.fromEntries(needed.map(([key]) => [key.replace(/_f/, "F"), 0.1])) as unknown as OptionsOf<Fields>;
}

/** `AugMix`. */
export const augMix = mixture(
  "AugMix",
  {
    ...seeded,
    num_chains: number(3),
    chain_depth: number(3),
    factor: range("zero", 0.3),
    alpha: number(1),
    all_ops: flag(true),
    interpolation: bilinear,
  },
  [
    randomShear,
    randomTranslation,
    randomRotation,
    solarization,
    randomPosterization,
    autoContrast,
    equalization,
    randomBrightness,
    randomColorDegeneration,
    randomContrast,
    randomSharpness,
  ],
);
/** `RandAugment`. */
export const randAugment = mixture(
  "RandAugment",
  { ...seeded, num_ops: number(2), factor: range("zero", 0.5), interpolation: bilinear },
  [
    randomShear,
    randomTranslation,
    randomRotation,
    randomBrightness,
    randomColorDegeneration,
    randomContrast,
    randomSharpness,
    solarization,
    randomPosterization,
    autoContrast,
    equalization,
  ],
);
/** `ContrastLimitedAdaptiveHistogramEqualization`. */
export const contrastLimitedAdaptiveHistogramEqualization = keras3Image(
  "ContrastLimitedAdaptiveHistogramEqualization",
  {
    ...value,
    clip_limit: number(4),
    tile_grid_size: anything([8, 8]),
  },
);
/** `MaxNumBoundingBoxes`. */
export const maxNumBoundingBoxes = keras3Image("MaxNumBoundingBoxes", { max_number: number() }, ["max_number"]);
