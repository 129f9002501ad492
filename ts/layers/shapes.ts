import { fail } from "../model/failure.ts";
import { shapeText, type Dim, type Shape } from "../model/shape.ts";

/** Where the channels are. */
export type DataFormat = "channels_last" | "channels_first";

/** How borders are treated. */
export type Padding = "valid" | "same" | "causal";

/** The format of a config entry that may be null; Keras' default is channels last. */
export function formatOf(value: string | null): DataFormat {
  return value === "channels_first" ? "channels_first" : "channels_last";
}

/** The axis of the channels. */
export function channelAxis(format: DataFormat): number {
  return format === "channels_first" ? 1 : -1;
}

/** The lengths of the spatial axes. */
export function spatial(shape: Shape, format: DataFormat): readonly Dim[] {
  return format === "channels_first" ? shape.slice(2) : shape.slice(1, -1);
}

/** A shape of batch, spatial axes and channels in a format. */
export function withSpatial(batch: Dim, dims: readonly Dim[], channels: Dim, format: DataFormat): Shape {
  return format === "channels_first" ? [batch, channels, ...dims] : [batch, ...dims, channels];
}

/** The number of channels. */
export function channelsOf(shape: Shape, format: DataFormat): Dim {
  return shape.at(channelAxis(format)) ?? null;
}

/** Throws when a tensor has not the rank that a layer takes. */
export function needRank(shape: Shape, rank: number, className: string): void {
  if (shape.length === rank) return;
  fail("ERR_WEIGHTS_SHAPE", `${className} takes tensors of rank ${rank}, not ${shapeText(shape)}`, {
    expected: rank,
    found: shape.length,
  });
}

/** Output length of a window that slides along an axis. */
export function windowLength(length: Dim, size: number, stride: number, padding: string, dilation = 1): Dim {
  if (length === null) return null;
  const reach = (size - 1) * dilation + 1;
  const places = padding === "valid" ? length - reach + 1 : length;
  return Math.max(0, Math.ceil(places / stride));
}
