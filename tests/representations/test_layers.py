"""Hidden states caught by hooks are those that transformers hands out, in every architecture and wrapping."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hexapla.common.errors import UserError
from hexapla.representations.layers import StateTap, find_decoder, resolve_layer
from hexapla.train.lora import checkpoint_layers
from tests.tiny_models import random_adapter, tiny_base

ARCHITECTURES = ("qwen3", "llama", "gemma", "gemma2", "gpt-neox")
_IDS = torch.arange(3, 25).view(2, 11)
_MASK = torch.tensor([[0] * 4 + [1] * 7, [1] * 11])


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _load(tmp_path_factory, request.param)


def _load(tmp_path_factory: pytest.TempPathFactory, architecture: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base(tmp_path_factory, architecture), dtype=torch.float32).eval()


def _run(model: Any, **more: Any) -> Any:
    return model(input_ids=_IDS, attention_mask=_MASK, use_cache=False, **more)


def _depth(model: Any) -> int:
    depth: int = model.config.num_hidden_layers
    return depth


def test_every_layer_is_what_transformers_counts(model: Any) -> None:
    layers = range(_depth(model) + 1)
    with StateTap(model, layers) as tap:
        expected = _run(model, output_hidden_states=True).hidden_states
    assert len(expected) == len(layers)
    assert sorted(tap.states) == list(layers)
    for layer in layers:
        assert torch.equal(tap.states[layer], expected[layer])


def test_a_wrapped_model_gives_the_states_of_its_adapter(
    model: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    from peft import PeftModel

    plain = _run(model, output_hidden_states=True).hidden_states
    base = tiny_base(tmp_path_factory, request.node.callspec.params["model"])
    wrapped = PeftModel.from_pretrained(model, random_adapter(base, "one", folder=tmp_path_factory.mktemp("adapter")))
    with StateTap(wrapped, [1, _depth(model)]) as tap:
        expected = _run(wrapped, output_hidden_states=True).hidden_states
    assert sorted(tap.states) == [1, _depth(model)]
    for layer, state in tap.states.items():
        assert torch.equal(state, expected[layer])
        assert not torch.allclose(state, plain[layer], atol=1e-3)


def test_the_last_states_do_not_depend_on_what_the_head_is_given(model: Any) -> None:
    """Trainers give the head some positions only, by a hook of their own, or leave it out."""
    expected = _run(model, output_hidden_states=True).hidden_states[-1]
    narrow = model.get_output_embeddings().register_forward_pre_hook(lambda _, arguments: (arguments[0][:, -1:],))
    with StateTap(model, [_depth(model)]) as tap:
        assert _run(model).logits.shape[1] == 1
    assert torch.equal(tap.states[_depth(model)], expected)
    narrow.remove()
    with StateTap(model, [_depth(model)]) as tap:
        model.base_model(input_ids=_IDS, attention_mask=_MASK, use_cache=False)
    assert torch.equal(tap.states[_depth(model)], expected)


def test_the_latest_pass_counts_and_none_outside(model: Any) -> None:
    tap = StateTap(model, [1])
    with tap:
        _run(model)
        model(input_ids=_IDS[:1, 4:], use_cache=False)
    assert tap.states[1].shape[:2] == (1, 7)
    caught = tap.states[1]
    _run(model)
    assert tap.states[1] is caught
    with pytest.raises(RuntimeError, match="stop"), tap:
        raise RuntimeError("stop")
    _run(model)
    assert not tap.states
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def _gradients(model: Any, *, backward_inside: bool) -> dict[str, Tensor]:
    """Of a function of a middle layer's and the last states."""
    model.zero_grad()
    layers = [1, _depth(model)]
    with StateTap(model, layers) as tap:
        _run(model)
        caught = dict(tap.states)
        value = sum(((tap.states[layer] * (layer + 1)).sin() * _MASK[..., None]).sum() for layer in layers)
        if backward_inside:
            value.backward()
    if not backward_inside:
        value.backward()
    assert all(tap.states[layer] is caught[layer] for layer in layers)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("backward_inside", [True, False])
def test_checkpointed_layers_give_the_same_gradients(model: Any, backward_inside: bool) -> None:
    plain = _gradients(model, backward_inside=False)
    states = _run(model, output_hidden_states=True).hidden_states
    depth = _depth(model)
    value = sum(((states[layer] * (layer + 1)).sin() * _MASK[..., None]).sum() for layer in (1, depth))
    parameters = dict(model.named_parameters())
    expected = torch.autograd.grad(value, [parameters[name] for name in plain])
    for got, want in zip(plain.values(), expected, strict=True):
        assert torch.equal(got, want)

    num_runs = 0

    def count(*_: Any) -> None:
        nonlocal num_runs
        num_runs += 1

    checkpoint_layers(model)
    next(find_decoder(model)[1][0].children()).register_forward_pre_hook(count)
    checkpointed = _gradients(model, backward_inside=backward_inside)
    assert num_runs == 2  # computed again in the backward pass
    assert checkpointed.keys() == plain.keys()
    for name, gradient in plain.items():
        assert torch.equal(checkpointed[name], gradient)


def test_checkpointed_layers_of_a_wrapped_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    from peft import PeftModel

    adapter = random_adapter(tiny_base(tmp_path_factory, "qwen3"), "two", folder=tmp_path_factory.mktemp("adapter"))
    wrapped = PeftModel.from_pretrained(_load(tmp_path_factory, "qwen3"), adapter, is_trainable=True).eval()
    wrapped.config = wrapped.get_base_model().config
    plain = _gradients(wrapped, backward_inside=False)
    assert plain
    assert all(".lora_" in name for name in plain)
    checkpoint_layers(wrapped)
    checkpointed = _gradients(wrapped, backward_inside=True)
    assert all(torch.equal(checkpointed[name], gradient) for name, gradient in plain.items())


def test_blocks_that_go_by_other_names() -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    config = GPT2Config(vocab_size=32, n_embd=16, n_layer=3, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=2)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert find_decoder(model)[1] is model.transformer.h
    with StateTap(model, range(4)) as tap:
        expected = model(input_ids=_IDS[:1], output_hidden_states=True).hidden_states
    assert all(torch.equal(tap.states[layer], expected[layer]) for layer in range(4))


def test_an_architecture_without_blocks_is_told(model: Any) -> None:
    model.config.num_hidden_layers = 7
    with pytest.raises(UserError, match=f"this architecture \\({model.config.model_type}\\) were not found") as caught:
        StateTap(model, [1])
    assert caught.value.where == "base"
    assert "7 blocks" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("layer", "depth", "index"),
    [(1, 4, 1), (4, 4, 4), (0.5, 32, 16), (0.5, 5, 3), (0.5, 1, 1), (0.01, 32, 1), (0.99, 32, 32), (1.0, 28, 28)],
)
def test_layers_by_index_and_by_share(layer: int | float, depth: int, index: int) -> None:
    assert resolve_layer(layer, depth, where="here") == index


@pytest.mark.parametrize("layer", [0, -1, 5, 1.5, 0.0, -0.5, float("nan"), float("inf")])
def test_layers_that_are_not_there(layer: int | float) -> None:
    with pytest.raises(UserError, match="the base has 4 blocks") as caught:
        resolve_layer(layer, 4, where="align.objectives.layer")
    assert caught.value.where == "align.objectives.layer"
    assert "1 to 4" in (caught.value.hint or "")
