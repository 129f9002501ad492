import { fail } from "../model/failure.ts";
import { shapeText, type Dim, type Shape } from "../model/shape.ts";
import { withAxes, type Initializer } from "../initializers.ts";
import { kernelWeights, withAlpha, type KernelSpec } from "./quantization.ts";
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

/** How the kernel is quantized: one scale for each index of the axes that stay, laid out like the output. */
function einsumKernel(equation: string, rank: number, shape: readonly number[], initializer: Initializer): KernelSpec {
  const { input, kernel, output, left } = splitEquation(equation);
  // Elided axes are axes of the output that the kernel has not.
  const elided = "\u0000".repeat(Math.max(0, rank - input.length));
  const full = left ? elided + output : output + elided;
  const reduced = Array.from(kernel, (_, axis) => axis).filter((axis) => !output.includes(kernel.charAt(axis)));
  const kept = Array.from(full)
    .map((letter) => kernel.indexOf(letter))
    .filter((axis) => axis !== -1);
  const free = Array.from(full, (_, axis) => axis).filter((axis) => !kernel.includes(full.charAt(axis)));
  const axes = [...kept];
  const squeezed: number[] = [];
  let at = 0;
  for (const axis of reduced) {
    const next = free.shift();
    if (next === undefined) squeezed.push(axis);
    else at = next;
    axes.splice(at, 0, axis);
  }
  const scale = axes.map((axis) => (reduced.includes(axis) ? 1 : (shape[axis] ?? 1)));
  for (const axis of free) scale.splice(axis, 0, 1);
  for (const axis of squeezed.sort((a, b) => b - a)) scale.splice(axis, 1);
  const size = (list: readonly number[]): number => list.reduce((product, axis) => product * (shape[axis] ?? 1), 1);
  return {
    attr: "kernel",
    shape,
    initializer,
    kept,
    scale,
    matrix: [size(reduced), size(kept)],
    blocks: "rows",
    calibrated: { matrix: calibratedMatrix(shape), zero: "zero_point" },
  };
}

/** How Keras' calibrated modes make a matrix of the kernel: they take its longest axis for the model's width. */
function calibratedMatrix(shape: readonly number[]): readonly [number, number] {
  const [first = 1, second = 1, third = 1] = shape;
  if (shape.length !== 3) return [first, second];
  return first >= second && first >= third ? [first, second * third] : [first * second, third];
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
    ...withAlpha(config),
    output_shape: typeof config.output_shape === "number" ? [config.output_shape] : config.output_shape,
  }),
  kernel: ({ config, input }) => {
    const output = typeof config.output_shape === "number" ? [config.output_shape] : config.output_shape;
    const { kernel } = einsumShapes(config.equation, config.bias_axes, input, output);
    return einsumKernel(config.equation, input.length, kernel, config.kernel_initializer);
  },
  variables: ({ config, input, policy, flavor }) => {
    const output = typeof config.output_shape === "number" ? [config.output_shape] : config.output_shape;
    const { kernel, bias, reduced } = einsumShapes(config.equation, config.bias_axes, input, output);
    const kept = kernel.map((_, axis) => axis).filter((axis) => !reduced.includes(axis));
    const start = flavor === "keras3" ? withAxes(config.kernel_initializer, reduced, kept) : config.kernel_initializer;
    const spec = einsumKernel(config.equation, input.length, kernel, start);
    return kernelWeights(policy, config, spec, [bias !== undefined && weight("bias", bias, config.bias_initializer)]);
  },
  outputShape: ({ config, input, flavor }) => {
    const output = typeof config.output_shape === "number" ? [config.output_shape] : config.output_shape;
    const { open, output: full } = einsumShapes(config.equation, config.bias_axes, input, output);
    // Keras 3 leaves unknown what the config leaves open, Keras 2 has run the equation.
    return flavor === "keras3" ? open : full;
  },
});
