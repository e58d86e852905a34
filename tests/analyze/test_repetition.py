"""Target repetition and reproduced training targets, counted by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla.analyze.present import LineChart, Table
from hexapla.analyze.repetition import (
    Memorisation,
    Repetition,
    memorisation,
    occurrences_by_direction,
    repetition_features,
    repetition_section,
)
from hexapla.data.examples import make_examples
from hexapla.data.rows import Row
from hexapla.languages import Direction

DE_EN, NL_EN, EN_DE, EN_NL = (Direction(*pair.split("-")) for pair in ("de-en", "nl-en", "en-de", "en-nl"))
ROWS = [
    Row("r:1", {"en": "Good day.", "de": "Guten Tag.", "nl": "Goedendag."}, "r"),
    Row("r:2", {"en": "Thanks.", "de": "Danke.", "nl": "Dank."}, "r"),
    Row("r:3", {"en": "Good day.", "de": "Tag!"}, "r"),
]


def targets(*directions: Direction) -> list[tuple[Direction, str]]:
    return [(example.direction, example.target) for example in make_examples(ROWS, directions)]


def test_multi_way_rows_repeat_the_hub_sentence() -> None:
    found = Repetition.of(targets(DE_EN, NL_EN))
    assert found == Repetition(5, {2: 1, 3: 1})  # "Thanks." twice, "Good day." three times
    assert (found.num_distinct, found.mean_occurrences, found.max_occurrences) == (2, 2.5, 3)
    assert found.repeated_share == 1


def test_one_direction_repeats_what_the_corpus_repeats() -> None:
    found = Repetition.of(targets(DE_EN))
    assert found == Repetition(3, {1: 1, 2: 1})
    assert found.repeated_share == pytest.approx(2 / 3)
    assert Repetition.of(targets(EN_DE)).repeated_share == 0


def test_the_same_text_in_two_languages_is_two_targets() -> None:
    assert Repetition.of([(EN_DE, "OK"), (EN_NL, "OK")]) == Repetition(2, {1: 2})


def test_nothing_is_missing_not_zero() -> None:
    found = Repetition.of([])
    assert (found.mean_occurrences, found.max_occurrences, found.repeated_share) == (None, None, None)


@given(st.lists(st.tuples(st.sampled_from([DE_EN, NL_EN, EN_DE]), st.sampled_from("abcd")), min_size=1))
def test_counts_add_up(examples: list[tuple[Direction, str]]) -> None:
    found = Repetition.of(examples)
    assert sum(times * number for times, number in found.histogram.items()) == found.num_examples == len(examples)
    assert list(found.histogram) == sorted(found.histogram)
    by_direction = occurrences_by_direction(examples)
    sizes = Counter(direction for direction, _ in examples)
    total = sum(sizes[direction] * mean for direction, mean in by_direction.items())
    assert total == pytest.approx(sum(times * times * number for times, number in found.histogram.items()))


def test_occurrences_count_the_whole_adapter() -> None:
    found = occurrences_by_direction(targets(DE_EN, NL_EN, EN_DE))
    assert found == {DE_EN: pytest.approx((3 + 2 + 3) / 3), NL_EN: pytest.approx((3 + 2) / 2), EN_DE: 1.0}


def test_features_are_by_job() -> None:
    shared, apart = repetition_features([targets(DE_EN, NL_EN)]), repetition_features([targets(DE_EN), targets(NL_EN)])
    assert shared[0].values == {DE_EN: pytest.approx(8 / 3), NL_EN: 2.5}
    assert apart[0].values == {DE_EN: pytest.approx(5 / 3), NL_EN: 1.0}
    assert shared[1].values == apart[1].values == {DE_EN: 3.0, NL_EN: 2.0}


def test_reproduced_targets() -> None:
    outputs = [
        ("Thanks.", "Thank you."),  # a training target, and wrong
        (" Good day. ", "Good day."),  # a training target, and right
        ("Hello.", "Good day."),  # neither; the reference is a training target
        ("", "Bye."),
    ]
    assert Memorisation.of(outputs, ["Thanks.", "Good day. "]) == Memorisation(4, 1, 2)


def test_memorisation_asks_the_jobs_of_the_adapter_in_the_target_language() -> None:
    training = {"de-en": targets(DE_EN), "nl-en": [(NL_EN, "Only Dutch saw this.")], "en-de": [(EN_DE, "Hm.")]}
    outputs = {
        DE_EN: [("Only Dutch saw this.", "x"), ("Thanks.", "y"), ("Hm.", "z")],
        EN_DE: [("Hm.", "x")],
        NL_EN: [],
        EN_NL: [("Hm.", "x")],
    }
    separate = memorisation(outputs, training, {DE_EN: ["de-en"], NL_EN: ["nl-en"], EN_DE: ["en-de"], EN_NL: []})
    assert separate == {DE_EN: Memorisation(3, 1, 0), EN_DE: Memorisation(1, 1, 0)}
    merged = memorisation(outputs, training, {DE_EN: ["de-en", "nl-en", "en-de"]})
    assert merged == {DE_EN: Memorisation(3, 2, 0)}  # "Hm." was a target in German only


def test_the_section() -> None:
    training = {"all": targets(DE_EN, NL_EN), "de-en": targets(DE_EN), "twin": targets(DE_EN), "none": []}
    memorised = {"separate": {DE_EN: Memorisation(8, 2, 1), NL_EN: Memorisation(2, 0, 0)}, "silent": {}}
    section = repetition_section(training, memorised)
    items = {item.name: item for item in section.items}
    table = items["target-repetition"]
    assert isinstance(table, Table)
    assert table.rows[0] == ("all", 5, 2, 2.5, 3, 100.0)
    assert table.rows[3] == ("none", 0, 0, None, None, None)
    histogram = items["target-repetition-histogram"]
    assert isinstance(histogram, Table)
    assert histogram.rows[:2] == (("all", 2, 1, 2, 40.0), ("all", 3, 1, 3, 60.0))
    chart = items["target-repetition-histogram-chart"]
    assert isinstance(chart, LineChart)
    assert [(s.name, [(p.x, p.y) for p in s.points]) for s in chart.series] == [
        ("all", [(2, 40.0), (3, 60.0)]),
        ("de-en and 1 more", [(1, pytest.approx(100 / 3)), (2, pytest.approx(200 / 3))]),
    ]
    reproduced = items["reproduced-targets"]
    assert isinstance(reproduced, Table)
    assert reproduced.rows == (
        ("separate", "all", 10, 2, 20.0, 10.0),
        ("separate", "de-en", 8, 2, 25.0, 12.5),
        ("separate", "nl-en", 2, 0, 0.0, 0.0),
        ("silent", "all", 0, 0, None, None),
    )
    assert not section.notes


def test_without_translations_the_section_says_so() -> None:
    section = repetition_section({"de-en": targets(DE_EN)})
    assert [item.name for item in section.items][-1] == "target-repetition-histogram-chart"
    assert "not looked for" in section.notes[0]
