import { openWeightsSync, type WeightsFile } from "../io/open.ts";
import type { Source } from "../io/source.ts";
import type { Target } from "../io/target.ts";
import { Optimizer } from "../optimizers/optimizer.ts";
import { isDType, type DType } from "../tensor.ts";
import { fail } from "./failure.ts";
import type { Layer } from "./layer.ts";
import { snakeCase } from "./naming.ts";
import { unknownShape } from "./shape.ts";
import { describe, type Description } from "./tree.ts";

/** A weight that a file has and no definition tells of. */
export interface AdoptedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** What a file has for a layer of an unknown class. */
export interface Adopted {
  /** Legacy files list all weights of a layer; the others have groups by attribute. Neither tells the other. */
  readonly layout: "names" | "paths";
  readonly weights: readonly AdoptedWeight[];
  /** What hangs below, by the names of the file's groups. */
  readonly parts: readonly (readonly [name: string, part: Adopted])[];
}

function lacking(nodes: readonly (Layer | Optimizer)[]): Layer[] {
  return nodes.filter((node): node is Layer => !(node instanceof Optimizer) && node.lacksWeights());
}

/** Whether it gets a tensor whose shape nobody knows, so that it could not be built. */
function isBehindUnknown(node: Layer | Optimizer): boolean {
  if (node instanceof Optimizer || node.built || node.kind !== "layer") return false;
  return node.nodes.some(({ inputs }) => inputs.some(({ shape }) => shape === unknownShape));
}

/**
 * Throws when the weights of some of these layers are not known.
 *
 * @throws ERR_WEIGHTS_UNKNOWN_LAYER
 */
export function needKnown(nodes: readonly (Layer | Optimizer)[]): void {
  const [first] = lacking(nodes);
  if (first === undefined) return;
  fail(
    "ERR_WEIGHTS_UNKNOWN_LAYER",
    `nobody declared the class ${first.className} of the layer "${first.name}": declare it with registerLayer(), or load a ` +
      "file that has its weights",
    { layer: first.name },
  );
}

/** A layer as the verbs that load want it, and what takes back what it learned when the load fails. */
export interface LoadTarget {
  readonly target: Description;
  readonly failed: () => void;
}

/**
 * A layer as the verbs that load want it, with the weights that the file has for layers of unknown classes. When there
 * are such layers, the file's index is read here and now.
 *
 * @throws ERR_WEIGHTS_UNKNOWN_LAYER when the file has nothing for one of them; what opening throws.
 */
export function loadTarget(root: Layer, source: Source): LoadTarget {
  const target = describe(root);
  const unknown = lacking(target.nodes);
  if (unknown.length === 0 && !target.nodes.some(isBehindUnknown)) return { target, failed: () => undefined };
  const failed = (): void => {
    for (const layer of unknown) layer.forget?.();
  };
  const file = openWeightsSync(source);
  try {
    adoptFrom(root, file);
    const learned = describe(root);
    needKnown(learned.nodes);
    return { target: learned, failed };
  } catch (error) {
    failed();
    throw error;
  } finally {
    file.close();
  }
}

/**
 * A layer as the verbs that save want it.
 *
 * @throws ERR_WEIGHTS_UNKNOWN_LAYER
 */
export function saveTarget(root: Layer): Target {
  const description = describe(root, { optimizers: "trained" });
  needKnown(description.nodes);
  const adopted = description.nodes.flatMap((node) => {
    const layout = node instanceof Optimizer ? undefined : node.adoptedLayout;
    return layout === undefined ? [] : [{ node, layout }];
  });
  if (adopted.length === 0) return description;
  const check = (format: string): void => {
    const wanted = format === "legacy_h5" ? "names" : "paths";
    const other = adopted.find(({ layout }) => layout !== wanted);
    if (other === undefined) return;
    fail(
      "ERR_WEIGHTS_UNKNOWN_LAYER",
      `nobody declared the class ${other.node.className} of the layer "${other.node.name}": its weights are known from ` +
        `a file of another layout, which does not say how ${format} has them. Declare it with registerLayer()`,
      { layer: other.node.name, format },
    );
  };
  return { ...description, check };
}

/** Gives layers of unknown classes the weights that a file has for them; those it has nothing for stay as they are. */
export function adoptFrom(root: Layer, file: WeightsFile): void {
  const { nodes } = describe(root, { optimizers: "none" });
  const unknown = lacking(nodes);
  if (unknown.length === 0 && !nodes.some(isBehindUnknown)) return;
  const groups = new Set(file.groups());
  const byPath = new Map(file.entries().map((entry) => [entry.path, entry] as const));
  const weightAt = (path: string, name: string): AdoptedWeight => {
    const entry = byPath.get(path);
    if (entry === undefined) return fail("ERR_WEIGHTS_CORRUPT", `the file lists ${path} and does not have it`);
    return { name, shape: entry.shape, dtype: isDType(entry.dtype) ? entry.dtype : "bfloat16" };
  };
  /** Legacy files have a group of the layer's name, whose attribute lists the weights. */
  const byNames = (name: string): Adopted | undefined => {
    const group = [`model_weights/${name}`, name].find((path) => groups.has(path));
    const names = group === undefined ? undefined : weightNames(file.attributes(group));
    if (group === undefined || names === undefined) return undefined;
    const weights = names.map((weight) => weightAt(`${group}/${weight}`, nameInside(weight, name)));
    return { layout: "names", weights, parts: [] };
  };
  const children = childrenOf(groups);
  /** The other files have a group at the layer's path: numbered weights, and groups of what its attributes hold. */
  const byPaths = (path: string): Adopted => {
    const weights: AdoptedWeight[] = [];
    for (let k = 0; byPath.has(under(path, `vars/${k}`)); k += 1) {
      weights.push(weightAt(under(path, `vars/${k}`), `variable_${k}`));
    }
    const parts = (children.get(path) ?? []).filter((name) => name !== "vars");
    return { layout: "paths", weights, parts: parts.map((name) => [name, byPaths(under(path, name))] as const) };
  };
  const paths = objectPaths(root);
  const foundFor = (layer: Layer): Adopted | undefined => {
    const path = paths.get(layer);
    return byNames(layer.name) ?? (path !== undefined && groups.has(path) ? byPaths(path) : undefined);
  };
  for (const layer of unknown) {
    const found = foundFor(layer);
    if (found !== undefined) layer.adopt?.(found);
  }
  for (const layer of paths.keys()) {
    if (!isBehindUnknown(layer)) continue;
    const weights = allWeights(foundFor(layer)).map(({ shape }) => shape);
    if (weights.length > 0 && layer.buildForWeights?.(weights) !== true) cannotBuild(layer, unknown[0]);
  }
}

/** With those of the parts, which the other layouts keep apart. */
function allWeights(found: Adopted | undefined): AdoptedWeight[] {
  return found === undefined ? [] : [...found.weights, ...found.parts.flatMap(([, part]) => allWeights(part))];
}

function cannotBuild(layer: Layer, unknown: Layer | undefined): never {
  return fail(
    "ERR_WEIGHTS_UNKNOWN_LAYER",
    `the shape that "${layer.name}" gets is not known, and its weights do not say it: before it comes ` +
      (unknown === undefined
        ? "an operation"
        : `the class ${unknown.className}, which nobody declared with registerLayer()`),
    { layer: unknown?.name ?? layer.name },
  );
}

function under(path: string, name: string): string {
  return path === "" ? name : `${path}/${name}`;
}

/** What a weight is called inside its layer: layers inside an unknown one all have a `kernel`. */
function nameInside(weight: string, layer: string): string {
  const parts = weight.replace(/:\d+$/, "").split("/");
  return parts.slice(parts.slice(0, -1).indexOf(layer) + 1).join("/");
}

/** The names of the groups below each group. */
function childrenOf(groups: Iterable<string>): Map<string, string[]> {
  const children = new Map<string, string[]>();
  for (const path of groups) {
    if (path === "") continue;
    const cut = path.lastIndexOf("/");
    const parent = cut === -1 ? "" : path.slice(0, cut);
    const known = children.get(parent);
    if (known === undefined) children.set(parent, [path.slice(cut + 1)]);
    else known.push(path.slice(cut + 1));
  }
  return children;
}

function weightNames(attributes: Readonly<Record<string, unknown>>): string[] | undefined {
  const plain = attributes["weight_names"];
  if (Array.isArray(plain)) return plain.map(String);
  const pieces: string[] = [];
  for (let k = 0; Array.isArray(attributes[`weight_names${k}`]); k += 1) {
    pieces.push(...(attributes[`weight_names${k}`] as unknown[]).map(String));
  }
  return pieces.length > 0 ? pieces : undefined;
}

/** Where files with object paths have the layers of nested models: by class and number inside each list of layers. */
function objectPaths(root: Layer): Map<Layer, string> {
  const paths = new Map<Layer, string>([[root, ""]]);
  const visit = (model: Layer, prefix: string): void => {
    const used = new Map<string, number>();
    for (const layer of model.listedLayers()) {
      const name = snakeCase(layer.className);
      const count = used.get(name) ?? 0;
      used.set(name, count + 1);
      if (paths.has(layer)) continue;
      const path = `${prefix}layers/${count === 0 ? name : `${name}_${count}`}`;
      paths.set(layer, path);
      visit(layer, `${path}/`);
    }
  };
  visit(root, "");
  return paths;
}
