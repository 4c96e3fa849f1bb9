"""A Faust app for each processor. Its agent is a few lines: raw bytes in, shell called.

Positions are our own, whatever the group has committed: Faust seeks in one place,
`Consumer.seek_to_committed`, and that is where sources are acquired (PITFALLS, own positions).
"""

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import faust
from aiokafka.errors import KafkaError
from faust.assignor.partition_assignor import PartitionAssignor
from faust.exceptions import AlreadyConfiguredWarning
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from runtime.security import sasl_login, tls_context
from runtime.settings import Settings
from streams.log import Incoming
from streams.membership import group_of

logger = logging.getLogger(__name__)
EXIT_AGENT = 72
BEAT_S = 0.5
TAKEOVER_S = 3_600.0
"""Longest that taking sources over may last: a replay of everything from the beginning."""

Acquire = Callable[[set[tuple[str, int]]], dict[tuple[str, int], int]]
"""Takes the assigned (topic, partition) pairs, returns the offset to start each one at."""


def create_app(
    *,
    processor: str,
    bootstrap: str,
    instance: str,
    topics: tuple[str, ...],
    acquire: Acquire,
    receive: Callable[[Incoming], None],
    after: Callable[[], None],
    datadir: str,
    beat: Callable[[], None] = lambda: None,
) -> faust.App:
    """The Faust app of one processor; `instance` is its static group member id. `beat` is called
    twice a second for as long as the event loop moves."""
    app = faust.App(
        group_of(processor),
        broker_client_id=group_of(processor),
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=datadir,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        stream_wait_empty=True,
        broker_commit_interval=0.5,
        broker_max_poll_records=500,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=3.0,
        broker_request_timeout=30.0,
        producer_request_timeout=30.0,
        consumer_group_instance_id=instance,
        processing_guarantee="at_least_once",
        broker_credentials=credentials(),
        PartitionAssignor=assignor_of(topics),
        TableManager=NoTables,
    )

    class OwnPositionsConsumer(driver.Consumer):
        """Starts each partition where our log says."""

        def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
            return EndingThread(self, loop=self.loop, beacon=self.beacon)

        async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
            # Faust gives seeking as long as a request: a longer replay would be cut off, and begun
            # again for ever. The clients exist by now and keep the timeout they were made with.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AlreadyConfiguredWarning)
                app.conf.broker_request_timeout = TAKEOVER_S
            await super().on_partitions_assigned(assigned, generation_id)

        async def seek_to_committed(self) -> Mapping[TP, int]:
            loop = asyncio.get_running_loop()
            wanted = {(tp.topic, tp.partition) for tp in self.assignment() if tp.topic in topics}
            try:
                starts = await loop.run_in_executor(None, acquire, wanted)
            except BaseException:
                stop("sources could not be acquired")
            positions = {TP(topic, number): offset for (topic, number), offset in starts.items()}
            await self.seek_wait(positions)
            return positions

    class OwnPositionsTransport(driver.Transport):
        Consumer = OwnPositionsConsumer

    app.transport = OwnPositionsTransport(app.conf.broker, app, loop=app.loop)

    @app.agent(
        app.topic(*topics, key_serializer="raw", value_serializer="raw"),
        name=processor,
        concurrency=1,
    )
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            try:
                receive(
                    Incoming(
                        f"{message.topic}/{message.partition}",
                        message.offset,
                        int(message.timestamp * 1000),
                        message.key,
                        message.value,
                    )
                )
                after()
            except BaseException:
                stop(f"{message.topic}/{message.partition} offset {message.offset} was not taken")

    async def beats() -> None:
        while True:
            beat()
            await asyncio.sleep(BEAT_S)

    app.task(beats)
    return app


class NoTables(TableManager):
    """There are none here. Faust waits a second for more to be declared, and subscribes then: half
    of the time until a worker that was killed works again."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class NamedWorker(faust.Worker):
    """Faust's worker, which leaves the process the name that it was started with: `ps` and
    `quantum halt` know a gateway by it."""

    def _setproctitle(self, *_: object, **__: object) -> None:
        pass


def serve(app: faust.App) -> NoReturn:
    """Run an app until the process is told to stop."""
    sys.argv[1:] = []  # Faust looks for words of its own
    NamedWorker(
        app, loglevel="warn", logging_config=None, override_logging=False, quiet=True
    ).execute_from_commandline()


class EndingThread(driver.AIOKafkaConsumerThread):
    """Ends the process where the broker went just before Faust asked for it, as elsewhere, and
    where the task that keeps it in its group has failed: nobody else looks at that one."""

    async def on_start(self) -> None:
        try:
            await super().on_start()
        except KafkaError:
            stop("Kafka does not answer")
        assert self._consumer is not None
        if (coordinator := self._consumer._coordinator) is not None:

            def left(grouped: "asyncio.Task[None]") -> None:
                if not (grouped.cancelled() or coordinator._closing.done()) and (
                    failed := grouped.exception()
                ):
                    stop(f"no member of its group any more: {failed}")

            coordinator._coordination_task.add_done_callback(left)


def assignor_of(topics: tuple[str, ...]) -> type[PartitionAssignor]:
    """The class by which the leader of a group gives out partitions.

    A client that has just reached a broker again may know of no topic yet. Faust then gives out
    nothing, and a static member is handed that nothing again and again, however often it is
    started: so the process ends instead, and its successor gives out what there is."""

    class WholeAssignor(PartitionAssignor):
        def assign(self, cluster: Any, member_metadata: Any) -> Any:
            missing = [topic for topic in topics if not cluster.partitions_for_topic(topic)]
            if missing:
                stop(f"the broker named no partitions of {', '.join(missing)} yet")
            return super().assign(cluster, member_metadata)

    return WholeAssignor


def credentials() -> faust.auth.Credentials | None:
    """How Faust's own consumer proves who it is, by the settings; None for an open broker."""
    settings = Settings.load()
    context, login = tls_context(settings), sasl_login(settings)
    if login is not None:
        mechanism, user, password = login
        return faust.SASLCredentials(
            username=user, password=password, ssl_context=context, mechanism=mechanism
        )
    return faust.SSLCredentials(context=context) if context is not None else None


def stop(why: str) -> None:
    """End the process at once, keeping its place: Faust drops what a handler raises on."""
    logger.critical("%s; ending the process", why, exc_info=sys.exc_info()[1])
    logging.shutdown()
    os._exit(EXIT_AGENT)
