"""Pools of random adapters on tiny random bases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hexapla.base import Base
from hexapla.languages import Direction
from hexapla.plan import Layout
from hexapla.pool import Pool, describe_base, write_pool
from hexapla.prompts import get_template
from tests.tiny_models import random_adapter

ADAPTER_RANKS = {"first": 2, "second": 4, "third": 6}
ROUTES: dict[str, str | None] = {"de-en": "first", "nl-en": "second", "en-de": "third", "en-nl": None}

PoolMaker = Callable[..., Pool]


@pytest.fixture(scope="session")
def make_pool(tmp_path_factory: pytest.TempPathFactory) -> PoolMaker:
    """Makes a pool: adapters of ranks 2, 4 and 6, one with rank-stabilised scale, and one direction of the base."""

    def make(base_folder: Path) -> Pool:
        folder = tmp_path_factory.mktemp("pool")
        adapters = {
            name: random_adapter(base_folder, name, rank, seed, folder, use_rslora=name == "second")
            for seed, (name, rank) in enumerate(ADAPTER_RANKS.items())
        }
        layout = Layout(("en", "de", "nl"), ("en",), {"germanic": ("de", "nl")})
        base_pool = describe_base(
            name="random", base=Base(str(base_folder)), tokenizer=None, template=get_template("alma"), layout=layout
        )
        routes = {Direction.parse(direction): route for direction, route in ROUTES.items()}
        description = type(base_pool)(**{**vars(base_pool), "routes": routes})
        return write_pool(folder / "pool", description, adapters)

    return make


@pytest.fixture(scope="session")
def pool(make_pool: PoolMaker, qwen3_base: Path) -> Pool:
    """The pool on the tiny Qwen3."""
    return make_pool(qwen3_base)
