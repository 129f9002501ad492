/** What TensorFlow.js cannot do of the corpus, by classes; all other models must predict as Keras does. */
export const refusedModels: Readonly<Record<string, readonly string[]>> = {
  einsum_dense: ["EinsumDense"],
  float16_float64: ["Dense"],
  lora: ["Dense", "EinsumDense", "Embedding"],
  lora_int8: ["Dense", "EinsumDense", "Embedding"],
  mha_transformer: ["MultiHeadAttention"],
  mixed_bfloat16: ["Dense"],
  normalization_adapted: ["Normalization"],
  "norms.k2": ["BatchNormalization", "GroupNormalization", "SpectralNormalization", "UnitNormalization"],
  "norms.k3": [
    "BatchNormalization",
    "GroupNormalization",
    "RMSNormalization",
    "SpectralNormalization",
    "UnitNormalization",
  ],
  pure_bfloat16: ["Dense", "LayerNormalization"],
  quant_int4: ["Dense", "EinsumDense", "Embedding"],
  quant_int8: ["Dense", "EinsumDense", "Embedding"],
  text_vectorization: ["InputLayer", "TextVectorization"],
  timedistributed_convlstm: ["ConvLSTM1D"],
};

/** The classes that are refused of a model (`gru.k3`), undefined when there are none. */
export function refusedClasses(id: string): readonly string[] | undefined {
  const name = id.slice(0, id.lastIndexOf("."));
  return refusedModels[name] ?? refusedModels[id];
}

/** Whether TensorFlow.js can have a model. */
export function expressible(id: string): boolean {
  return refusedClasses(id) === undefined;
}
