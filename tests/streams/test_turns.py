"""Who has the shell's lock next, and what is on its way to the log."""

import threading
import time

from streams.turns import Precedence, Underway


def test_a_control_record_is_next_although_another_lane_never_stops_asking() -> None:
    """With a plain lock a thread that gives it back and takes it again shuts others out: the record
    would wait for most of the backlog."""
    lock = threading.RLock()
    precedence = Precedence(lock)
    taken: list[str] = []
    begun = threading.Event()

    def backlog() -> None:
        for number in range(400):
            precedence.acquire(first=False)
            taken.append("signal")
            if number == 20:
                begun.set()
            time.sleep(0.0005)  # what a record takes
            lock.release()

    thread = threading.Thread(target=backlog)
    thread.start()
    assert begun.wait(10)
    before = len(taken)
    precedence.acquire(first=True)
    taken.append("control")
    lock.release()
    thread.join()
    assert taken.index("control") <= before + 2
    assert taken.count("signal") == 400


def test_the_ends_are_known_only_while_everything_is_delivered() -> None:
    underway = Underway()
    underway.answer_for({"risk/0": 7})
    assert underway.ends() == {"risk/0": 7}
    underway.begin()
    underway.begin()
    assert underway.ends() is None
    assert not underway.delivered("risk/0", 8)
    assert underway.ends() is None
    assert underway.delivered("risk/0", 7), "delivered in another order"
    assert underway.ends() == {"risk/0": 9}
