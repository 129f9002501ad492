/**
 * A small seeded generator (sfc32, public domain, by Chris Doty-Humphrey): the same seed gives the same values on every
 * machine. Not for secrets.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  #spare: number | undefined;

  constructor(seed: number) {
    let state = seed | 0;
    const mixed = (): number => {
      state = (state + 0x9e3779b9) | 0;
      let z = state ^ (state >>> 16);
      z = Math.imul(z, 0x21f0aaad);
      z ^= z >>> 15;
      z = Math.imul(z, 0x735a2d97);
      return z ^ (z >>> 15);
    };
    this.#a = mixed();
    this.#b = mixed() ^ Math.trunc(seed / 2 ** 32);
    this.#c = mixed();
    for (let i = 0; i < 12; i += 1) this.bits();
  }

  /** 32 random bits as a whole number from 0. */
  bits(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** Uniform in [0, 1) with 53 random bits. */
  uniform(): number {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }

  /** Normal with mean 0 and deviation 1 (polar method). */
  normal(): number {
    if (this.#spare !== undefined) {
      const value = this.#spare;
      this.#spare = undefined;
      return value;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square >= 1 || square === 0) continue;
      const scale = Math.sqrt((-2 * Math.log(square)) / square);
      this.#spare = y * scale;
      return x * scale;
    }
  }

  /** Normal, drawn again when it lies more than two deviations from the mean, as Keras' truncated normal. */
  truncatedNormal(): number {
    for (;;) {
      const value = this.normal();
      if (Math.abs(value) <= 2) return value;
    }
  }
}

let unseeded: Random | undefined;

/**
 * Makes all later initial values of weights repeatable, as `keras.utils.set_random_seed`.
 *
 * ```ts
 * setRandomSeed(7);
 * ```
 */
export function setRandomSeed(seed: number): void {
  unseeded = new Random(seed);
}

/** A generator for an initializer: its own when it has a seed, else one drawn from the process-wide seed. */
export function randomFor(seed: number | null): Random {
  if (seed !== null) return new Random(seed);
  unseeded ??= new Random(Math.floor(Math.random() * 2 ** 53));
  return new Random(unseeded.bits() + unseeded.bits() * 2 ** 21);
}
