"""Where files come from: a local folder, or a repository of the Hugging Face hub (the local cache first)."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from hexapla.common.errors import UserError

_HUB_ID = re.compile(r"(?P<repository>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Place:
    """A local folder, or a repository of the hub.

    Attributes:
        source: as the user wrote it.
        folder: the local folder; None for a repository.
        repository: id of the repository; empty for a folder.
        revision: branch, tag or commit; None for the default branch.
    """

    source: str
    folder: Path | None
    repository: str = ""
    revision: str | None = None

    def at(self, commit: str) -> Place:
        """The same repository at one commit."""
        return dataclasses.replace(self, revision=commit)

    def find(self, name: str) -> Path | None:
        """The file called `name` in this place, downloaded if the cache lacks it; None where there is none.

        Raises:
            UserError: the hub cannot be reached, or gives no access.
        """
        if self.folder is not None:
            path = self.folder / name
            return path if path.is_file() else None
        return _from_hub(self, name)


def find_place(source: str, purpose: str, hint: str) -> Place:
    """The place called `source`.

    Args:
        purpose: what it is for, as the subject of an error: `The checkpoint of comet22`.
        hint: what to do if there is no such place.

    Raises:
        UserError: it is neither a folder here nor looks like `OWNER/NAME` or `OWNER/NAME@REVISION`.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Place(source, folder)
    matched = _HUB_ID.fullmatch(source)
    if matched is None or folder.exists() or source.startswith("."):
        raise UserError(
            f"{purpose}, {source!r}, is neither a folder here nor a hub id (OWNER/NAME, OWNER/NAME@REVISION).",
            hint=hint,
        )
    return Place(source, None, matched["repository"], matched["revision"])


def _from_hub(place: Place, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    for only_cached in (True, False):
        try:
            return Path(hf_hub_download(place.repository, name, revision=place.revision, local_files_only=only_cached))
        except LocalEntryNotFoundError as error:
            if not only_cached:
                raise _unreachable(place, name) from error
        except GatedRepoError as error:
            raise UserError(
                f"The hub gives {place.repository} only to those who accepted its conditions, and then only with a "
                "token.",
                hint=f"Accept them at https://huggingface.co/{place.repository}, then log in with `hf auth login` (or "
                "set HF_TOKEN).",
            ) from error
        except RepositoryNotFoundError as error:
            raise UserError(f"The hub has no repository {place.repository!r}, or hides it from you.") from error
        except RevisionNotFoundError as error:
            raise UserError(f"{place.repository} has no revision {place.revision!r} on the hub.") from error
        except HFValidationError as error:
            raise UserError(f"{place.source!r} is neither a folder here nor a hub id: {error}") from error
        except EntryNotFoundError:
            return None
        except (HfHubHTTPError, OSError) as error:
            raise _unreachable(place, name) from error
    return None


def _unreachable(place: Place, name: str) -> UserError:
    return UserError(
        f"{name} of {place.source} is not in the local cache, and the hub cannot be reached.",
        hint=f"Where there is a network, `hf download {place.repository}` fills the cache; or give a local folder.",
    )
