"""Solvers."""

import gc
import os

import caffe
import numpy as np
from helping import close, fill, rand, write

NET = """name: "line"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 6 dim: 4 } shape { dim: 6 dim: 2 } data_filler { type: "constant" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "ip" top: "ip" }
layer { name: "out" type: "InnerProduct" bottom: "ip" top: "out"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "out" bottom: "label" top: "loss" }
"""

COMMON = """net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" max_iter: 20 snapshot_prefix: "snap" %s
"""


def solver(fields, kind="SGDSolver", text=NET):
    write("net.prototxt", text)
    made = getattr(caffe, kind)(write("solver.prototxt", COMMON % fields))
    fill(made.net)
    for each in [made.net] + list(made.test_nets):
        each.blobs["data"].data[...] = rand(50, 6, 4)
        each.blobs["label"].data[...] = rand(51, 6, 2)
    return made


def gradients(made):
    """The gradients of the weights as they are."""
    made.net.clear_param_diffs()
    made.net.forward()
    made.net.backward()
    return {name: [blob.diff.astype(np.float64) for blob in blobs] for name, blobs in made.net.params.items()}


RATES = {"ip": (1, 2), "out": (1, 1)}
DECAYS = {"ip": (1, 0), "out": (1, 1)}


def follow(fields, kind, rule, steps=4, decay=0.0, bar=2e-6):
    """Compare steps with a rule: weights, gradients, state and iteration to what is subtracted."""
    made = solver(fields, kind)
    state = {}
    for iteration in range(steps):
        found = gradients(made)
        expected = {}
        for name, blobs in made.net.params.items():
            for i, blob in enumerate(blobs):
                grad = found[name][i] + decay * DECAYS[name][i] * blob.data
                key = name, i
                expected[key] = blob.data - rule(
                    grad, state.setdefault(key, {}), 0.05 * RATES[name][i], iteration
                )
        made.step(1)
        for (name, i), values in expected.items():
            close(made.net.params[name][i].data, values, bar)
    assert made.iter == steps


def average(state, name, value, keep):
    state[name] = keep * state.get(name, 0) + (1 - keep) * value
    return state[name]


def sgd(momentum):
    def rule(grad, state, rate, iteration):
        state["h"] = momentum * state.get("h", 0) + rate * grad
        return state["h"]

    return rule


def case_sgd():
    follow("", "SGDSolver", sgd(0))


def case_sgd_with_momentum_and_decay():
    follow("momentum: 0.9 weight_decay: 0.1", "SGDSolver", sgd(0.9), decay=0.1)


def case_nesterov():
    def rule(grad, state, rate, iteration):
        old = state.get("h", 0)
        state["h"] = 0.9 * old + rate * grad
        return 1.9 * state["h"] - 0.9 * old

    follow("momentum: 0.9", "NesterovSolver", rule)


def case_adagrad():
    def rule(grad, state, rate, iteration):
        state["h"] = state.get("h", 0) + grad**2
        return rate * grad / (np.sqrt(state["h"]) + 1e-3)

    follow("delta: 1e-3", "AdaGradSolver", rule)


def case_rmsprop():
    def rule(grad, state, rate, iteration):
        return rate * grad / (np.sqrt(average(state, "h", grad**2, 0.9)) + 1e-3)

    follow("delta: 1e-3 rms_decay: 0.9", "RMSPropSolver", rule, bar=5e-6)


def case_adadelta():
    def rule(grad, state, rate, iteration):
        squares = average(state, "g", grad**2, 0.9)
        update = grad * np.sqrt((state.get("u", 0) + 1e-4) / (squares + 1e-4))
        average(state, "u", update**2, 0.9)
        return rate * update

    follow("momentum: 0.9 delta: 1e-4", "AdaDeltaSolver", rule, bar=5e-6)


def case_adam():
    def rule(grad, state, rate, iteration):
        m = average(state, "m", grad, 0.9)
        v = average(state, "v", grad**2, 0.99)
        t = iteration + 1
        return rate * np.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-6)

    follow("momentum: 0.9 momentum2: 0.99 delta: 1e-6", "AdamSolver", rule, bar=5e-6)


def case_l1_decay():
    made = solver('weight_decay: 0.1 regularization_type: "L1"')
    before = made.net.params["out"][0].data.copy()
    grad = gradients(made)["out"][0]
    made.step(1)
    close(made.net.params["out"][0].data, before - 0.05 * (grad + 0.1 * np.sign(before)), 2e-6)


def case_clipped_gradients():
    made = solver("clip_gradients: 0.01")
    before = made.net.params["out"][0].data.copy()
    found = gradients(made)
    norm = np.sqrt(sum((grad**2).sum() for grads in found.values() for grad in grads))
    assert norm > 0.01
    made.step(1)
    close(made.net.params["out"][0].data, before - 0.05 * found["out"][0] * 0.01 / norm, 2e-6)


def case_iter_size():
    made, other = solver("iter_size: 3"), solver("")
    made.step(2)
    other.step(2)
    close(made.net.params["ip"][0].data, other.net.params["ip"][0].data, 2e-6)
    assert made.iter == 2


def case_the_diff_after_a_step_is_what_was_subtracted():
    made = solver("momentum: 0.9")
    for _ in range(2):
        before = made.net.params["ip"][0].data.copy()
        made.step(1)
        close(before - made.net.params["ip"][0].diff, made.net.params["ip"][0].data, 1e-6)


def case_apply_update():
    made = solver("momentum: 0.9")
    made.net.params["ip"][0].data[...] = 0
    made.net.params["ip"][0].diff[...] = 1
    made.apply_update()
    close(made.net.params["ip"][0].data, np.full((3, 4), -0.05), 1e-7)
    assert made.iter == 1


def case_gradients_by_hand():
    made, other = solver(""), solver("")
    made.step(1)
    gradients(other)
    other.apply_update()
    close(made.net.params["ip"][0].data, other.net.params["ip"][0].data, 1e-6)


def case_views_see_steps():
    made = solver("")
    weights = made.net.params["ip"][0].data
    before = weights.copy()
    made.step(1)
    assert np.abs(weights - before).max() > 1e-4
    close(weights, made.net.params["ip"][0].data, 0)


def case_learning_rates():
    made = solver("momentum: 0.5 gamma: 0.1 stepsize: 2").net
    assert made is not None
    write("net.prototxt", NET)
    text = (COMMON % "gamma: 0.1 stepsize: 2").replace('"fixed"', '"step"')
    made = caffe.SGDSolver(write("solver.prototxt", text))
    rates = []
    for _ in range(5):
        rates.append(made.lr)
        made.step(1)
    close(rates, [0.05, 0.05, 0.005, 0.005, 0.0005], 1e-6)


def case_multistep():
    write("net.prototxt", NET)
    text = (COMMON % "gamma: 0.1 stepvalue: 1 stepvalue: 3").replace('"fixed"', '"multistep"')
    made = caffe.SGDSolver(write("solver.prototxt", text))
    fill(made.net)
    made.net.blobs["data"].data[...] = rand(50, 6, 4)
    for rate in (0.05, 0.005, 0.005, 0.0005, 0.0005):
        before = made.net.params["out"][1].data.copy()
        grad = gradients(made)["out"][1]
        made.step(1)
        close(made.net.params["out"][1].data, before - rate * grad, 2e-6)


def case_step_many():
    made, other = solver("momentum: 0.9"), solver("momentum: 0.9")
    made.step(5)
    for _ in range(5):
        other.step(1)
    assert made.iter == other.iter == 5
    close(made.net.params["out"][0].data, other.net.params["out"][0].data, 1e-6)


def case_solve():
    made = solver("snapshot_after_train: false test_iter: 2 test_interval: 10")
    first = float(made.net.forward()["loss"])
    made.solve()
    assert made.iter == 20
    assert float(made.net.forward()["loss"]) < first
    assert not os.path.exists("snap_iter_20.caffemodel")


def case_snapshots_while_solving():
    made = solver("snapshot: 8")
    made.solve()
    there = sorted(name for name in os.listdir(".") if name.startswith("snap"))
    assert there == [
        "snap_iter_%d.%s" % (i, kind) for i in (16, 20, 8) for kind in ("caffemodel", "solverstate")
    ]


def case_snapshot_and_restore():
    for kind, fields in (("SGDSolver", "momentum: 0.9"), ("AdamSolver", "momentum: 0.9")):
        made = solver(fields, kind)
        made.step(3)
        made.snapshot()
        assert os.path.isfile("snap_iter_3.caffemodel") and os.path.isfile("snap_iter_3.solverstate")
        made.step(3)
        other = solver(fields, kind)
        other.restore("snap_iter_3.solverstate")
        assert other.iter == 3
        other.step(3)
        assert other.iter == 6
        close(other.net.params["ip"][0].data, made.net.params["ip"][0].data, 1e-6)


def case_snapshot_as_hdf5():
    made = solver("momentum: 0.9 snapshot_format: HDF5")
    made.step(2)
    made.snapshot()
    made.step(2)
    other = solver("momentum: 0.9 snapshot_format: HDF5")
    other.restore("snap_iter_2.solverstate.h5")
    other.step(2)
    close(other.net.params["ip"][0].data, made.net.params["ip"][0].data, 1e-6)


def case_solve_from_a_state():
    made = solver("momentum: 0.9 snapshot_after_train: false")
    made.step(5)
    made.snapshot()
    other = solver("momentum: 0.9 snapshot_after_train: false")
    other.solve("snap_iter_5.solverstate")
    assert other.iter == 20
    made.step(15)
    close(other.net.params["ip"][0].data, made.net.params["ip"][0].data, 1e-6)


def case_the_model_of_a_snapshot():
    made = solver("")
    made.step(1)
    made.snapshot()
    other = caffe.Net("net.prototxt", caffe.TEST, weights="snap_iter_1.caffemodel")
    close(other.params["out"][0].data, made.net.params["out"][0].data, 0)


def case_test_nets():
    made = solver("test_iter: 1 test_iter: 2 test_interval: 100")
    assert len(made.test_nets) == 2
    made.step(1)
    made.test_nets[0].share_with(made.net)
    close(made.test_nets[0].params["ip"][0].data, made.net.params["ip"][0].data, 0)
    close(made.test_nets[0].forward()["loss"], made.net.forward()["loss"])


def case_testing_shares_weights():
    made = solver("test_iter: 1 test_interval: 1")
    made.step(2)
    close(made.test_nets[0].params["ip"][0].data, made.net.params["ip"][0].data, 0)


def case_without_test_nets():
    assert len(solver("").test_nets) == 0


def case_share_weights():
    made = solver("")
    other = caffe.Net("net.prototxt", caffe.TEST)
    made.share_weights(other)
    made.step(1)
    close(other.params["ip"][0].data, made.net.params["ip"][0].data, 0)


def case_callbacks():
    made = solver("")
    seen = []
    made.add_callback(lambda: seen.append(("start", made.iter)), lambda: seen.append(("ready", made.iter)))
    made.step(2)
    assert seen == [("start", 0), ("ready", 0), ("start", 1), ("ready", 1)]


def case_a_callback_may_change_gradients():
    made = solver("")
    before = made.net.params["ip"][0].data.copy()

    def clear():
        made.net.params["ip"][0].diff[...] = 0

    made.add_callback(lambda: None, clear)
    made.step(1)
    close(made.net.params["ip"][0].data, before, 0)


def case_get_solver():
    write("net.prototxt", NET)
    for kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):
        fields = 'type: "%s" ' % kind + ("" if kind in ("AdaGrad", "RMSProp") else "momentum: 0.9")
        made = caffe.get_solver(write("solver.prototxt", COMMON % fields))
        made.step(1)
        assert made.iter == 1
        assert isinstance(made.net, caffe.Net)


def case_the_class_decides():
    made = solver('type: "Adam" momentum: 0.9', "SGDSolver")
    before = made.net.params["out"][0].data.copy()
    grad = gradients(made)["out"][0]
    made.step(1)
    close(made.net.params["out"][0].data, before - 0.05 * grad, 2e-6)


def case_nets_outlive_the_solver():
    made = solver("test_iter: 1 test_interval: 100")
    nets = [made.net] + list(made.test_nets)
    del made
    gc.collect()
    for each in nets:
        for blobs in each.params.values():
            for blob in blobs:
                assert np.isfinite(blob.data.sum() + blob.diff.sum())
        each.forward()


def case_frozen_layers():
    text = NET.replace(
        "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }", "param { lr_mult: 0 } param { lr_mult: 0 }"
    )
    made = solver("momentum: 0.9 weight_decay: 0.1", text=text)
    before = made.net.params["ip"][0].data.copy(), made.net.params["out"][0].data.copy()
    made.step(2)
    close(made.net.params["ip"][0].data, before[0], 0)
    assert np.abs(made.net.params["out"][0].data - before[1]).max() > 1e-3


def case_parameters_of_the_solver():
    made = solver("display: 7")
    assert made.param.max_iter == 20
    assert made.param.display == 7
    assert abs(made.param.base_lr - 0.05) < 1e-7


def case_train_and_test_nets_of_files():
    write("train.prototxt", NET)
    write("test.prototxt", NET.replace('"line"', '"other"'))
    text = (COMMON % "test_iter: 1 test_interval: 5").replace(
        'net: "net.prototxt"', 'train_net: "train.prototxt" test_net: "test.prototxt"'
    )
    made = caffe.SGDSolver(write("solver.prototxt", text))
    assert len(made.test_nets) == 1
    made.step(6)
    assert made.iter == 6


def case_shared_parameters():
    text = (
        NET.replace(
            "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }",
            'param { name: "w" } param { name: "b" }',
        )
        .replace("num_output: 3", "num_output: 4")
        .replace(
            'layer { name: "tanh"',
            'layer { name: "ip2" type: "InnerProduct" bottom: "ip" top: "ip2" '
            'param { name: "w" } param { name: "b" }\n'
            '  inner_product_param { num_output: 4 } }\nlayer { name: "tanh"',
        )
        .replace('bottom: "ip" top: "ip" }', 'bottom: "ip2" top: "ip2" }')
        .replace('bottom: "ip" top: "out"', 'bottom: "ip2" top: "out"')
    )
    made = solver("momentum: 0.9", text=text)
    before = made.net.params["ip"][0].data.copy()
    grad = gradients(made)["ip"][0]
    made.step(1)
    close(made.net.params["ip2"][0].data, before - 0.05 * grad, 2e-6)
    close(made.net.params["ip2"][0].data, made.net.params["ip"][0].data, 0)


def case_batch_norm_learns_its_statistics():
    text = NET.replace(
        'layer { name: "tanh"',
        'layer { name: "bn" type: "BatchNorm" bottom: "ip" top: "ip" }\nlayer { name: "tanh"',
    )
    made = solver("momentum: 0.9 weight_decay: 0.1", text=text)
    for blob in made.net.params["bn"]:
        blob.data[...] = 0
    made.step(3)
    close(made.net.params["bn"][2].data, [1 + 0.999 + 0.999**2], 1e-5)
