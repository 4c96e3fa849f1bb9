"""A jar that is not what the committed lock says is refused by name."""

import os
import shutil
from pathlib import Path

import pytest

from runtime import jars
from runtime.settings import Settings


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of its own with the real jars, hard-linked where that is possible."""
    first = Path(jars.classpath().split(os.pathsep)[0]).parent
    target = tmp_path / "kafka" / first.name
    target.mkdir(parents=True)
    for jar in first.glob("*.jar"):
        try:
            (target / jar.name).hardlink_to(jar)
        except OSError:
            shutil.copyfile(jar, target / jar.name)
    return tmp_path


def _jar(cache: Path, prefix: str) -> Path:
    return next(cache.glob(f"kafka/*/{prefix}*.jar"))


def test_the_class_path_names_every_locked_jar_and_nothing_else(cache: Path) -> None:
    names = [Path(part).name for part in jars.classpath(cache).split(os.pathsep)]
    assert "kafka_2.13-4.3.1.jar" in names
    assert sorted(names) == sorted(path.name for path in cache.rglob("*.jar"))


def test_an_altered_jar_of_the_same_size_is_refused_even_after_it_was_verified(
    cache: Path,
) -> None:
    jars.classpath(cache)
    jar = _jar(cache, "kafka-clients")
    content = bytearray(jar.read_bytes())
    content[1000] ^= 1
    jar.unlink()
    jar.write_bytes(content)
    with pytest.raises(jars.JarError, match=r"kafka-clients-\S+\.jar has SHA-256 .* Remove "):
        jars.classpath(cache)


def test_a_missing_and_an_additional_jar_are_refused(cache: Path) -> None:
    jar = _jar(cache, "lz4")
    jar.rename(jar.with_name("other.jar"))
    with pytest.raises(jars.JarError, match="is missing"):
        jars.classpath(cache)
    jar.with_name("other.jar").rename(jar)
    (jar.parent / "zzz.jar").touch()
    with pytest.raises(jars.JarError, match=r"zzz\.jar is not in kafka\.lock\.json"):
        jars.classpath(cache)


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "kafka").touch()
    with pytest.raises(jars.JarError, match="set QUANTUM_CACHE"):
        jars.classpath(tmp_path)


def test_the_console_tools_are_a_set_of_their_own() -> None:
    if jars.present("tools", Settings.load().cache):
        assert "kafka-tools-4.3.1.jar" in jars.tools_classpath()
    assert jars.digest("tools") != jars.digest("kafka")


def test_the_lock_holds_no_address_and_only_what_maven_coordinates_say() -> None:
    text = jars.LOCK.read_text()
    assert "://" not in text
    for name in ("kafka", "tools"):
        assert f'"{name}"' in text
