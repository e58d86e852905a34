"""Plans for the analysis of conflict and synergy: nested sets, pools and jobs beside those that were asked for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla import languages
from hexapla.common.artifacts import digest_of
from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.plan import STRATEGIES, Layout, job_name, language_sets, make_plan
from hexapla.recipe import Recipe

OTHERS = ("de", "nl", "fr", "it", "ru", "uk", "hi", "tr", "fi")


def phrasebook() -> Layout:
    return Recipe.load("compare-strategies").layout


def dat() -> Layout:
    codes = languages.named_set("dat")
    return Layout(codes, ("en",), languages.grouping("dat", codes[1:]))


def little(num_hubs: int = 1, num_groups: int = 3) -> Layout:
    hubs = ("en", "zh", "es")[:num_hubs]
    return Layout(hubs + OTHERS, hubs, {f"g{i}": OTHERS[i::num_groups] for i in range(num_groups)})


def test_phrasebook_with_4_8_and_16_languages() -> None:
    layout = phrasebook()
    plan = make_plan(layout, ["direction-aware"], [4, 8, 16])
    assert plan.strategies == ("direction-aware",)
    assert plan.for_analysis == ("multilingual", "separate", "multilingual@4", "multilingual@8", "multilingual@16")
    # 18 to-hub experts, 7 groups; all; 18 from-hub experts; one for each set. The two groups with one language in this
    # recipe would share with `separate`; it has none.
    assert len(plan.jobs) == 18 + 7 + 1 + 18 + 3
    assert plan.layouts["multilingual@4"].languages == ("en", "de", "es", "ru")
    assert {layout.group_of(code) for code in plan.layouts["multilingual@8"].others} == set(layout.groups)
    assert set(plan.routes["multilingual@4"]) == set(plan.layouts["multilingual@4"].directions)
    assert set(plan.routes["multilingual@4"].values()) == {"de+en+es+ru"}


def test_dat_with_5_17_and_50_languages() -> None:
    plan = make_plan(dat(), ["direction-aware"], [5, 17, 50])
    assert len(plan.jobs) == 57 + 1 + 49 + 2, "50 languages are the recipe's: the plain multilingual pool"
    assert [name for name in plan.routes if "@" in name] == ["multilingual@5", "multilingual@17"]
    alone = make_plan(dat(), ["multilingual", "separate"], [5, 17, 50])
    assert len(alone.jobs) == 1 + 98 + 2
    assert alone.for_analysis == ("multilingual@5", "multilingual@17")


def test_an_empty_list_asks_for_shared_and_separate_training_alone() -> None:
    plan = make_plan(phrasebook(), ["multilingual"], [])
    assert plan.for_analysis == ("separate",)
    assert make_plan(phrasebook(), ["multilingual"]).for_analysis == ()


def test_a_set_that_is_a_group_shares_its_adapter() -> None:
    layout = little()
    with_group = make_plan(layout, ["group"], [("en", *layout.groups["g1"])])
    assert set(with_group.routes["multilingual@4"].values()) == {"g1"}
    assert len(with_group.jobs) == 3 + 1 + 18
    assert make_plan(layout, ["multilingual"], [("en", "de")]).jobs_of("multilingual@2")[0].name == "de+en"


@pytest.mark.parametrize("name", ["compare-strategies", "ntrex-datm", "x-alma-13b-datm"])
def test_the_analysis_renames_and_reorders_nothing(name: str) -> None:
    recipe = Recipe.load(name)
    plain = make_plan(recipe.layout, recipe.train.strategies)
    analysed = make_plan(recipe.layout, recipe.train.strategies, [3, 6])
    assert analysed.jobs[: len(plain.jobs)] == plain.jobs
    assert {pool: analysed.routes[pool] for pool in plain.routes} == plain.routes


@pytest.mark.parametrize(
    ("layout", "digest"),
    [(phrasebook(), "7e98bec4b268422a"), (dat(), "e1a9387b75748884"), (little(2), "c03396e7d760afb5")],
    ids=["phrasebook", "dat", "two hubs"],
)
def test_names_of_the_first_release_stay(layout: Layout, digest: str) -> None:
    """Seeds, and the keys of finished adapters, depend on them: digests of the names before there was an analysis."""
    jobs = make_plan(layout, list(STRATEGIES)).jobs
    assert digest_of({job.name: [str(d) for d in job.directions] for job in jobs})[:16] == digest


@given(
    num_hubs=st.integers(1, 3),
    num_groups=st.integers(1, 4),
    numbers=st.sets(st.integers(4, 12), min_size=1, max_size=5),
)
def test_numbered_sets_are_nested_and_spread_over_groups(num_hubs: int, num_groups: int, numbers: set[int]) -> None:
    layout = little(num_hubs, num_groups)
    asked = sorted(number for number in numbers if num_hubs < number <= len(layout.languages))
    sets = language_sets(layout, asked)
    assert [len(codes) for codes in sets] == asked
    for smaller, larger in pairwise(sets):
        assert set(smaller) < set(larger)
    for codes, number in zip(sets, asked, strict=True):
        assert set(layout.hubs) < set(codes)
        assert list(codes) == [code for code in layout.languages if code in codes], "the recipe's order"
        assert language_sets(layout, [number]) == (codes,), "a set does not depend on the others"
        sizes = [len(set(codes) & set(members)) for members in layout.groups.values()]
        smallest_open = min(
            (size for size, members in zip(sizes, layout.groups.values(), strict=True) if size < len(members)),
            default=None,
        )
        assert smallest_open is None or max(sizes) <= smallest_open + 1, "no group is two ahead of another"


@given(num_hubs=st.integers(1, 2), sizes=st.sets(st.integers(3, 10), min_size=1, max_size=4), data=st.data())
def test_names_are_unique_and_follow_from_the_directions(num_hubs: int, sizes: set[int], data: st.DataObject) -> None:
    layout = little(num_hubs)
    shuffled = data.draw(st.permutations(layout.others))
    lists = [(*layout.hubs, *shuffled[: size - num_hubs]) for size in sorted(sizes) if size > num_hubs]
    plan = make_plan(layout, list(STRATEGIES), lists)
    names = [job.name for job in plan.jobs]
    assert len(set(names)) == len(names)
    assert len({frozenset(job.directions) for job in plan.jobs}) == len(names)
    for pool, routes in plan.routes.items():
        trained = {job.name: job.directions for job in plan.jobs_of(pool)}
        assert set(routes) == set(plan.layouts[pool].directions)
        assert all(direction in trained[name] for direction, name in routes.items())
    for job in plan.jobs:
        assert job_name(layout, tuple(reversed(job.directions))) == job.name


def test_many_languages_have_a_short_name_of_their_own() -> None:
    layout = dat()
    first, second = (layout.restricted((*layout.languages[start:][:20], "en")).directions for start in (1, 2))
    names = [job_name(layout, directions) for directions in (first, second)]
    assert names[0] != names[1]
    assert all(name.startswith("21_languages+") and len(name) < 32 for name in names)


def test_directions_that_are_no_set_of_languages_have_a_name_of_their_own() -> None:
    layout = little()
    group = make_plan(layout, ["group"]).jobs[0]
    assert group.name == "g0"
    partial = job_name(layout, group.directions[1:])
    assert partial.startswith("5_directions+")
    assert partial != job_name(layout, group.directions[:-1])


def test_lists_and_numbers_fill_up_in_the_same_order() -> None:
    layout = little()
    assert language_sets(layout, [("en", "fi"), 4]) == (("en", "fi"), ("en", "de", "nl", "fi"))
    chosen_within_the_next = language_sets(layout, [3, ("en", "tr", "fi", "uk")])
    assert chosen_within_the_next == (("en", "uk", "tr"), ("en", "uk", "tr", "fi"))


@pytest.mark.parametrize(
    ("sets", "where", "part"),
    [
        ([1], 0, "Possible: 2 to 10"),
        ([4, 4], 1, "Possible: 5 to 10"),
        ([8, 4], 1, "sets grow"),
        ([11], 0, "11 languages"),
        ([10, 10], 1, "Leave it out"),
        ([("en",)], 0, "nothing but hubs"),
        ([("de", "nl")], 0, "en is missing"),
        ([("en", "de"), ("en", "nl")], 1, "de is missing"),
        ([("en", "de"), ("en", "de", "de")], 1, "same as the one before"),
        ([("en", "deu")], 0, "languages: deu. Did you mean 'de'"),
        ([("en", "de"), 4, ("en", "de", "nl")], 1, "Possible: 3 to 3"),
    ],
)
def test_impossible_sets_are_refused(sets: list[int | tuple[str, ...]], where: int, part: str) -> None:
    with pytest.raises(UserError, match=part) as caught:
        make_plan(little(), ["multilingual"], sets)
    assert caught.value.where == f"analyze.conflict.languages.{where}"


def test_a_restricted_layout_keeps_order_hubs_and_groups() -> None:
    layout = little(2).restricted(["fi", "zh", "de", "en", "it"])
    assert layout.languages == ("en", "zh", "de", "it", "fi")
    assert layout.groups == {"g0": ("de", "it"), "g2": ("fi",)}
    assert Direction("zh", "fi") in layout.directions
    assert little().restricted(little().languages) == little()
    with pytest.raises(UserError, match="hub zh is not among"):
        little(2).restricted(["en", "de"])
