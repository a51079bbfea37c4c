"""The bucket: objects that are never altered, and generations of which each number is given once.

Any filesystem of fsspec will do whose exclusive creation is one: S3 (a conditional put), local files (a hard link), memory.
Credentials and endpoint come from where the client looks for them, such as `AWS_ACCESS_KEY_ID` and `AWS_ENDPOINT_URL`.
"""

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from crp_pipeline.depot.generation import Generation, Stamp
from crp_pipeline.errors import StorageError
from crp_pipeline.storage import write_bytes

OPTIONS: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
S3_OPTIONS: dict[str, Any] = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}}
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
RESTORE = "put it back by `crp depot push --restore` on a machine that has it"


class Store:
    """One folder of a bucket; every fault of it is a `StorageError` in one sentence without credentials."""

    def __init__(self, url: str) -> None:
        """Raises `StorageError` for a URL with credentials, of an unknown kind, or whose client is not installed."""
        if "@" in url or "?" in url:
            raise StorageError("CRP_STORAGE must hold no credentials: give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        self.url = url.rstrip("/")
        self._files, self._root = _filesystem(self.url)
        self._faults = _faults(self.url)
        self._creates_once = False

    def newest(self, subject: str) -> Generation | None:
        """The latest generation, or None before the first."""
        numbers = self.numbers(subject)
        return self.generation(subject, numbers[-1]) if numbers else None

    def numbers(self, subject: str) -> list[int]:
        """Generations that are still kept, rising."""
        with self._asking():
            names = [path.rsplit("/", 1)[-1] for path in self._listed(f"{self._root}/index/{subject}")]
        return sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch(r"\d+\.json", name))

    def subjects(self) -> list[str]:
        """Coins that were ever pushed, and what belongs to none."""
        with self._asking():
            return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in self._listed(f"{self._root}/index"))

    def generation(self, subject: str, number: int) -> Generation:
        """One generation; raises `StorageError` where it is missing or damaged."""
        path = self._index(subject, number)
        with self._asking(missing=f"generation {number} of {subject} is not there any more: {self.url} was pruned"):
            content = self._files.cat_file(path)
        found = Generation.from_bytes(content, where=f"{self.url}/index/{subject}/{number:08d}.json")
        if (found.subject, found.number) != (subject, number):
            raise StorageError(f"{self.url}: generation {number} of {subject} says it is {found.number} of {found.subject}")
        return found

    def publish(self, generation: Generation) -> bool:
        """Make a generation the newest; False where somebody else has given its number already.

        Raises `StorageError`, and publishes nothing, where the store lets a file be created twice.
        """
        self._require_exclusive_creation()
        won = self._create(self._index(generation.subject, generation.number), generation.to_bytes())
        # an answer may be lost on its way and the creation be tried once more
        return won or self.generation(generation.subject, generation.number) == generation

    def put(self, stamp: Stamp, content: bytes) -> None:
        """Keep what has this hash."""
        with self._asking():
            if self._is_local:
                write_bytes(Path(self._object(stamp.sha256)), content)
            else:
                self._files.pipe_file(self._object(stamp.sha256), content)

    def get(self, stamp: Stamp, path: str) -> bytes:
        """What has this hash; raises `StorageError` naming the file that it is of where it is missing or altered."""
        which = f"{path}: its object {stamp.sha256[:12]} in {self.url}"
        with self._asking(missing=f"{which} is missing; {RESTORE}"):
            content = cast("bytes", self._files.cat_file(self._object(stamp.sha256)))
        if hashlib.sha256(content).hexdigest() != stamp.sha256:
            raise StorageError(f"{which} has been altered: its hash is another; {RESTORE}")
        return content

    def remove_generation(self, subject: str, number: int) -> None:
        """Forget one generation."""
        with self._asking():
            self._files.rm_file(self._index(subject, number))

    def objects(self) -> dict[str, datetime]:
        """When each object was last put, by its hash."""
        with self._asking():
            self._files.invalidate_cache()
            found = self._files.find(f"{self._root}/objects", detail=True)
        by_hash = {"".join(path.rsplit("/", 2)[-2:]): _put_at(info) for path, info in found.items()}
        return {name: at for name, at in by_hash.items() if re.fullmatch("[0-9a-f]{64}", name)}

    def remove_object(self, sha256: str, *, before: datetime) -> bool:
        """Remove an object unless it was put again since that moment."""
        with self._asking(missing=None):
            if _put_at(self._files.info(self._object(sha256))) >= before:
                return False
            self._files.rm_file(self._object(sha256))
        return True

    @property
    def _is_local(self) -> bool:
        return "file" in self._files.protocol

    def _require_exclusive_creation(self) -> None:
        """Asked once, by creating twice a file of its own, which then stays."""
        if self._creates_once:
            return
        own = f"{self._root}/created-once"
        if self._create(own, b"once\n") and self._create(own, b"twice\n"):
            raise StorageError(f"{self.url} lets a file be created twice: two machines would overwrite one another there")
        self._creates_once = True

    def _create(self, path: str, content: bytes) -> bool:
        """Create a file whole, unless there is one of that name."""
        with self._asking():
            try:
                if self._is_local:
                    _link_new(Path(path), content)
                else:
                    self._files.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
        return True

    def _listed(self, folder: str) -> list[str]:
        self._files.invalidate_cache()
        try:
            return [str(path) for path in self._files.ls(folder, detail=False)]
        except FileNotFoundError:
            return []

    def _index(self, subject: str, number: int) -> str:
        return f"{self._root}/index/{subject}/{number:08d}.json"

    def _object(self, sha256: str) -> str:
        return f"{self._root}/objects/{sha256[:2]}/{sha256[2:]}"

    @contextmanager
    def _asking(self, missing: str | None = "") -> Iterator[None]:
        """Tell faults of the store in one sentence; what is missing in `missing`, or not at all where that is None."""
        try:
            yield
        except FileNotFoundError as error:
            if missing is not None:
                raise StorageError(missing or self._fault(error)) from None
        except self._faults as error:
            raise StorageError(self._fault(error)) from None

    def _fault(self, error: Exception) -> str:
        told = re.sub("//[^/@]*@", "//", str(error).strip() or type(error).__name__).splitlines()[0]
        for secret in filter(None, map(os.environ.get, SECRETS)):
            told = told.replace(secret, "***")
        return f"the storage {self.url} does not answer as it should: {told}"


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    options = {**OPTIONS, **(S3_OPTIONS if url.startswith("s3") else {})}
    try:
        files, root = url_to_fs(url, **options)
    except ImportError:
        raise StorageError(f"CRP_STORAGE is {url}, whose client is not installed: pip install 'crp-pipeline[s3]'") from None
    except ValueError as error:
        raise StorageError(f"CRP_STORAGE = {url} is not allowed: {error}") from None
    return files, root.rstrip("/")


def _faults(url: str) -> tuple[type[Exception], ...]:
    """What a store raises that does not answer, refuses or has no bucket of that name."""
    if not url.startswith("s3"):
        return (OSError,)
    from botocore.exceptions import BotoCoreError, ClientError

    return (OSError, BotoCoreError, ClientError)


def _link_new(path: Path, content: bytes) -> None:
    """Give a finished file a name that is free; raises `FileExistsError` where it is taken."""
    finished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    write_bytes(finished, content)
    try:
        os.link(finished, path)
    finally:
        finished.unlink(missing_ok=True)


def _put_at(info: Mapping[str, Any]) -> datetime:
    told = info.get("LastModified") or info.get("created") or info.get("mtime")
    at = datetime.fromtimestamp(told, UTC) if isinstance(told, float | int) else cast("datetime", told)
    return at.astimezone(UTC)
