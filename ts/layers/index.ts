import * as convolutional from "./convolutional.ts";
import * as core from "./core.ts";
import { factory, input } from "./factory.ts";
import * as merging from "./merging.ts";
import * as normalization from "./normalization.ts";
import * as pooling from "./pooling.ts";
import * as recurrent from "./recurrent.ts";
import * as cells from "./recurrent_cells.ts";
import * as regularization from "./regularization.ts";
import * as reshaping from "./reshaping.ts";

/**
 * Keras' layers: positional arguments as in Keras, then options in camel case.
 *
 * ```ts
 * layers.conv2d(32, 3, { activation: "relu", padding: "same" });
 * ```
 */
export const layers = {
  input,
  dense: factory(core.dense),
  embedding: factory(core.embedding),
  masking: factory(core.masking),
  identity: factory(core.identity),
  activation: factory(core.activationLayer),
  relu: factory(core.relu),
  leakyRelu: factory(core.leakyRelu),
  elu: factory(core.elu),
  softmax: factory(core.softmax),
  thresholdedRelu: factory(core.thresholdedRelu),
  prelu: factory(core.prelu),
  lambda: factory(core.lambda),
  conv1d: factory(convolutional.conv1d),
  conv2d: factory(convolutional.conv2d),
  conv3d: factory(convolutional.conv3d),
  maxPooling1d: factory(pooling.maxPooling1d),
  maxPooling2d: factory(pooling.maxPooling2d),
  maxPooling3d: factory(pooling.maxPooling3d),
  averagePooling1d: factory(pooling.averagePooling1d),
  averagePooling2d: factory(pooling.averagePooling2d),
  averagePooling3d: factory(pooling.averagePooling3d),
  globalMaxPooling1d: factory(pooling.globalMaxPooling1d),
  globalMaxPooling2d: factory(pooling.globalMaxPooling2d),
  globalMaxPooling3d: factory(pooling.globalMaxPooling3d),
  globalAveragePooling1d: factory(pooling.globalAveragePooling1d),
  globalAveragePooling2d: factory(pooling.globalAveragePooling2d),
  globalAveragePooling3d: factory(pooling.globalAveragePooling3d),
  flatten: factory(reshaping.flatten),
  reshape: factory(reshaping.reshape),
  add: factory(merging.add),
  subtract: factory(merging.subtract),
  multiply: factory(merging.multiply),
  average: factory(merging.average),
  maximum: factory(merging.maximum),
  minimum: factory(merging.minimum),
  concatenate: factory(merging.concatenate),
  batchNormalization: factory(normalization.batchNormalization),
  dropout: factory(regularization.dropout),
  simpleRnn: factory(recurrent.simpleRnn),
  lstm: factory(recurrent.lstm),
  gru: factory(recurrent.gru),
  simpleRnnCell: factory(cells.simpleRnnCell),
  lstmCell: factory(cells.lstmCell),
  gruCell: factory(cells.gruCell),
};
