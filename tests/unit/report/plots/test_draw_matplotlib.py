from hwkd.report.plots.draw_matplotlib import Box, PointName, place

AREA = Box(0, 0, 100, 100)


def wanted(x, y, *, is_needed=False):
    return PointName(x, y, 20, 6, is_needed)


def test_overlap_is_the_area_that_both_cover():
    assert Box(0, 0, 4, 3).overlap(Box(2, 1, 9, 9)) == 2 * 2
    assert Box(0, 0, 4, 3).overlap(Box(4, 0, 9, 9)) == 0


def test_a_name_stands_to_the_right_of_its_point_where_there_is_room():
    (found,) = place([wanted(50, 50)], [], [], AREA)
    assert (found.box, found.is_far) == (Box(54, 47, 74, 53), False)


def test_names_cover_neither_each_other_nor_marks():
    points = [wanted(50, 50 + 2 * i) for i in range(4)]
    marks = [Box(w.x - 2, w.y - 2, w.x + 2, w.y + 2) for w in points]
    boxes = [found.box for found in place(points, marks, [], AREA)]
    for i, box in enumerate(boxes):
        assert AREA.holds(box)
        assert not any(box.overlap(other) for other in (*boxes[:i], *marks))


def test_a_name_stays_inside_the_area():
    (found,) = place([wanted(98, 50)], [], [], AREA)
    assert AREA.holds(found.box)
    assert place([wanted(5, 3)], [], [], Box(0, 0, 10, 6)) == [None]


def test_only_a_needed_name_covers_a_line():
    everywhere = [AREA]
    assert place([wanted(50, 50)], [], everywhere, AREA) == [None]
    assert place([wanted(50, 50, is_needed=True)], [], everywhere, AREA) != [None]


def test_a_name_goes_further_off_rather_than_over_a_mark():
    around = [Box(40, 40, 60, 60)]
    (found,) = place([wanted(50, 50)], around, [], AREA)
    assert found.is_far
    assert not found.box.overlap(around[0])
