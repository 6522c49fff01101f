"""Slots: as many jobs at once as the machine bears, the others in order of arrival."""

from __future__ import annotations

import os
import threading
import time

import pytest

from localcloud.jobs.slots import Slots


def never() -> threading.Event:
    return threading.Event()


def waits(slots: Slots, number: int) -> None:
    end = time.monotonic() + 60
    while slots.waiting != number:
        assert time.monotonic() < end, f"{slots.waiting} wait, not {number}"
        time.sleep(0.001)


def test_default_is_the_cpus_usable() -> None:
    assert 1 <= Slots().size <= (os.cpu_count() or 1)


def test_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="At least one"):
        Slots(0)


def test_release_without_acquire_is_refused() -> None:
    with pytest.raises(ValueError, match="without a slot"):
        Slots(1).release()


def test_never_more_than_size_at_once() -> None:
    slots, lock, full = Slots(3), threading.Lock(), threading.Event()
    now = most = 0

    def job() -> None:
        nonlocal now, most
        assert slots.acquire(never())
        with lock:
            now += 1
            most = max(most, now)
            if most == 3:
                full.set()
        full.wait(60)  # the first three meet, however slowly their threads start
        time.sleep(0.005)
        with lock:
            now -= 1
        slots.release()

    threads = [threading.Thread(target=job) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert slots.waiting == 0


def test_waiters_are_served_in_order_of_arrival() -> None:
    slots, order = Slots(1), []
    slots.acquire(never())

    def job(number: int) -> None:
        slots.acquire(never())
        order.append(number)
        slots.release()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=job, args=(number,)))
        threads[-1].start()
        waits(slots, number + 1)
    slots.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_cancelled_waiter_leaves_the_queue_without_a_slot() -> None:
    slots, cancelled = Slots(1), threading.Event()
    slots.acquire(never())
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(slots.acquire(cancelled)))
    thread.start()
    waits(slots, 1)
    cancelled.set()
    thread.join()
    assert answers == [False]
    assert slots.waiting == 0
    slots.release()
    assert slots.acquire(never())


def test_job_cancelled_before_it_came_gets_no_slot() -> None:
    slots, cancelled = Slots(1), threading.Event()
    cancelled.set()
    assert not slots.acquire(cancelled)
    assert slots.acquire(never())
