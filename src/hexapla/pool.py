"""The pool: a base model, some adapters, and a route from every direction to an adapter.

On disk it is a folder: `pool.json` and one ordinary PEFT folder an adapter under `adapters/`. Training makes
pools, merging turns a pool into a pool, translation, evaluation and serving read them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hexapla
from hexapla import prompts
from hexapla.adapter import CONFIG_FILE, WEIGHTS_FILE, LoraAdapter, read_adapter
from hexapla.base import Base, count_parameters, fingerprint
from hexapla.common.artifacts import digest_file, new_artifact, read_json, write_json
from hexapla.common.errors import CorruptArtifactError, UserError
from hexapla.languages import Direction
from hexapla.plan import Layout
from hexapla.prompts import ChatTokenizer, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POOL_FILE = "pool.json"
MODEL_FOLDER = "model"
"""Where a pool keeps a base of its own."""
_FORMAT = 1


@dataclass(frozen=True)
class AdapterEntry:
    """What `pool.json` says of an adapter: sha256 of its two files, and its size."""

    weights_digest: str
    config_digest: str
    num_parameters: int


@dataclass(frozen=True)
class PoolDescription:
    """All that a pool is besides its adapters' files.

    Attributes:
        name: what reports call it.
        base: the base model; `base_fingerprint` is its identity (see `hexapla.base.fingerprint`).
        template: name of the prompt template; `template_hash` fixes its content.
        layout: languages, hubs and groups.
        routes: direction → adapter name; None means the base itself.
        auxiliaries: direction → language that its prompts may show beside the source (PMP); often none.
        provenance: what made the pool (recipe sections, digests of inputs, versions, seed).
    """

    name: str
    base: Base
    base_fingerprint: str
    template: str
    template_hash: str
    layout: Layout
    routes: Mapping[Direction, str | None]
    provenance: Mapping[str, Any]
    auxiliaries: Mapping[Direction, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pool:
    """A pool on disk, verified when loaded."""

    folder: Path
    description: PoolDescription
    adapters: Mapping[str, AdapterEntry]

    @classmethod
    def load(cls, folder: Path | str) -> Pool:
        """Read `pool.json` and verify the digest of every adapter file.

        Raises:
            UserError: there is no pool, or a newer Hexapla wrote it.
            CorruptArtifactError: a file is missing, damaged or changed.
        """
        folder = Path(folder)
        if not (folder / POOL_FILE).is_file():
            raise UserError(
                "This is no pool: it holds no pool.json.",
                where=str(folder),
                hint="Give the folder that `hexapla run` or `hexapla merge` made, such as runs/NAME/pools/STRATEGY.",
            )
        record = read_json(folder / POOL_FILE)
        pool = _from_record(folder, record)
        for name in pool.adapters:
            pool._verify_adapter(name)
        return pool

    @cached_property
    def num_parameters(self) -> int:
        """Parameters of all adapters together, and of a base that was trained for this pool."""
        own = 0 if self.own_model is None else count_parameters(self.own_model)
        return own + sum(entry.num_parameters for entry in self.adapters.values())

    @property
    def own_model(self) -> Path | None:
        """The folder of a base that was trained for this pool and lies inside it; None: the base is somebody else's."""
        inside = self.folder / MODEL_FOLDER
        return inside if self.description.base.folder == inside else None

    def adapter_folder(self, name: str) -> Path:
        """The PEFT folder of an adapter."""
        return self.folder / "adapters" / name

    def read_adapter(self, name: str) -> LoraAdapter:
        """The factors and settings of an adapter."""
        return read_adapter(self.adapter_folder(name))

    def route(self, direction: Direction) -> str | None:
        """The adapter for a direction; None for the bare base.

        Raises:
            UserError: the pool does not translate in this direction.
        """
        routes = self.description.routes
        if direction not in routes:
            sources = sorted({d.source for d in routes if d.target == direction.target})
            targets = sorted({d.target for d in routes if d.source == direction.source})
            near = f"From {direction.source} it translates into: {', '.join(targets)}. " if targets else ""
            near += f"Into {direction.target} it translates from: {', '.join(sources)}." if sources else ""
            listed = near or f"It translates: {', '.join(map(str, sorted(routes)))}."
            raise UserError(f"The pool {self.description.name!r} does not translate {direction}.", hint=listed.strip())
        return routes[direction]

    @cached_property
    def digest(self) -> str:
        """sha256 of `pool.json`: the identity of this pool in scores and reports."""
        return digest_file(self.folder / POOL_FILE)

    def require_base(self, base: Base) -> None:
        """Refuse to be used with another base than the one that the adapters were trained on.

        Raises:
            UserError: the base's fingerprint differs.
        """
        if (found := fingerprint(base)) != self.description.base_fingerprint:
            raise UserError(
                f"The base {base.id!r} is not the one that this pool was made for ({self.description.base.id!r}): "
                f"fingerprint {found[:12]} instead of {self.description.base_fingerprint[:12]}.",
                where=str(self.folder),
                hint="Adapters only fit the very weights that they were trained on; give that base.",
            )

    def require_template(self, tokenizer: PreTrainedTokenizerBase) -> Template:
        """The pool's prompt template, refused when its content changed since the pool was made.

        Raises:
            UserError: the template is unknown here or renders otherwise than at training time.
        """
        template = prompts.get_template(self.description.template)
        if prompts.template_hash(template, tokenizer) != self.description.template_hash:
            raise UserError(
                f"The prompt template {template.name!r} is not the one that this pool was trained with.",
                where=str(self.folder),
                hint="The template or the tokenizer's chat template changed since; use the versions in pool.json.",
            )
        return template

    def _verify_adapter(self, name: str) -> None:
        entry = self.adapters[name]
        for file, expected in ((WEIGHTS_FILE, entry.weights_digest), (CONFIG_FILE, entry.config_digest)):
            path = self.adapter_folder(name) / file
            if not path.is_file():
                raise CorruptArtifactError(f"A file of the adapter {name!r} is missing.", where=str(path))
            if digest_file(path) != expected:
                raise CorruptArtifactError(
                    f"A file of the adapter {name!r} is not the one that the pool was made with (its digest differs).",
                    where=str(path),
                    hint="Make the pool again, or restore the file.",
                )


def write_pool(
    folder: Path,
    description: PoolDescription,
    adapter_folders: Mapping[str, Path],
    *,
    model: Path | None = None,
    records: Mapping[str, Any] | None = None,
) -> Pool:
    """Make a pool of finished adapters, whole or not at all.

    Args:
        adapter_folders: adapter name → a PEFT folder, whose files are hard-linked where possible, else copied.
        model: folder of the base when it was trained for this pool: its files are linked into the pool, which then
            needs nothing else; None: the base stays where it is.
        records: file name → JSON data to lie beside `pool.json`.

    Raises:
        UserError: a route leads to an adapter that is not given.
    """
    if missing := sorted({route for route in description.routes.values() if route} - set(adapter_folders)):
        raise UserError(f"Routes lead to adapters that are not there: {', '.join(missing)}.", where=str(folder))
    manifest: dict[str, Any] = {"kind": "pool", "name": description.name}
    with new_artifact(folder, manifest) as aside:
        entries = {}
        for name in sorted(adapter_folders):
            target = aside / "adapters" / name
            target.mkdir(parents=True)
            for file in (CONFIG_FILE, WEIGHTS_FILE, "README.md"):
                _link(adapter_folders[name] / file, target / file)
            entries[name] = AdapterEntry(
                digest_file(target / WEIGHTS_FILE),
                digest_file(target / CONFIG_FILE),
                read_adapter(target).num_parameters,
            )
        for name, record in (records or {}).items():
            write_json(aside / name, record)
        if model is not None:
            (aside / MODEL_FOLDER).mkdir()
            for path in sorted(path for path in model.iterdir() if path.is_file()):
                _link(path, aside / MODEL_FOLDER / path.name)
        write_json(aside / POOL_FILE, _to_record(description, entries, inside=model is not None))
    return Pool.load(folder)


def describe_base(
    *, name: str, base: Base, tokenizer: ChatTokenizer | None, template: Template, layout: Layout
) -> PoolDescription:
    """The description of the pool that is the bare base: every direction without an adapter."""
    return PoolDescription(
        name=name,
        base=base,
        base_fingerprint=fingerprint(base),
        template=template.name,
        template_hash=prompts.template_hash(template, tokenizer),
        layout=layout,
        routes=dict.fromkeys(layout.directions),
        provenance={},
    )


def _link(source: Path, target: Path) -> None:
    """Hard link, or copy where the file system or a border between two does not allow links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _to_record(description: PoolDescription, adapters: Mapping[str, AdapterEntry], *, inside: bool) -> dict[str, Any]:
    layout = description.layout
    return {
        "format": _FORMAT,
        "hexapla": hexapla.__version__,
        "name": description.name,
        "base": {
            "id": MODEL_FOLDER if inside else description.base.id,
            "inside": inside,
            "revision": description.base.revision,
            "fingerprint": description.base_fingerprint,
        },
        "prompt": {"template": description.template, "hash": description.template_hash},
        "languages": list(layout.languages),
        "hubs": list(layout.hubs),
        "groups": {group: list(members) for group, members in layout.groups.items()},
        "routes": {str(direction): route for direction, route in description.routes.items()},
        "auxiliaries": {str(direction): code for direction, code in description.auxiliaries.items()},
        "adapters": {
            name: {"weights": entry.weights_digest, "config": entry.config_digest, "parameters": entry.num_parameters}
            for name, entry in adapters.items()
        },
        "provenance": dict(description.provenance),
    }


def _from_record(folder: Path, record: Any) -> Pool:
    where = str(folder / POOL_FILE)
    if isinstance(record, dict) and isinstance(record.get("format"), int) and record["format"] > _FORMAT:
        raise UserError(
            f"This pool has format {record['format']}, this Hexapla ({hexapla.__version__}) reads up to {_FORMAT}.",
            where=where,
            hint=f"It was written by Hexapla {record.get('hexapla')}: upgrade to that or later.",
        )
    try:
        layout = Layout(
            tuple(record["languages"]),
            tuple(record["hubs"]),
            {group: tuple(members) for group, members in record["groups"].items()},
        )
        inside = record["base"]["inside"]
        description = PoolDescription(
            name=record["name"],
            base=Base(str(folder / MODEL_FOLDER)) if inside else Base(record["base"]["id"], record["base"]["revision"]),
            base_fingerprint=record["base"]["fingerprint"],
            template=record["prompt"]["template"],
            template_hash=record["prompt"]["hash"],
            layout=layout,
            routes={Direction.parse(name): route for name, route in record["routes"].items()},
            provenance=record["provenance"],
            auxiliaries={Direction.parse(name): code for name, code in record["auxiliaries"].items()},
        )
        adapters = {
            name: AdapterEntry(entry["weights"], entry["config"], entry["parameters"])
            for name, entry in record["adapters"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifactError(f"A field is missing or of the wrong kind ({error}).", where=where) from error
    if strangers := sorted({route for route in description.routes.values() if route} - set(adapters)):
        raise CorruptArtifactError(f"Routes lead to adapters that are not listed: {', '.join(strangers)}.", where=where)
    return Pool(folder, description, adapters)
