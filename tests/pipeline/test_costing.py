"""What is known of a recipe before it runs: sizes and memory by hand, on a base that is bundled as a shape only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hexapla.data.examples import make_examples
from hexapla.languages import Direction
from hexapla.pipeline import counting
from hexapla.pipeline.check import check_recipe
from hexapla.pipeline.costing import Costing, cost_recipe, training_cost
from hexapla.pipeline.counting import TextReader, expected_examples, finished_corpus
from hexapla.recipe import Recipe
from hexapla.train.cost import estimate_instruction_tokens, estimate_tokens
from tests.pipeline.world import NUM_TRAIN, Edit, run, sentences, write_lines, write_recipe

GIB = 2**30


def _recipe(folder: Path, base: Path, **train: Any) -> Recipe:
    path = write_recipe(folder, base)
    return Recipe.load(path, [f"train.{key}={json.dumps(value)}" for key, value in train.items()])


def _cost(recipe: Recipe, out: Path | None = None) -> Costing:
    return cost_recipe(recipe, TextReader(out))


def _line(costing: Costing, name: str) -> str:
    [line] = [line for line in costing.to_text().splitlines() if line.startswith(name + " ")]
    return " ".join(line.split()[1:])


def test_memory_is_base_and_activations_and_every_adapter(qwen3_base: Path, tmp_path: Path) -> None:
    costing = _cost(_recipe(tmp_path, qwen3_base))
    memory = costing.to_record()["memory"]
    assert memory["adapters_at_once"] == len(costing.jobs) == 5
    assert memory["base_bytes"] == 4 * costing.num_base_parameters
    assert memory["adapter_bytes"] == 16 * costing.num_adapter_parameters
    total = memory["base_bytes"] + memory["activation_bytes"] + 5 * memory["adapter_bytes"]
    assert memory["total_bytes"] == total == costing.memory.total
    assert _line(costing, "memory").endswith(f"; all 5 at once {total / GIB:.2g} GiB (estimate)")


@pytest.mark.parametrize(
    ("train", "at_once", "words"),
    [
        ({"method": "peft"}, 1, "; 1 at once"),
        ({"bank": {"adapters_at_once": 2}}, 2, "; 2 at once"),
        ({"bank": {"adapters_at_once": 99}}, 5, "; all 5 at once"),
    ],
)
def test_adapters_at_once(train: dict[str, Any], at_once: int, words: str, qwen3_base: Path, tmp_path: Path) -> None:
    costing = _cost(_recipe(tmp_path, qwen3_base, **train))
    assert costing.memory.num_adapters == at_once
    assert words in _line(costing, "memory")


def test_fp32_takes_twice_the_memory_for_the_base(qwen3_base: Path, tmp_path: Path) -> None:
    half, full = (_cost(_recipe(tmp_path, qwen3_base, precision=name)) for name in ("auto", "fp32"))
    assert full.memory.base == 2 * half.memory.base
    assert full.memory.adapter == half.memory.adapter


def test_own_ranks_count_for_sizes_and_the_largest_for_memory(qwen3_base: Path, tmp_path: Path) -> None:
    plain = _cost(_recipe(tmp_path, qwen3_base))
    one = plain.num_adapter_parameters
    own = {"de-en": {"rank": 8, "epochs": 2}}
    costing = _cost(_recipe(tmp_path, qwen3_base, adapters=own))
    assert _line(plain, "to").startswith("train 5 adapters of 2.0 K parameters")
    assert _line(costing, "to").startswith("train 5 adapters of 2.0 K to 8.2 K parameters")
    sizes = {cost.job.name: cost.num_parameters for cost in costing.jobs}
    assert sizes["de-en"] == 4 * one
    assert sorted(sizes.values()) == [one] * 4 + [4 * one]
    assert costing.memory.adapter == 4 * plain.memory.adapter
    before, after = ({pool.name: pool.num_parameters for pool in made.pools} for made in (plain, costing))
    assert after["separate"] == before["separate"] + 3 * one
    # nl-en and de-en are merged at the larger of their ranks
    assert after["direction-aware+ties"] == before["direction-aware+ties"] + 3 * one
    assert after["direction-aware"] == before["direction-aware"] + 3 * one
    [first], [second] = ([cost for cost in made.jobs if cost.job.name == "de-en"] for made in (plain, costing))
    assert first.num_steps is not None
    assert second.num_steps == 2 * first.num_steps
    assert second.num_examples == first.num_examples
    assert first.flops is not None
    assert second.flops is not None
    assert second.flops > 2 * first.flops  # two epochs of more parameters


def test_disk_is_for_adapters_and_all_checkpoints(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is asked for to the byte: five trained adapters and one merged, and three checkpoints of five rows."""
    recipe = _recipe(tmp_path, qwen3_base)
    one = _cost(recipe).num_adapter_parameters
    pools = {pool.name: pool.num_adapters for pool in _cost(recipe).pools}
    num_merged = sum(number for name, number in pools.items() if "+" in name)
    bank = 5 * one * (16 + 4) * 3
    adapters = (5 + num_merged) * one * 4

    def verdict(changed: Recipe, free: int) -> str:
        usage = shutil._ntuple_diskusage(10 * GIB, 10 * GIB - free, free)
        monkeypatch.setattr("hexapla.pipeline.check.shutil.disk_usage", lambda _: usage)
        [found] = [finding for finding in check_recipe(changed, tmp_path / "out") if finding.subject == "disk"]
        return found.verdict

    assert verdict(recipe, adapters + bank + 1) == "ok"
    assert verdict(recipe, adapters + bank) == "fail"
    two = _recipe(tmp_path, qwen3_base, bank={"adapters_at_once": 2, "keep_checkpoints": 1})
    assert verdict(two, adapters + 2 * one * 20 * 2 + 1) == "ok"
    assert verdict(two, adapters + 2 * one * 20 * 2) == "fail"
    reference = _recipe(tmp_path, qwen3_base, method="peft")
    assert verdict(reference, adapters + one * 16 * 2 + 1) == "ok"
    assert verdict(reference, adapters + one * 16 * 2) == "fail"


def test_check_reads_the_training_corpora_whole_only_once(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hexapla.data.cleaning
    import hexapla.data.stage
    import hexapla.pipeline.check

    read: dict[str, int] = {}

    def counting(reader: Any, languages: tuple[str, ...], **settings: Any) -> Any:
        for item in hexapla.data.cleaning.rows_of(reader, languages, **settings):
            read[reader.corpus] = read.get(reader.corpus, 0) + 1
            yield item

    recipe = _recipe(tmp_path, qwen3_base)
    for module in (hexapla.data.stage, hexapla.pipeline.check):
        monkeypatch.setattr(module, "rows_of", counting)
    monkeypatch.setattr(hexapla.pipeline.check, "_SAMPLED_ROWS", 3)
    findings = list(check_recipe(recipe, tmp_path / "out"))
    assert all(finding.verdict != "fail" for finding in findings)
    assert read["train"] == 12 + 3


INSTRUCTIONS = [{"instruction": f"Do {number}.", "input": "ä" * 10, "output": "Done."} for number in range(30)]


def _instructed(folder: Path, base: Path, mix: dict[str, Any], num_bad: int = 2) -> Recipe:
    """One model on 12 rows of three languages in four directions, beside 30 instructions."""
    records = [*INSTRUCTIONS, *({"instruction": "no output"} for _ in range(num_bad))]
    (folder / "tasks.json").write_text(json.dumps(records), encoding="utf-8")

    def edit(document: dict[str, Any]) -> None:
        source = {"path": str(folder / "tasks.json"), "language": "en"}
        document["data"]["instructions"] = {"sources": [source], "mix": {"unit": "rows", **mix}}
        document["train"] |= {"strategy": ["multilingual", "separate"], "epochs": 2}
        del document["merge"]

    return Recipe.load(write_recipe(folder, base, edit), [])


@pytest.mark.parametrize(
    ("mix", "num_translations", "num_instructions"),
    [
        ({}, 48, 30),
        ({"weights": {"translation": 4, "tasks": 1}}, 48, 12),
        ({"weights": {"translation": 1, "tasks": 1}}, 48, 48),
        ({"weights": {"translation": 1, "tasks": 1}, "exhaustion": "drop"}, 48, 30),
        ({"weights": {"translation": 1, "tasks": 1}, "exhaustion": "stop"}, 30, 30),
    ],
)
def test_instructions_count_as_examples_of_the_job_of_all_directions(
    qwen3_base: Path, tmp_path: Path, mix: dict[str, Any], num_translations: int, num_instructions: int
) -> None:
    recipe = _instructed(tmp_path, qwen3_base, mix)
    costing = _cost(recipe)
    cost, *others = costing.jobs
    assert set(cost.job.directions) == set(recipe.layout.directions)
    assert cost.num_examples == num_translations + num_instructions
    assert cost.num_instructions == num_instructions
    assert cost.num_steps == 2 * -(-(num_translations + num_instructions) // 4)
    rows = TextReader().read(recipe).rows
    assert rows is not None
    translations = estimate_tokens(make_examples(rows, recipe.layout.directions)) * num_translations / 48
    said = sum(len("".join(record.values()).encode()) for record in INSTRUCTIONS) / len(INSTRUCTIONS)
    instructions = estimate_instruction_tokens(said * num_instructions, num_instructions)
    assert cost.num_tokens == pytest.approx(translations + instructions, abs=2)
    assert cost.flops == pytest.approx(training_cost(recipe).flops(2 * cost.num_tokens))
    assert {each.num_instructions for each in others} == {0}
    expected = f"in {num_instructions} instructions, of 30, beside {num_translations} translations"
    assert _line(costing, "mixed") == expected
    [record] = [job for job in costing.to_record()["jobs"] if job["name"] == cost.job.name]
    assert (record["examples"], record["instructions"], record["tokens"]) == (
        cost.num_examples,
        num_instructions,
        cost.num_tokens,
    )


def test_plan_counts_what_a_run_mixes_in(qwen3_base: Path, tmp_path: Path) -> None:
    """The numbers that the run's log has."""
    from hexapla.common.artifacts import read_jsonl
    from hexapla.common.progress import EventLog
    from hexapla.pipeline.instructions import InstructionStore

    recipe = _instructed(tmp_path, qwen3_base, {"weights": {"translation": 3, "tasks": 1}})
    [cost] = [cost for cost in _cost(recipe).jobs if cost.num_instructions]
    rows = TextReader().read(recipe).rows
    assert rows is not None
    examples = make_examples(rows, cost.job.directions)
    InstructionStore().mixed_in(recipe, cost.job, examples, EventLog(tmp_path / "run.jsonl"))
    [event] = read_jsonl(tmp_path / "run.jsonl")
    assert event["instructions"] == cost.num_instructions == 16
    assert event["translations"] + event["instructions"] == cost.num_examples
    assert event["set_asides"] == {"tasks": {"no-output": 2}}


def test_instructions_that_cannot_be_read_leave_examples_unknown(qwen3_base: Path, tmp_path: Path) -> None:
    recipe = _instructed(tmp_path, qwen3_base, {})
    (tmp_path / "tasks.json").unlink()
    costing = _cost(recipe)
    assert {cost.num_examples for cost in costing.jobs} == {None}
    assert "tasks.json" in costing.to_text().splitlines()[-1]


def _cleaned(document: dict[str, Any]) -> None:
    """Of the Dutch sentences every other one is too wide."""
    document["data"]["clean"] = {"filters": [{"filter": "length", "max": 29}]}
    document["train"]["strategy"] = "separate"
    document["evaluate"] = {"metrics": ["chrf"], "limit": 1, "baseline": False}
    del document["merge"]


def test_counts_are_before_cleaning_until_a_run_has_cleaned(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_recipe(tmp_path, qwen3_base, _cleaned), tmp_path / "out"
    recipe = Recipe.load(path, [])
    before = _cost(recipe, out)
    assert _line(before, "examples") == "counted before cleaning"
    assert before.to_record()["counted"] == "before cleaning"
    assert {cost.num_examples for cost in before.jobs} == {NUM_TRAIN}
    run(path, out)
    assert finished_corpus(recipe, out) is not None
    monkeypatch.setattr(counting, "read_training_rows", None)  # nothing is read twice
    after = _cost(recipe, out)
    assert _line(after, "examples").startswith(f"counted in the finished corpus {out / 'artifacts'}")
    assert {cost.job.name: cost.num_examples for cost in after.jobs} == {
        "de-en": NUM_TRAIN,
        "en-de": NUM_TRAIN,
        "nl-en": NUM_TRAIN // 2,
        "en-nl": NUM_TRAIN // 2,
    }


def test_a_corpus_of_other_files_or_settings_is_not_counted(qwen3_base: Path, tmp_path: Path) -> None:
    path, out = write_recipe(tmp_path, qwen3_base, _cleaned), tmp_path / "out"
    run(path, out)
    assert finished_corpus(Recipe.load(path, ["data.clean.filters.0.max=90"]), out) is None
    write_lines(tmp_path / "train.de", sentences("de", range(300, 300 + NUM_TRAIN)))
    assert finished_corpus(Recipe.load(path, []), out) is None
    assert _line(_cost(Recipe.load(path, []), out), "examples") == "counted before cleaning"


def test_without_cleaning_nothing_is_said_of_it(qwen3_base: Path, tmp_path: Path) -> None:
    costing = _cost(_recipe(tmp_path, qwen3_base))
    assert costing.text.counted is None
    assert not any(line.startswith("examples ") for line in costing.to_text().splitlines())


def test_parts_that_share_rows_are_read_once(qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    reading = counting.read_training_rows
    monkeypatch.setattr(counting, "read_training_rows", lambda *args, **more: read.append(1) or reading(*args, **more))
    recipe, reader = _recipe(tmp_path, qwen3_base), TextReader()
    other = Recipe.load(tmp_path / "recipe.yaml", ["data.downsample.to_hub=0.5"])
    third = Recipe.load(tmp_path / "recipe.yaml", ["seed=5"])
    for part, times in ((recipe, 1), (other, 1), (third, 2)):
        assert reader.read(part).rows
        assert len(read) == times


def _pmp(**settings: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        document["data"]["pmp"] = {"share": 1, "auxiliary": "typology", **settings}

    return edit


def test_auxiliary_sentences_count_as_tokens(qwen3_base: Path, tmp_path: Path) -> None:
    plain = _cost(Recipe.load(write_recipe(tmp_path, qwen3_base), []))
    for auxiliary in ("typology", "distance"):
        recipe = Recipe.load(write_recipe(tmp_path, qwen3_base, _pmp(auxiliary=auxiliary)), [])
        shown = _cost(recipe)
        assert [cost.num_examples for cost in shown.jobs] == [cost.num_examples for cost in plain.jobs]
        pairs = [(cost.num_tokens, other.num_tokens) for cost, other in zip(shown.jobs, plain.jobs, strict=True)]
        assert all(more is not None and less is not None and more > 1.2 * less for more, less in pairs)


def test_an_auxiliary_language_that_no_row_has_is_left_out(qwen3_base: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(write_recipe(tmp_path, qwen3_base, _pmp()), [])
    rows = TextReader().read(recipe).rows
    assert rows is not None
    direction = Direction("de", "en")
    assert expected_examples(recipe, rows).auxiliaries.of(direction) == "nl"
    pairs = [type(row)(row.id, {c: t for c, t in row.texts.items() if c != "nl"}, row.corpus) for row in rows]
    maker = expected_examples(recipe, pairs)
    assert maker.auxiliaries.of(direction) is None
    assert len(maker.training(pairs, [direction])) == NUM_TRAIN


def _tokenizer_line(recipe: Recipe, out: Path) -> str:
    found = [finding.line() for finding in check_recipe(recipe, out) if "sampled examples" in finding.text]
    return " ".join(" ".join(found).split())


def test_check_sees_prompts_with_an_auxiliary_sentence(qwen3_base: Path, tmp_path: Path) -> None:
    """In Dutch every sentence is too long to be a source or to be shown; no pair has it as its source."""

    def edit(document: dict[str, Any]) -> None:
        _pmp(share=0.5)(document)
        document["train"] |= {"strategy": "multilingual", "max_source_tokens": 60}
        del document["merge"]

    path = write_recipe(tmp_path, qwen3_base, edit)
    long = [f"{sentence} " * 3 for sentence in sentences("nl", range(100, 100 + NUM_TRAIN))]
    write_lines(tmp_path / "train.nl", long)
    shown = _tokenizer_line(Recipe.load(path, []), tmp_path / "out")
    assert "auxiliary-too-long" in shown
    assert "of 48 sampled examples" in shown
    assert shown.startswith("warn")
    without = _tokenizer_line(Recipe.load(path, ["data.pmp.auxiliary=none"]), tmp_path / "out")
    assert "auxiliary" not in without.partition(";")[0]
    assert without.endswith("; 0 of them show an auxiliary sentence")


def test_check_looks_for_rows_that_can_show_an_auxiliary_sentence(
    qwen3_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pairs of languages come first; one row of three is among what is read."""

    def edit(document: dict[str, Any]) -> None:
        _pmp()(document)
        lines = [{"de": f"Haus {n}.", "en": f"House {n}."} for n in range(5)]
        lines += [{"de": "Ein Haus.", "en": "A house.", "nl": "Een huis."}]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
        document["data"]["train"] = [{"reader": "jsonl", "path": str(tmp_path / "rows.jsonl")}]

    monkeypatch.setattr("hexapla.pipeline.check._SAMPLED_ROWS", 2)
    line = _tokenizer_line(Recipe.load(write_recipe(tmp_path, qwen3_base, edit), []), tmp_path / "out")
    assert "of 6 sampled examples" in line
    assert line.endswith("; 4 of them show an auxiliary sentence")
