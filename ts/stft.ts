import { isList, textAt, type JsonObject } from "./config/json.ts";
import { fail } from "./model/failure.ts";

/** Weights of cosine terms of the windows that are sums of cosines. */
const cosineWindows: Readonly<Record<string, readonly number[]>> = {
  hann: [0.5, 0.5],
  hamming: [0.54, 0.46],
  blackman: [0.42, 0.5, 0.08],
  nuttall: [0.3635819, 0.4891775, 0.1365995, 0.0106411],
  blackmanharris: [0.35875, 0.48829, 0.14128, 0.01168],
  flattop: [0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368],
  boxcar: [1],
  rectangular: [1],
};

/** A window of a length; `periodic` as scipy's `fftbins`: the first of one more point. */
function windowOf(name: string, length: number, periodic: boolean): number[] {
  const terms = cosineWindows[name];
  if (terms === undefined) {
    return fail(
      "ERR_WEIGHTS_UNSUPPORTED",
      `the window "${name}" of an STFT kernel is not known here: set or load the weight`,
    );
  }
  if (length === 1) return [1];
  const steps = periodic ? length : length - 1;
  return Array.from({ length }, (_, k) =>
    terms.reduce((sum, term, n) => sum + (n % 2 === 0 ? 1 : -1) * term * Math.cos((2 * Math.PI * n * k) / steps), 0),
  );
}

/** The kernel of a short-time Fourier transform, frame × 1 × bins, as Keras' `STFT` initializer makes it. */
export function fillStft(out: Float32Array | Float64Array, shape: readonly number[], config: JsonObject): void {
  const [frame = 1, , bins = 1] = shape;
  const { window, periodic, scaling } = config;
  const given = isList(window) ? window.map(Number) : undefined;
  const name = textAt(config, "window");
  const values = given ?? (name === undefined ? undefined : windowOf(name, frame, periodic === true));
  const total =
    values === undefined
      ? 1
      : scaling === "density"
        ? Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
        : scaling === "spectrum"
          ? values.reduce((sum, value) => sum + Math.abs(value), 0)
          : 1;
  const wave = config["side"] === "imag" ? Math.sin : Math.cos;
  const length = (bins - 1) * 2;
  for (let t = 0; t < frame; t += 1) {
    for (let f = 0; f < bins; f += 1) {
      out[t * bins + f] = (wave((-2 * Math.PI * t * f) / length) * (values?.[t] ?? 1)) / total;
    }
  }
}
