"""Ops for models that TensorFlow.js made or trained: see `tfjs.test.ts`."""

import base64

import numpy as np


def arrays(packed):
    """[{shape, dtype, data: base64}] as arrays."""
    return [np.frombuffer(base64.b64decode(p["data"]), p["dtype"]).reshape(p["shape"]) for p in packed]


def register(judge):
    def tfjs_predicts(job):
        """{file, inputs, outputs}: opens a whole model; answers its weights and how far its predictions are off."""
        judge.fresh()
        with judge.Heard() as heard, judge.Stage("load"):
            model = judge.K.models.load_model(job["file"])
        with judge.Stage("predict"):
            found = judge.predict(model, arrays(job["inputs"]), True)
        off = judge.farthest(found, arrays(job["outputs"]))
        return {**judge.verdict(model), "max_pred_diff": off, "warnings": heard.list}

    def tfjs_goes_on(job):
        """{file, x, y, steps}: the optimizer's variables as they were loaded, and the losses of steps of training."""
        judge.fresh()
        with judge.Stage("load"):
            model = judge.K.models.load_model(job["file"])
            optimizer = model.optimizer
            if judge.V == 2:
                optimizer.build(model.trainable_variables)
        rate = float(judge.number(optimizer.learning_rate))
        state = [{"name": judge.label(w), "values": judge.number(w).ravel().astype(float).tolist()}
                 for w in judge.optimizer_variables(model)]
        (x, y), losses = arrays([job["x"], job["y"]]), []
        with judge.Stage("train"):
            for _ in range(job["steps"]):
                model.reset_metrics()
                loss = model.train_on_batch(x, y)
                losses.append(float(loss[0] if isinstance(loss, (list, tuple)) else loss))
        return {"ok": True, "class": type(optimizer).__name__, "rate": rate, "state": state, "losses": losses,
                "config": {k: v for k, v in optimizer.get_config().items() if isinstance(v, (bool, int, float))}}

    def tfjs_classifies(job):
        """{config, weights, inputs, labels}: how many inputs a classifier with these weights gets right."""
        judge.fresh()
        with judge.Stage("build"):
            model = judge.built({"config_file": job["config"]})
            judge.zero(model.weights)
        with judge.Stage("load"):
            model.load_weights(job["weights"])
        with judge.Stage("predict"):
            (found,) = judge.predict(model, arrays(job["inputs"]), True)
        return {"ok": True, "correct": int((found.argmax(axis=1) == np.array(job["labels"])).sum())}

    judge.OPS.update(tfjs_classifies=tfjs_classifies, tfjs_predicts=tfjs_predicts, tfjs_goes_on=tfjs_goes_on)
