"""Pure deciders and their state: everything the system decides, and nothing it does.

No I/O, clock, randomness, environment, Kafka, Faust or asyncio. Money is Decimal.
"""
