import { elementSize } from "../dtype.ts";
import type { Layer } from "./layer.ts";
import type { Model } from "./model.ts";
import { shapeText } from "./shape.ts";
import type { CallNode } from "./symbolic.ts";
import type { Variable } from "./variable.ts";

/** How {@link Model.summary} lays its table out. */
export interface SummaryOptions {
  /** Characters in a line; absent: what the columns need. */
  readonly lineLength?: number | undefined;
  /** Whether the layers of nested models are listed too. */
  readonly expandNested?: boolean | undefined;
  /** Whether a column says which layers are trainable. */
  readonly showTrainable?: boolean | undefined;
}

/** A model as a table that reads as Keras' `summary()`: layers, output shapes, parameters, and where inputs come from. */
export function describeSummary(model: Model, options: SummaryOptions): string {
  const connected = !isChain(model);
  const header = ["Layer (type)", "Output Shape", "Param #"];
  if (connected) header.push("Connected to");
  if (options.showTrainable) header.push("Trainable");
  const rows = model.layers.flatMap((layer) => rowsOf(layer, model, connected, options, 0));
  const table = model.flavor === "keras3" ? boxed(header, rows, options) : ruled(header, rows, options);
  const totals: [string, readonly Variable[]][] = model.built
    ? [
        ["Total", model.weights],
        ["Trainable", model.trainableWeights],
        ["Non-trainable", model.nonTrainableWeights],
      ]
    : [
        ["Total", []],
        ["Trainable", []],
        ["Non-trainable", []],
      ];
  const lead = model.flavor === "keras3" ? " " : "";
  const counts = totals.map(
    ([name, weights]) => `${lead}${name} params: ${grouped(count(weights))} (${memory(weights)})`,
  );
  return [`Model: "${model.name}"`, ...table, ...counts].join("\n");
}

function isChain(model: Model): boolean {
  const { graph } = model;
  if (graph === undefined) return true;
  return [...graph.nodes].every((node) => node.inputs.length <= 1) && graph.nodes.size === graph.layers.length;
}

function rowsOf(layer: Layer, model: Model, connected: boolean, options: SummaryOptions, level: number): string[][] {
  const prefix = level === 0 ? "" : `${"   ".repeat(level)}└ `;
  const params = layer.built ? grouped(layer.countParams()) : "0 (unbuilt)";
  const row = [`${prefix}${layer.name} (${layer.className})`, outputText(layer), params];
  if (connected) row.push(level === 0 ? connections(layer, model) : "-");
  if (options.showTrainable) row.push(layer.weights.length === 0 ? "-" : layer.trainable ? "Y" : "N");
  const inner = options.expandNested ? layer.listedLayers() : [];
  return [row, ...inner.flatMap((part) => rowsOf(part, model, connected, options, level + 1))];
}

function outputText(layer: Layer): string {
  const outputs = layer.nodes[0]?.outputs ?? [];
  if (outputs.length === 0) return "?";
  const shapes = outputs.map(({ shape }) => shapeText(shape));
  return shapes.length === 1 ? (shapes[0] ?? "?") : `[${shapes.join(", ")}]`;
}

function connections(layer: Layer, { graph }: Model): string {
  const inGraph = (node: CallNode): boolean => graph?.nodes.has(node) ?? false;
  const names = layer.nodes.filter(inGraph).flatMap((node) =>
    node.inputs.map(({ history }) => {
      const from = history?.node.layer;
      const index = history === undefined ? 0 : (from?.nodes.indexOf(history.node) ?? 0);
      return `${from?.name ?? "?"}[${index}][${history?.tensorIndex ?? 0}]`;
    }),
  );
  return names.length === 0 ? "-" : names.join(", ");
}

function count(weights: readonly Variable[]): number {
  return weights.reduce((sum, { size }) => sum + size, 0);
}

function memory(weights: readonly Variable[]): string {
  let size = weights.reduce((sum, { size: elements, dtype }) => sum + elements * elementSize(dtype), 0);
  let unit = 0;
  for (; size >= 1024 && unit < 4; unit += 1) size /= 1024;
  return `${size.toFixed(2)} ${["B", "KB", "MB", "GB", "TB"][unit] ?? ""}`;
}

function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

function widths(header: readonly string[], rows: readonly string[][], options: SummaryOptions): number[] {
  const wanted = header.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? "").length)) + 2);
  const cap = Math.max(12, Math.floor((options.lineLength ?? 120) * 0.4));
  return wanted.map((width) => Math.min(width, cap));
}

function wrap(cell: string, width: number): string[] {
  const lines: string[] = [];
  for (let at = 0; at < cell.length || at === 0; at += width) lines.push(cell.slice(at, at + width));
  return lines;
}

/** Cells of one row on as many lines as the longest needs. */
function lines(row: readonly string[], columns: readonly number[]): string[][] {
  const cells = row.map((cell, i) => wrap(cell, (columns[i] ?? 3) - 2));
  const height = Math.max(...cells.map((cell) => cell.length));
  return Array.from({ length: height }, (_, line) =>
    cells.map((cell, i) => {
      const text = cell[line] ?? "";
      const width = (columns[i] ?? 3) - 2;
      return ` ${i === 2 ? text.padStart(width) : text.padEnd(width)} `;
    }),
  );
}

function boxed(header: readonly string[], rows: readonly string[][], options: SummaryOptions): string[] {
  const columns = widths(header, rows, options);
  const rule = (left: string, line: string, cross: string, right: string): string =>
    left + columns.map((width) => line.repeat(width)).join(cross) + right;
  const body = (row: readonly string[], bar: string): string[] =>
    lines(row, columns).map((cells) => bar + cells.join(bar) + bar);
  const between = rule("├", "─", "┼", "┤");
  return [
    rule("┏", "━", "┳", "┓"),
    ...body(header, "┃"),
    rule("┡", "━", "╇", "┩"),
    ...rows.flatMap((row, i) => (i === 0 ? body(row, "│") : [between, ...body(row, "│")])),
    rule("└", "─", "┴", "┘"),
  ];
}

function ruled(header: readonly string[], rows: readonly string[][], options: SummaryOptions): string[] {
  const columns = widths(header, rows, options);
  const length = columns.reduce((sum, width) => sum + width, 0);
  const body = (row: readonly string[]): string[] => lines(row, columns).map((cells) => cells.join("").trimEnd());
  return [
    "_".repeat(length),
    ...body(header),
    "=".repeat(length),
    ...rows.flatMap((row) => [...body(row), " ".repeat(0)]).slice(0, -1),
    "=".repeat(length),
  ];
}
