"""Plans against the paper's counts (methods: DAT table 1, LMT's directions) and the properties of routes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.plan import STRATEGIES, Layout, Side, job_name, make_plan


def dat_layout() -> Layout:
    codes = tuple(languages.named_set("dat"))
    return Layout(codes, ("en",), languages.grouping("dat", [code for code in codes if code != "en"]))


@pytest.mark.parametrize(
    ("strategy", "num_adapters"),
    [("multilingual", 1), ("group", 8), ("separate", 98), ("direction-aware", 57)],
)
def test_dat_paper_adapter_counts(strategy: str, num_adapters: int) -> None:
    assert len(make_plan(dat_layout(), [strategy]).jobs) == num_adapters


def test_two_hubs_over_lmt_60_give_234_directions() -> None:
    codes = tuple(languages.named_set("lmt"))
    others = [code for code in codes if code not in ("en", "zh")]
    layout = Layout(codes, ("en", "zh"), {"all_others": tuple(others)})
    assert len(layout.directions) == 234
    assert sum(layout.side(d) is Side.BETWEEN_HUBS for d in layout.directions) == 2


def test_equal_jobs_of_several_strategies_are_one_job() -> None:
    layout = Layout(("en", "de", "nl", "fr"), ("en",), {"germanic": ("de", "nl"), "romance": ("fr",)})
    plan = make_plan(layout, ["separate", "direction-aware"])
    # separate: 6; direction-aware adds only en-germanic (its to-hub experts and en-fr exist already)
    assert [job.name for job in plan.jobs] == ["en-de", "en-nl", "en-fr", "de-en", "nl-en", "fr-en", "en-germanic"]
    assert plan.routes["direction-aware"][Direction("en", "fr")] == "en-fr"


def test_names_do_not_depend_on_the_other_strategies() -> None:
    layout = Layout(("en", "de", "nl"), ("en",), {"germanic": ("de", "nl")})
    together = make_plan(layout, ["group", "multilingual"])
    assert {job.name for job in together.jobs} == {"all"}, "one group holds all directions: the two jobs are the same"
    assert make_plan(layout, ["group"]).jobs == make_plan(layout, ["multilingual"]).jobs


@given(
    num_others=st.integers(1, 9),
    num_hubs=st.integers(1, 3),
    num_groups=st.integers(1, 4),
    strategy=st.sampled_from(sorted(STRATEGIES)),
)
def test_routes_cover_every_direction_with_a_job_trained_on_it(
    num_others: int, num_hubs: int, num_groups: int, strategy: str
) -> None:
    hubs = ("en", "zh", "es")[:num_hubs]
    others = ("de", "nl", "fr", "it", "ru", "uk", "hi", "tr", "fi")[:num_others]
    groups = {f"g{i}": members for i in range(num_groups) if (members := others[i::num_groups])}
    layout = Layout(hubs + others, hubs, groups)
    plan = make_plan(layout, [strategy])
    trained = {job.name: set(job.directions) for job in plan.jobs}
    assert len(trained) == len(plan.jobs), "names are unique"
    assert set(plan.routes[strategy]) == set(layout.directions)
    for direction, name in plan.routes[strategy].items():
        assert direction in trained[name]
    assert sum(map(len, trained.values())) == len(layout.directions), "no direction is trained twice"
    assert len(layout.directions) == 2 * num_hubs * num_others + num_hubs * (num_hubs - 1)


def test_direction_aware_counts_with_several_hubs() -> None:
    layout = Layout(("en", "zh", "de", "nl", "fr"), ("en", "zh"), {"germanic": ("de", "nl"), "romance": ("fr",)})
    names = [job.name for job in make_plan(layout, ["direction-aware"]).jobs]
    assert sorted(names) == sorted(
        [
            "de-en",
            "nl-en",
            "fr-en",
            "de-zh",
            "nl-zh",
            "fr-zh",
            "en-germanic",
            "en-fr",
            "zh-germanic",
            "zh-fr",
            "en-zh",
            "zh-en",
        ]
    )


def test_job_name_of_a_merged_group() -> None:
    layout = Layout(("en", "de", "nl", "fr"), ("en",), {"germanic": ("de", "nl"), "romance": ("fr",)})
    assert job_name(layout, (Direction("de", "en"), Direction("nl", "en"))) == "germanic-en"


@pytest.mark.parametrize(
    ("arguments", "where", "part"),
    [
        ((("en",), ("en",), {}), "languages", "two languages"),
        ((("en", "de"), (), {"g": ("de",)}), "hubs", "At least one hub"),
        ((("en", "de"), ("fr",), {"g": ("de", "en")}), "hubs", "fr"),
        ((("en", "de", "de"), ("en",), {"g": ("de",)}), "languages", "twice: de"),
        ((("en", "de", "nl"), ("en",), {"g": ("de",)}), "groups", "In no group: nl"),
        ((("en", "de"), ("en",), {"g": ("de",), "h": ("de",)}), "groups", "more than one group: de"),
        ((("en", "de"), ("en",), {"g": ("de", "fr")}), "groups", "fr"),
        ((("en", "de"), ("en",), {"a/b": ("de",)}), "groups", "file names"),
        ((("en", "de"), ("en",), {"de": ("de",)}), "groups", "taken"),
    ],
)
def test_impossible_layouts_are_refused(arguments: tuple, where: str, part: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=part) as caught:
        Layout(*arguments)
    assert caught.value.where == where


def test_unknown_strategy_names_the_nearest() -> None:
    layout = Layout(("en", "de"), ("en",), {"g": ("de",)})
    with pytest.raises(UserError, match="'direction-aware'"):
        make_plan(layout, ["direction_aware"])
