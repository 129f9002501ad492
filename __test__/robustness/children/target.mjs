/** A layer with one weight, as a plain description. */
export function target(values) {
  const variable = {
    path: "layer/kernel",
    dtype: "float32",
    version: 0,
    read: () => values,
    replace: () => undefined,
  };
  const tree = {
    version: 1,
    flavor: "keras3",
    root: 0,
    variables: [{ name: "kernel", path: variable.path, dtype: "float32", shape: [values.length], trainable: true }],
    nodes: [
      { class: "Sequential", name: "sequential", kind: "sequential", layers: [1], sublayers: [1] },
      { class: "Dense", name: "layer", kind: "layer", trainableVariables: [0], nonTrainableVariables: [] },
    ],
  };
  return { tree, nodes: [{}, {}], variables: [variable] };
}
