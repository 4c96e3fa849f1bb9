"""The floor of `bench latency`: a plain relay from one topic to another, a process of its own.

``python -m commands.bench_relay --kafka … --from bench.a --to bench.b``. It does what any processor
must do at least: poll, produce, nothing else. Two of them over three topics are the floor.
"""

import argparse

from confluent_kafka import TopicPartition

from streams.kafka_log import KafkaLog, consumer

FLOOR = ("bench.floor.a", "bench.floor.b", "bench.floor.c")


def main(arguments: list[str] | None = None) -> None:
    """Relay until the process is ended."""
    parser = argparse.ArgumentParser(description="Plain relay between two topics")
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--to", dest="target", required=True)
    options = parser.parse_args(arguments)
    producer = KafkaLog(options.kafka, f"relay-{options.source}").producer
    reader = consumer(options.kafka)
    reader.assign([TopicPartition(options.source, 0, 0)])
    while True:
        message = reader.poll(1.0)
        if message is not None and message.error() is None:
            producer.produce(options.target, message.value(), message.key(), 0)


if __name__ == "__main__":
    main()
