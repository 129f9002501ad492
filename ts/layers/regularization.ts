import { defineLayer } from "./definition.ts";
import { json, nullable, number } from "./fields.ts";

/** `Dropout`. */
export const dropout = defineLayer({
  className: "Dropout",
  args: ["rate"],
  config: { rate: number(), seed: nullable(number()), noise_shape: json(null) },
});
