"""Kafka's jars: resolved once a user by Maven coordinates, checked against the committed lock.

The lock, `locks/kafka.lock.json`, holds for each set its coordinates, and coordinate, name, size
and SHA-256 of every jar. A set lives in the cache as `kafka/<set>-<digest>/*.jar`; a folder that
exists is whole, because it is filled aside, checked and renamed. `python -m runtime.jars
--write-lock` resolves anew and writes the lock: a person's decision, to be reviewed as any change
of versions.
"""

import fcntl
import hashlib
import json
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict

from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import Artifact, MavenContext
from jgo.parse import Endpoint

from runtime.settings import ROOT, Settings

LOCK = ROOT / "locks" / "kafka.lock.json"
COORDINATES = {
    "kafka": ["org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36"],
    # console tools of other people, for tests only: the broker's jars hold none
    "tools": ["org.apache.kafka:kafka-tools:4.3.1", "org.slf4j:slf4j-simple:1.7.36"],
}
JarSet = Literal["kafka", "tools"]
STAMP = "verified.json"


class Jar(TypedDict):
    coordinate: str
    sha256: str
    size: int


class LockedSet(TypedDict):
    coordinates: list[str]
    jars: dict[str, Jar]


class JarError(RuntimeError):
    """A jar is missing, altered or cannot be fetched; the text names it and the remedy."""


def classpath(cache: Path | None = None) -> str:
    """Class path of the broker; fetched and checked first where needed. Raises JarError."""
    return _classpath("kafka", cache)


def tools_classpath(cache: Path | None = None) -> str:
    """Class path of Kafka's console tools (third-party clients for tests). Raises JarError."""
    return _classpath("tools", cache)


def digest(name: JarSet) -> str:
    """Short digest of a locked set: changes with any coordinate, name or hash in it."""
    text = json.dumps(_locked(name), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def present(name: JarSet, cache: Path) -> bool:
    """Whether the set is in the cache, so that no network will be needed."""
    return _folder(name, cache).is_dir()


def _classpath(name: JarSet, cache: Path | None) -> str:
    cache = cache or Settings.load().cache
    folder = _folder(name, cache)
    if not folder.is_dir():
        with cache_lock(cache, "kafka"):
            if not folder.is_dir():  # another process may have fetched it while we waited
                _fetch(name, folder)
    _check(name, folder)
    return os.pathsep.join(str(folder / jar) for jar in sorted(_locked(name)["jars"]))


def _folder(name: JarSet, cache: Path) -> Path:
    return cache / "kafka" / f"{name}-{digest(name)}"


@contextmanager
def cache_lock(cache: Path, name: str) -> Iterator[None]:
    """One process at a time for what is filled into the cache. Freed by the end of the process."""
    folder = cache / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise JarError(
            f"The cache {folder} cannot be written to ({error.strerror}): set QUANTUM_CACHE to a "
            "folder that can."
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _locked(name: JarSet) -> LockedSet:
    try:
        locked: LockedSet = json.loads(LOCK.read_text())[name]
    except (OSError, ValueError, KeyError) as error:
        raise JarError(
            f"{LOCK} has no list of jars called {name} ({error}): restore it from git, or write it "
            "with python -m runtime.jars --write-lock."
        ) from None
    return locked


def _fetch(name: JarSet, folder: Path) -> None:
    """Fill the folder of a set. The lock says every jar, so that no project file is looked at."""
    print(f"fetching the jars of {name} (once a user)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
        filled = Path(scratch) / folder.name
        filled.mkdir()
        missing: list[str] = []
        for jar, expected in _locked(name)["jars"].items():
            if not _copy_of_another_set(jar, expected, folder.parent, filled):
                missing.append(expected["coordinate"])
        context = _maven(Path(scratch) / "repository")
        wanted = [
            context.create_dependency(replace(each, scope="compile")).artifact
            for each in Endpoint.parse("+".join(missing)).coordinates
        ]
        _download(wanted, filled)
        _check(name, filled)
        filled.rename(folder)


def _copy_of_another_set(jar: str, expected: Jar, sets: Path, target: Path) -> bool:
    for twin in sets.glob(f"*/{jar}"):
        if _sha256(twin) == expected["sha256"]:
            shutil.copyfile(twin, target / jar)
            return True
    return False


def _maven(repository: Path) -> MavenContext:
    # requests knows only certifi's roots, which lack those of a company's proxy
    system_roots = ssl.get_default_verify_paths().cafile
    if system_roots:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", system_roots)
    mirrors = GlobalSettings.load().repositories
    return MavenContext(
        repo_cache=repository, remote_repos={"central": MAVEN_CENTRAL_URL, **mirrors}, timeout=60
    )


def _download(artifacts: list[Artifact], target: Path) -> None:
    """Download in parallel and move the files into `target`."""
    try:
        with ThreadPoolExecutor(max_workers=8) as pool:
            for path in pool.map(lambda each: each.resolve(), artifacts):
                shutil.move(path, target / path.name)
    except Exception as error:
        raise JarError(
            f"Kafka's jars could not be fetched: {error}. Check the network, or set QUANTUM_KAFKA "
            "to a broker that runs elsewhere."
        ) from error


def _check(name: JarSet, folder: Path) -> None:
    """Compare names, sizes and hashes with the lock; a jar untouched since is not hashed again."""
    stamp = folder / STAMP
    try:
        seen: dict[str, list[int]] = json.loads(stamp.read_text())
    except (OSError, ValueError):
        seen = {}
    jars = _locked(name)["jars"]
    remedy = f"Remove {folder} and start again to fetch it anew."
    found = {path.name for path in folder.glob("*.jar")}
    for jar in sorted(jars.keys() ^ found):
        what = "is missing" if jar in jars else f"is not in {LOCK.name}"
        raise JarError(f"The jar {jar} {what}. {remedy}")
    now: dict[str, list[int]] = {}
    for jar, expected in jars.items():
        status = (folder / jar).stat()
        now[jar] = [status.st_size, status.st_mtime_ns, status.st_ino]
        if seen.get(jar) == now[jar] and status.st_size == expected["size"]:
            continue
        actual = _sha256(folder / jar)
        if actual != expected["sha256"]:
            raise JarError(
                f"The jar {jar} has SHA-256 {actual[:16]}…, {LOCK.name} says "
                f"{expected['sha256'][:16]}…: it is not what was reviewed. {remedy}"
            )
    if now != seen:
        _write_stamp(stamp, now)


def _write_stamp(stamp: Path, value: dict[str, list[int]]) -> None:
    aside = stamp.with_suffix(f".{os.getpid()}")
    try:
        aside.write_text(json.dumps(value))
        aside.replace(stamp)
    except OSError:  # a cache made read-only on purpose: hash each time instead
        aside.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_lock() -> None:
    """Resolve all coordinates anew and write `locks/kafka.lock.json`. Needs the network."""
    lock: dict[str, LockedSet] = {}
    for name, coordinates in COORDINATES.items():
        with tempfile.TemporaryDirectory() as scratch:
            jars = Path(scratch) / "jars"
            jars.mkdir()
            artifacts = _resolve(coordinates, Path(scratch) / "repository")
            _download(artifacts, jars)
            locked = {each.filename: _entry(each, jars) for each in artifacts}
        lock[name] = {"coordinates": coordinates, "jars": dict(sorted(locked.items()))}
    LOCK.write_text(json.dumps(lock, indent=1) + "\n")


def _resolve(coordinates: list[str], repository: Path) -> list[Artifact]:
    """All artifacts that the coordinates need at run time, themselves included."""
    context = _maven(repository)
    wanted = [
        context.create_dependency(replace(each, scope="compile"))
        for each in Endpoint.parse("+".join(coordinates)).coordinates
    ]
    direct, transitive = context.resolver.resolve(wanted)
    needed = [*direct, *(each for each in transitive if each.scope in ("compile", "runtime"))]
    return list({each.artifact.filename: each.artifact for each in needed}.values())


def _entry(artifact: Artifact, folder: Path) -> Jar:
    if artifact.classifier:
        raise JarError(f"{artifact} has a classifier, which the lock cannot say: exclude it.")
    path = folder / artifact.filename
    return {
        "coordinate": f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}",
        "sha256": _sha256(path),
        "size": path.stat().st_size,
    }


def main(arguments: list[str]) -> int:
    """`--write-lock`: write the lock. Returns an exit code."""
    if arguments != ["--write-lock"]:
        print("usage: python -m runtime.jars --write-lock", file=sys.stderr)
        return 2
    try:
        write_lock()
    except JarError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
