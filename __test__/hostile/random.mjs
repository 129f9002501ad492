// Numbers that look random and are the same in every run.

/** 32 bits from a text (FNV-1a). */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let k = 0; k < text.length; k++) value = Math.imul(value ^ text.charCodeAt(k), 0x01000193);
  return value >>> 0;
}

/** A sequence of numbers from a seed (mulberry32). */
export class Random {
  #state;

  /** @param {string} seed */
  constructor(seed) {
    this.#state = hash(seed);
  }

  /** 32 bits. */
  bits() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** A whole number from 0 to `end`, without it. */
  below(end) {
    return end <= 0 ? 0 : this.bits() % end;
  }

  /** One of a list. */
  of(list) {
    return list[this.below(list.length)];
  }

  /** True once in `n` times. */
  once(n) {
    return this.below(n) === 0;
  }
}
