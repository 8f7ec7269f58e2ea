from collections import Counter

import pytest

from hwkd.distill.decode import Lanes, Order, crop_chance


def test_lanes_change_their_images_at_different_steps() -> None:
    lanes = Lanes(size=4, visits=8)
    # Rows begin at visits 0, 5, 10 - 8 and 15 - 8 of their first image.
    assert [lanes.at(0, row) for row in range(4)] == [(0, 0), (1, 5), (2, 2), (3, 7)]
    # Row 3 has taken its eighth visit and goes on to place 4 + 3; row 1 does so after step 2.
    assert [lanes.at(1, row) for row in range(4)] == [(0, 1), (1, 6), (2, 3), (7, 0)]
    assert [lanes.at(3, row) for row in range(4)] == [(0, 3), (5, 0), (2, 5), (7, 2)]
    assert [lanes.at(8, row) for row in range(4)] == [(4, 0), (5, 5), (6, 2), (7, 7)]


@pytest.mark.parametrize(("size", "visits"), [(1, 8), (4, 8), (8, 8), (20, 8), (3, 1)])
def test_every_place_is_visited_by_one_lane_in_turn(size: int, visits: int) -> None:
    lanes = Lanes(size, visits)
    seen = [lanes.at(step, row) for step in range(5 * visits) for row in range(size)]
    assert len(set(seen)) == len(seen)
    times = Counter(place for place, _ in seen)
    # In the steps of five turns each lane has begun five images; those between the first and the last are whole.
    assert set(range(5 * size)) <= set(times)
    assert all(times[place] == visits for place in range(size, 4 * size))


def test_eight_rows_begin_one_image_at_each_step() -> None:
    lanes = Lanes(8, 8)
    for step in range(1, 30):
        assert sum(lanes.at(step, row)[1] == 0 for row in range(8)) == 1


def test_two_processes_of_sixteen_rows_begin_one_image_each_at_each_step() -> None:
    lanes = Lanes(16, 8)
    for rows in (range(8), range(8, 16)):
        for step in range(1, 30):
            assert sum(lanes.at(step, row)[1] == 0 for row in rows) == 1


def test_no_image_is_repeated_before_all_have_been_seen() -> None:
    order = Order(7, seed=3)
    epochs = [[order.index(7 * epoch + at) for at in range(7)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_that_of_the_seed_wherever_it_is_entered() -> None:
    forward = Order(5, seed=1)
    places = [forward.index(n) for n in range(30)]
    other = Order(5, seed=1)
    assert [other.index(n) for n in reversed(range(30))] == places[::-1]
    assert [Order(5, seed=2).index(n) for n in range(30)] != places


def test_stand_ins_are_the_next_images_of_the_same_epoch() -> None:
    order = Order(5, seed=0)
    epoch = [order.index(5 + at) for at in range(5)]
    assert [order.index(5 + 3, shift) for shift in range(5)] == epoch[3:] + epoch[:3]


def test_each_visit_has_chance_of_its_own() -> None:
    drawn = {
        tuple(crop_chance(seed, place, visit).integers(0, 10**9, 2))
        for seed in range(3)
        for place in range(3)
        for visit in range(3)
    }
    assert len(drawn) == 27
