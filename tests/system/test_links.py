"""Links are bad in the way they are told to be, and good otherwise."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system.faults import KINDS, drawn
from tests.system.links import GOOD, HALF_OPEN, MUTE, Condition, Links


@dataclass(frozen=True, slots=True)
class Echoing:
    """A server that sends back what it gets, behind a link; what it got."""

    links: Links
    port: int
    got: bytearray

    def client(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=0.3)


@pytest.fixture
def echoing() -> Iterator[Echoing]:
    server = socket.create_server(("127.0.0.1", 0))
    links, got = Links(), bytearray()

    def answer(client: socket.socket) -> None:
        with client:
            try:
                while piece := client.recv(1000):
                    got.extend(piece)
                    client.sendall(piece)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield Echoing(links, links.open("x", server.getsockname()[1]), got)
    links.close()
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def asked(client: socket.socket, what: bytes) -> bytes:
    client.sendall(what)
    return client.recv(1000)


def test_a_good_link_passes_everything_and_its_end(echoing: Echoing) -> None:
    with echoing.client() as client:
        assert asked(client, b"one") == b"one"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
    assert echoing.links.connections("x") == 1


def test_a_cut_link_resets_and_takes_new_connections(echoing: Echoing) -> None:
    with echoing.client() as client:
        assert asked(client, b"one") == b"one"
        echoing.links.cut("x")
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    with echoing.client() as client:
        assert asked(client, b"two") == b"two"


def test_a_link_that_refuses_resets_each_connection(echoing: Echoing) -> None:
    echoing.links.become("x", Condition(refused=True))
    with pytest.raises(ConnectionError), echoing.client() as client:
        asked(client, b"one")
    echoing.links.become("x", GOOD)
    with echoing.client() as client:
        assert asked(client, b"two") == b"two"


def test_half_open_nothing_passes_and_nothing_ends_until_it_heals(echoing: Echoing) -> None:
    with echoing.client() as client:
        assert asked(client, b"one") == b"one"
        echoing.links.become("x", HALF_OPEN)
        with pytest.raises(TimeoutError):
            asked(client, b"two")
        with echoing.client() as other, pytest.raises(TimeoutError):
            asked(other, b"given up ")
        assert bytes(echoing.got) == b"one"
        echoing.links.become("x", GOOD)
        assert client.recv(10) == b"two"
    deadline = time.monotonic() + 5
    while b"given up " not in echoing.got:
        assert time.monotonic() < deadline, "what was sent before arrives, though nobody waits"
        time.sleep(0.01)


def test_a_mute_link_passes_requests_and_no_answers(echoing: Echoing) -> None:
    with echoing.client() as client:
        echoing.links.become("x", MUTE)
        with pytest.raises(TimeoutError):
            asked(client, b"one")
        assert bytes(echoing.got) == b"one"
        echoing.links.cut("x")
        with pytest.raises(ConnectionResetError):
            client.recv(10)


def test_a_late_or_slow_link_passes_everything_later(echoing: Echoing) -> None:
    with echoing.client() as client:
        client.settimeout(5)
        for condition in (Condition(late_s=0.05), Condition(rate=2_000)):
            echoing.links.become("x", condition)
            began = time.monotonic()
            assert asked(client, b"x" * 100) == b"x" * 100
            assert time.monotonic() - began >= 0.1 * (condition.late_s > 0)


def test_a_seed_is_a_list_of_faults_and_all_kinds_are_drawn() -> None:
    def first(seed: int) -> list[str]:
        faults = drawn(seed)
        return [str(next(faults)) for _ in range(100)]

    assert first(3) == first(3) != first(4)
    assert {line.split()[1] for seed in range(20) for line in first(seed)} == set(KINDS)
