import { fail } from "../model/failure.ts";
import { shapeText, type Dim, type Shape } from "../model/shape.ts";
import { defineLayer, weight } from "./definition.ts";
import { anything, activation, initializer, json, modifier, nullable, number, omitNull, only, text } from "./fields.ts";

/** What an einsum equation says of the weights. */
export interface EinsumShapes {
  readonly kernel: readonly number[];
  readonly bias: readonly number[] | undefined;
  /** The output as far as the config tells it. */
  readonly open: Shape;
  /** The output with what the input tells of it. */
  readonly output: Shape;
  /** Axes of the kernel that are summed over. */
  readonly reduced: readonly number[];
}

/** Splits `...ab,bc->...ac` into its three terms; the dots may stand on the left or on the right. */
export function splitEquation(equation: string): { input: string; kernel: string; output: string; left: boolean } {
  const plain = /^([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)$/.exec(equation);
  const left = /^\.\.\.([a-zA-Z]+),([a-zA-Z]+)->\.\.\.([a-zA-Z]+)$/.exec(equation);
  const right = /^([a-zA-Z]{2,})\.\.\.,([a-zA-Z]+)->([a-zA-Z]+)\.\.\.$/.exec(equation);
  const [, input = "", kernel = "", output = ""] =
    plain ?? left ?? right ?? fail("ERR_WEIGHTS_CONFIG", `EinsumDense does not understand the equation "${equation}"`);
  return { input, kernel, output, left: left !== null };
}

/** Shapes of kernel, bias and output, by Keras' rules for the equation. */
export function einsumShapes(
  equation: string,
  biasAxes: string | null,
  inputShape: Shape,
  outputShape: readonly Dim[],
): EinsumShapes {
  const { input, kernel, output, left } = splitEquation(equation);
  const elided = Math.max(0, inputShape.length - input.length);
  const known: Dim[] = [inputShape[0] ?? null, ...outputShape];
  if (left && elided > 0) known.splice(1, 0, ...inputShape.slice(1, elided).reverse());
  else if (elided > 0) known.push(...inputShape.slice(inputShape.length - elided));
  const offset = left ? elided : 0;
  const lengthIn = (term: string, shape: readonly Dim[], letter: string): Dim =>
    shape[term.indexOf(letter) + offset] ?? null;
  const reduced: number[] = [];
  const kernelShape = Array.from(kernel, (letter, axis) => {
    const inOutput = output.includes(letter);
    if (!inOutput) reduced.push(axis);
    const length = inOutput ? lengthIn(output, known, letter) : lengthIn(input, inputShape, letter);
    return (
      length ??
      fail(
        "ERR_WEIGHTS_UNBUILT",
        `the axis "${letter}" of "${equation}" has no known length with the input ${shapeText(inputShape)}`,
      )
    );
  });
  const full = known.map((dim, axis): Dim => {
    const letter = output[axis - offset];
    if (dim !== null || letter === undefined || !input.includes(letter)) return dim;
    return lengthIn(input, inputShape, letter);
  });
  if (biasAxes === null) return { kernel: kernelShape, bias: undefined, output: full, open: known, reduced };
  const from = Math.min(...Array.from(biasAxes, (letter) => output.indexOf(letter)));
  if (from < 0) fail("ERR_WEIGHTS_CONFIG", `the bias axes "${biasAxes}" are not all axes of "${equation}"`);
  const bias = Array.from(output.slice(from), (letter) => {
    if (!biasAxes.includes(letter)) return 1;
    return (
      lengthIn(output, known, letter) ?? fail("ERR_WEIGHTS_UNBUILT", `the bias axis "${letter}" has no known length`)
    );
  });
  if (!left) bias.push(...Array<number>(elided).fill(1));
  return { kernel: kernelShape, bias, output: full, open: known, reduced };
}

/** `EinsumDense`: a kernel and a bias whose axes an equation names. */
export const einsumDense = defineLayer({
  className: "EinsumDense",
  args: ["equation", "output_shape"],
  config: {
    equation: text(),
    output_shape: json<number | readonly Dim[]>(),
    activation: activation(),
    bias_axes: nullable(text()),
    kernel_initializer: initializer("glorot_uniform"),
    bias_initializer: initializer("zeros"),
    kernel_regularizer: modifier(),
    bias_regularizer: modifier(),
    activity_regularizer: modifier(),
    kernel_constraint: modifier("constraints"),
    bias_constraint: modifier("constraints"),
    lora_rank: only("keras3", omitNull("keras3", nullable(number()))),
    lora_alpha: only("keras3", omitNull("keras3", nullable(number()))),
    gptq_unpacked_column_size: only("keras3", omitNull("keras3", nullable(number()))),
    quantization_config: only("keras3", anything()),
  },
  complete: (config) => ({
    ...config,
    output_shape: typeof config.output_shape === "number" ? [config.output_shape] : config.output_shape,
  }),
  variables: ({ config, input }) => {
    const output = typeof config.output_shape === "number" ? [config.output_shape] : config.output_shape;
    const { kernel, bias } = einsumShapes(config.equation, config.bias_axes, input, output);
    return [
      weight("kernel", kernel, config.kernel_initializer),
      bias !== undefined && weight("bias", bias, config.bias_initializer),
    ];
  },
  outputShape: ({ config, input, flavor }) => {
    const output = typeof config.output_shape === "number" ? [config.output_shape] : config.output_shape;
    const { open, output: full } = einsumShapes(config.equation, config.bias_axes, input, output);
    // Keras 3 leaves unknown what the config leaves open, Keras 2 has run the equation.
    return flavor === "keras3" ? open : full;
  },
});
