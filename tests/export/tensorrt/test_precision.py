from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, shape_inference
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.bundle.contents import Bundle
from shan_engine.scoring.scorer import Scorer
from shan_export.cases import cases
from shan_export.tensorrt.check import GivenGraphs
from shan_export.tensorrt.plan_graphs import SCORES, chain_graphs, convert_graphs, plan_graphs, simulate_rounding
from shan_export.tensorrt.precision import LOW, lower_precision
from tiny import EXTRACTOR

VARIANTS = [{}, {"direction": "i2t"}, {"direction": "t2i", "steps": ["l2l", "g2l"]}, {"steps": ["l2l"]}]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join(map(str, v.values())) or "all")
def bundle(request, make_checkpoint, exported, tmp_path_factory):
    path = tmp_path_factory.mktemp("variant") / "bundle"
    exported(make_checkpoint(**request.param).folder, path, feature_extractor_name=EXTRACTOR)
    return Bundle.open(path)


def all_scores(scorer, bundle):
    manifest = bundle.manifest
    for features, mask, tokens, lengths in cases(manifest.feature_dim, len(bundle.tokenizer), max_words=20):
        images = scorer.encoders.encode_images(features, mask)
        yield scorer.score_pairs(
            images, scorer.encoders.graph("text_encoder.onnx").run({"tokens": tokens, "lengths": lengths})
        )


def test_the_chained_scorer_needs_only_what_a_gallery_stores(bundle, tmp_path):
    graphs = plan_graphs(bundle)
    names = {value.name for value in graphs["pair_scorer"].graph.input}
    assert {name for name in names if name.startswith("image_")} == {"image_regions"}
    encoders = [OnnxRuntimeGraph(bundle.path / f"{name}.onnx", "cpu") for name in ("image_encoder", "text_encoder")]
    terms, scorer = (OnnxRuntimeGraph(bundle.path / f"{name}.onnx", "cpu") for name in ("image_terms", "pair_scorer"))
    found = list(all_scores(Scorer(bundle, runtime=GivenGraphs(graphs, tmp_path)), bundle))
    manifest = bundle.manifest
    inputs = cases(manifest.feature_dim, len(bundle.tokenizer), max_words=20)
    for scores, (features, mask, tokens, lengths) in zip(found, inputs, strict=True):
        stored = {**encoders[0].run({"features": features, "region_mask": mask}), "region_mask": mask}
        captions = encoders[1].run({"tokens": tokens, "lengths": lengths})
        expected = scorer.run({**stored, **terms.run(stored), **captions})["scores"]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("precision", "most"), [("fp16", 4e-3), ("bf16", 4e-2)])
def test_scores_in_16_bits_stay_near(bundle, tmp_path, precision, most):
    exact = plan_graphs(bundle)
    lower = convert_graphs(exact, precision, ())
    folders = [tmp_path / name for name in ("exact", "lower")]
    for folder in folders:
        folder.mkdir()
    scorers = [
        Scorer(bundle, runtime=GivenGraphs(graphs, folder))
        for graphs, folder in zip((exact, lower), folders, strict=True)
    ]
    differences = [np.abs(a - b).max() for a, b in zip(*(all_scores(s, bundle) for s in scorers), strict=True)]
    assert 0 < max(differences) < most


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_products_are_low_and_what_must_be_exact_is_not(bundle, precision):
    low = LOW[precision]
    for graph in convert_graphs(plan_graphs(bundle), precision, ()).values():
        onnx.checker.check_model(graph, full_check=True)
        inferred = shape_inference.infer_shapes(graph, strict_mode=True).graph
        types = {
            v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info, *inferred.output)
        }
        types |= {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
        seen = set()
        for node in graph.graph.node:
            if node.op_type in ("MatMul", "Sigmoid"):
                assert {types[tensor] for tensor in (*node.input, *node.output)} == {low}
            if node.op_type in ("Softmax", "ReduceSum", "ReduceMean", "Sqrt", "Div", "GRU", "Exp"):
                assert low not in {types[tensor] for tensor in (*node.input, *node.output) if tensor}
            seen.add(node.op_type)
        assert "MatMul" in seen
        ends = {value.name: value.type.tensor_type.elem_type for value in (*graph.graph.input, *graph.graph.output)}
        floats = {end: kind for end, kind in ends.items() if kind in (TensorProto.FLOAT, low)}
        half = precision == "fp16"
        assert all(kind == (low if half and end not in SCORES else TensorProto.FLOAT) for end, kind in floats.items())


def test_rounding_gives_what_16_bits_give():
    """x @ y summed: by hand in float16, and by the graph on a processor that computes in float32."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in "xy")
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", "n"])
    nodes = [
        helper.make_node("Transpose", ["y"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["product"]),
        helper.make_node("Add", ["product", "one"], ["z"]),
    ]
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x, y], [z], [one]), opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    )
    lower = simulate_rounding(lower_precision(model, "fp16", full_outputs=["z"]))
    import onnxruntime

    session = onnxruntime.InferenceSession(lower.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    left, right = (random.normal(size=(5, 8)).astype(np.float16) for _ in range(2))
    product = (left.astype(np.float32) @ right.astype(np.float32).T).astype(np.float16)
    np.testing.assert_allclose(
        session.run(None, {"x": left, "y": right})[0], product.astype(np.float32) + 1, rtol=0, atol=2e-3
    )


def test_chained_inputs_of_one_name_are_one(tmp_path):
    def model(nodes, inputs, outputs):
        values = [
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in names] for names in (inputs, outputs)
        ]
        return helper.make_model(
            helper.make_graph(nodes, "g", *values), opset_imports=[helper.make_opsetid("", 20)], ir_version=9
        )

    first = model(
        [helper.make_node("Add", ["a", "a"], ["inner"]), helper.make_node("Neg", ["inner"], ["b"])], ["a"], ["b"]
    )
    second = model(
        [helper.make_node("Sub", ["a", "b"], ["inner"]), helper.make_node("Mul", ["inner", "c"], ["d"])],
        ["a", "b", "c"],
        ["d"],
    )
    path = tmp_path / "both.onnx"
    onnx.save(chain_graphs(first, second), str(path))
    graph = OnnxRuntimeGraph(path, "cpu")
    assert list(graph.inputs) == ["a", "c"]
    assert graph.outputs == ["d"]
    assert graph.run({"a": np.float32([3]), "c": np.float32([2])})["d"].tolist() == [18]
