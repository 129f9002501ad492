"""Reads every checkpoint of a folder of folders (`<kind>-<number>-<old|new>/w`) with TensorFlow, and prints as JSON how many
different contents those of one kind and age have, which must be one.

    python states.py FOLDER
"""
import collections
import hashlib
import json
import os
import sys

import numpy as np
import tensorflow as tf

contents = collections.defaultdict(collections.Counter)
for name in sorted(os.listdir(sys.argv[1])):
    kind, _, age = name.rsplit("-", 2)
    reader = tf.train.load_checkpoint(os.path.join(sys.argv[1], name, "w"))
    digest = hashlib.sha256()
    for key in sorted(reader.get_variable_to_shape_map()):
        if key == "_CHECKPOINTABLE_OBJECT_GRAPH":
            reader.get_tensor(key)
            continue
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(reader.get_tensor(key)).tobytes())
    contents[f"{kind}-{age}"][digest.hexdigest()] += 1
print(json.dumps({key: sorted(digests.values()) for key, digests in contents.items()}))
print(json.dumps({key: next(iter(digests)) for key, digests in contents.items()}))
