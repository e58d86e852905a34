"""The engine against peft and transformers' own generate."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from hexapla.adapter import LoraAdapter, LoraSettings
from hexapla.base import Base
from hexapla.common.errors import UserError
from hexapla.pool import Pool
from hexapla.translate.engines import lora_rows
from hexapla.translate.engines.engine import DecodeRequest
from hexapla.translate.engines.torch_engine import TorchEngine, _Batch
from hexapla.translate.spec import TranslateSpec
from tests.translate.conftest import PoolMaker
from tests.translate.reference import Reference

ADAPTERS = ("first", "second", "third", None)
FEW_ENDS = [2]
MANY_ENDS = [2, *range(10, 384, 5)]  # a random model reaches one of them within a few tokens


def load(pool: Pool) -> tuple[TorchEngine, lora_rows.AdapterStack]:
    engine = TorchEngine(pool.description.base, device="cpu")
    return engine, engine.load_adapters({name: pool.read_adapter(name) for name in pool.adapters})


def set_ends(engine: TorchEngine, ends: list[int]) -> None:
    """Other end tokens, and no line breaks: transformers does not know that rule."""
    engine._kinds.ends.zero_()
    engine._kinds.ends[ends] = True
    engine._kinds.breaks.zero_()


def ragged_requests(number: int, seed: int = 0, adapters: tuple[str | None, ...] = ADAPTERS) -> list[DecodeRequest]:
    rng = random.Random(seed)
    return [
        DecodeRequest(
            [rng.randrange(3, 384) for _ in range(rng.randrange(3, 18))],
            rng.choice(adapters),
            rng.choice([1, 5, 12, 18]),
        )
        for _ in range(number)
    ]


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma"])
@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("ends", [FEW_ENDS, MANY_ENDS], ids=["few-ends", "many-ends"])
def test_mixed_batch_equals_generate(
    request: pytest.FixtureRequest, make_pool: PoolMaker, architecture: str, beams: int, ends: list[int]
) -> None:
    base_folder: Path = request.getfixturevalue(f"{architecture}_base")
    pool = make_pool(base_folder)
    engine, stack = load(pool)
    set_ends(engine, ends)
    requests = ragged_requests(16, seed=beams)

    decoded = engine.decode(requests, stack, TranslateSpec(beams=beams, loop_ngram=0))

    reference = Reference(base_folder, pool)
    expected = [
        reference.generate(
            list(item.prompt), item.adapter, num_beams=beams, max_new_tokens=item.max_new_tokens, eos_token_id=ends
        )
        for item in requests
    ]
    assert [item.tokens for item in decoded] == expected
    assert "length" in {item.finish for item in decoded}
    if ends is MANY_ENDS and architecture != "gemma":  # the random Gemma holds fast to other tokens
        assert "stop" in {item.finish for item in decoded}


def test_beams_go_on_when_nearly_every_token_ends(qwen3_base: Path, pool: Pool) -> None:
    engine, stack = load(pool)
    ends = [token for token in range(2, 384) if token % 4]
    set_ends(engine, ends)
    requests = ragged_requests(12, seed=4)
    decoded = engine.decode(requests, stack, TranslateSpec(beams=5, loop_ngram=0, length_penalty=4.0))
    reference = Reference(qwen3_base, pool)
    expected = [
        reference.generate(
            list(item.prompt),
            item.adapter,
            num_beams=5,
            max_new_tokens=item.max_new_tokens,
            eos_token_id=ends,
            length_penalty=4.0,  # favours long outputs, which need beams that go on
        )
        for item in requests
    ]
    assert [item.tokens for item in decoded] == expected


@pytest.mark.parametrize("length_penalty", [0.0, 2.0, -1.0])
def test_length_penalty_equals_generate(qwen3_base: Path, pool: Pool, length_penalty: float) -> None:
    engine, stack = load(pool)
    set_ends(engine, MANY_ENDS)
    requests = ragged_requests(8, seed=7)
    decoded = engine.decode(requests, stack, TranslateSpec(beams=3, loop_ngram=0, length_penalty=length_penalty))
    reference = Reference(qwen3_base, pool)
    expected = [
        reference.generate(
            list(item.prompt),
            item.adapter,
            num_beams=3,
            max_new_tokens=item.max_new_tokens,
            eos_token_id=MANY_ENDS,
            length_penalty=length_penalty,
        )
        for item in requests
    ]
    assert [item.tokens for item in decoded] == expected


def test_sliding_window_equals_generate(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, MistralConfig

    from tests.tiny_models import tiny_tokenizer

    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = MistralConfig(vocab_size=384, num_key_value_heads=2, sliding_window=6, eos_token_id=2, **shape)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    engine = TorchEngine(Base(str(tmp_path)), device="cpu")
    set_ends(engine, FEW_ENDS)
    requests = ragged_requests(6, adapters=(None,))
    for beams in (1, 4):
        decoded = engine.decode(requests, engine.load_adapters({}), TranslateSpec(beams=beams, loop_ngram=0))
        for item, output in zip(requests, decoded, strict=True):
            ids = torch.tensor([list(item.prompt)])
            expected = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                num_beams=beams,
                do_sample=False,
                max_new_tokens=item.max_new_tokens,
                pad_token_id=0,
            )
            expected_tokens = [token for token in expected[0, ids.shape[1] :].tolist() if token != 2]
            assert output.tokens == expected_tokens


@pytest.mark.parametrize("positions_a_run", [1, 10**9], ids=["by-runs", "by-blocks"])
def test_logits_of_mixed_rows_equal_peft(
    qwen3_base: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch, positions_a_run: int
) -> None:
    monkeypatch.setattr(lora_rows, "POSITIONS_A_RUN", positions_a_run)
    engine, stack = load(pool)
    requests = ragged_requests(13, seed=3)
    rows = [stack.index[item.adapter] for item in requests]
    with torch.inference_mode():
        logits = _Batch(engine, [item.prompt for item in requests], stack, rows).prefill()
    reference = Reference(qwen3_base, pool)
    for row, item in enumerate(requests):
        torch.testing.assert_close(
            logits[row].clone(), reference.logits(list(item.prompt), item.adapter), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("beams", [1, 4])
def test_outputs_do_not_depend_on_company(pool: Pool, beams: int) -> None:
    engine, stack = load(pool)
    set_ends(engine, MANY_ENDS)
    requests = ragged_requests(20, seed=11)
    spec = TranslateSpec(beams=beams)
    together = engine.decode(requests, stack, spec)
    alone = [engine.decode([item], stack, spec)[0] for item in requests]
    assert [(item.tokens, item.finish) for item in together] == [(item.tokens, item.finish) for item in alone]
    assert [item.score for item in together] == pytest.approx([item.score for item in alone], abs=1e-4)


def test_score_is_the_mean_log_probability(pool: Pool) -> None:
    engine, stack = load(pool)
    set_ends(engine, FEW_ENDS)
    request = DecodeRequest([5, 6, 7], None, 4)
    for beams in (1, 3):
        [output] = engine.decode([request], stack, TranslateSpec(beams=beams, loop_ngram=0))
        ids = torch.tensor([[5, 6, 7, *output.tokens]])
        with torch.no_grad():
            log_probabilities = engine.model(input_ids=ids).logits.log_softmax(-1)
        chosen = [float(log_probabilities[0, 2 + place, token]) for place, token in enumerate(output.tokens)]
        assert output.score == pytest.approx(sum(chosen) / len(chosen), abs=1e-4)


def test_bound_of_each_row_is_kept(pool: Pool) -> None:
    engine, stack = load(pool)
    engine._kinds.ends.zero_()
    engine._kinds.breaks.zero_()
    requests = [DecodeRequest([5, 6, 7], "first", bound) for bound in (1, 9, 3, 80)]
    for beams in (1, 2):
        decoded = engine.decode(requests, stack, TranslateSpec(beams=beams, loop_ngram=0))
        assert [len(item.tokens) for item in decoded] == [1, 9, 3, 80]
        assert {item.finish for item in decoded} == {"length"}


def test_end_tokens_come_from_generation_settings_and_tokenizer(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    from tests.tiny_models import write_tiny_base

    write_tiny_base(tmp_path, "llama", seed=3)
    prompt, before = [7, 8, 9], TorchEngine(Base(str(tmp_path)), device="cpu")
    spec = TranslateSpec(beams=1, loop_ngram=0)
    [free] = before.decode([DecodeRequest(prompt, None, 6)], before.load_adapters({}), spec)
    assert free.finish == "length"
    third = free.tokens[2]
    assert third not in free.tokens[:2]
    GenerationConfig(eos_token_id=[2, third]).save_pretrained(tmp_path)
    after = TorchEngine(Base(str(tmp_path)), device="cpu")
    assert after._kinds.ends.nonzero()[:, 0].tolist() == sorted([2, third])
    [ended] = after.decode([DecodeRequest(prompt, None, 6)], after.load_adapters({}), spec)
    assert (ended.tokens, ended.finish) == (free.tokens[:2], "stop")


def test_batch_out_of_memory_is_halved(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, stack = load(pool)
    requests = ragged_requests(9, seed=2)
    spec = TranslateSpec(beams=2)
    expected = engine.decode(requests, stack, spec)
    forward, sizes = engine.model.forward, []

    def scarce(*args: Any, **kwargs: Any) -> Any:
        num_rows, length = kwargs["input_ids"].shape
        sizes.append(num_rows)
        if num_rows > 6 or length > 15:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", scarce)
    decoded = engine.decode(requests, stack, spec)
    too_long = [len(item.prompt) > 15 for item in requests]
    assert any(too_long)
    assert max(sizes) == 9
    for item, wanted, refused in zip(decoded, expected, too_long, strict=True):
        assert (item.tokens, item.finish) == (([], "too-long") if refused else (wanted.tokens, wanted.finish))


def test_adapter_that_does_not_fit_is_refused(pool: Pool) -> None:
    engine, _ = load(pool)
    settings = LoraSettings(2, 2, ("q_proj",), "x")
    path = "model.layers.0.self_attn.q_proj"
    narrow = LoraAdapter(settings, {path: (torch.zeros(2, 8), torch.zeros(32, 2))})
    with pytest.raises(UserError, match=r"'narrow' does not fit the base: model\.layers\.0"):
        engine.load_adapters({"narrow": narrow})
    lost = LoraAdapter(settings, {"model.layers.9.self_attn.q_proj": (torch.zeros(2, 32), torch.zeros(32, 2))})
    with pytest.raises(UserError, match=r"model\.layers\.9\.self_attn\.q_proj"):
        engine.load_adapters({"lost": lost})


def test_two_pools_share_one_base(pool: Pool) -> None:
    engine, stack = load(pool)
    other = engine.load_adapters({"first": pool.read_adapter("third")})
    request = DecodeRequest([9, 8, 7, 6], "first", 8)
    spec = TranslateSpec(beams=1)
    [before] = engine.decode([request], stack, spec)
    [swapped] = engine.decode([request], other, spec)
    [third] = engine.decode([DecodeRequest([9, 8, 7, 6], "third", 8)], stack, spec)
    [after] = engine.decode([request], stack, spec)
    assert before == after
    assert swapped.tokens == third.tokens != before.tokens
