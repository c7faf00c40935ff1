import math
import random

from pipeline.vision.ocr.text_lines import Point, TextLine, arrange, unread_share


def line(text: str, left: float, top: float, width: float | None = None, height: float = 10) -> TextLine:
    right, bottom = left + (6 * len(text) if width is None else width), top + height
    return TextLine(text, ((left, top), (right, top), (right, bottom), (left, bottom)))


def turned(found: TextLine, degrees: float) -> TextLine:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def turn(point: Point) -> Point:
        x, y = point
        return x * cosine - y * sine, x * sine + y * cosine

    first, second, third, fourth = map(turn, found.corners)
    return TextLine(found.text, (first, second, third, fourth))


def two_columns() -> list[TextLine]:
    left = [line(f"left column, running text {row}", 50, 100 + 15 * row) for row in range(6)]
    right = [line(f"right column, running text {row}", 300, 100 + 15 * row) for row in range(6)]
    return [line("A heading that runs across both of the columns of the page", 50, 60, 430), *left, *right]


def test_nothing_found_is_no_text() -> None:
    assert arrange([]).text == ""
    assert arrange([]).columns == 1


def test_rows_go_from_top_to_bottom_whatever_the_order_found() -> None:
    lines = [line(f"row {row}", 20, 15 * row) for row in range(8)]
    random.Random(1).shuffle(lines)
    assert arrange(lines).text == "\n".join(f"row {row}" for row in range(8))


def test_a_wider_distance_begins_a_paragraph() -> None:
    lines = [line("one", 20, 0), line("two", 20, 15), line("three", 20, 45), line("four", 20, 60)]
    assert arrange(lines).text == "one\ntwo\n\nthree\nfour"


def test_a_page_that_lies_upside_down_is_in_order() -> None:
    lines = [line(f"row {row}, running text", 20, 15 * row) for row in range(8)]
    askew = [turned(item, 180 + 0.1 * (-1) ** row) for row, item in enumerate(lines)]
    assert arrange(askew).text == arrange(lines).text


def test_a_script_that_runs_right_to_left_has_its_cells_and_columns_so() -> None:
    row = [line("שני", 20, 0), line("ראשון", 200, 0)]
    assert arrange(row).text == "ראשון שני"
    left = [line(f"עמודה שמאלית שורה רצה {row}", 50, 100 + 15 * row, 150) for row in range(6)]
    right = [line(f"עמודה ימנית שורה רצה {row}", 300, 100 + 15 * row, 150) for row in range(6)]
    found = arrange([*left, *right])
    assert found.columns == 2
    assert [block.split()[1] for block in found.text.split("\n\n")] == ["ימנית", "שמאלית"]


def test_what_was_seen_and_not_read_is_measured_by_its_area() -> None:
    read = line("running text of a line", 0, 0, 100)
    unread = TextLine("", line("", 0, 20, 100).corners, 0.0)
    unsure = TextLine("nnning tcxt of a linc", line("", 0, 40, 100).corners, 0.6)
    sparse = TextLine(". ,", line("", 0, 60, 100).corners, 0.97)
    characters = TextLine("你好世界你好世界你好", line("", 0, 80, 100).corners, 0.99)
    assert unread_share([]) == 0
    assert [unread_share([item]) for item in (read, characters, unread, unsure, sparse)] == [0, 0, 1, 1, 1]
    assert unread_share([read, unread]) == 0.5
    assert arrange([read, unread, unsure]).text == "running text of a line\nnnning tcxt of a linc"


def test_columns_are_read_one_after_the_other_below_their_heading() -> None:
    found = arrange(two_columns())
    blocks = found.text.split("\n\n")
    assert found.columns == 2
    assert blocks[0].startswith("A heading")
    assert blocks[1].splitlines() == [f"left column, running text {row}" for row in range(6)]
    assert blocks[2].splitlines() == [f"right column, running text {row}" for row in range(6)]


def test_a_line_across_the_columns_parts_what_is_above_from_what_is_below() -> None:
    below = [TextLine(f"lower {item.text}", item.corners) for item in two_columns()[1:]]
    below = [TextLine(item.text, line("", item.corners[0][0], item.corners[0][1] + 130, 150).corners) for item in below]
    blocks = arrange([*two_columns()[1:], line("Between", 50, 210, 430), *below]).text.split("\n\n")
    assert [block.split()[0] for block in blocks] == ["left", "right", "Between", "lower", "lower"]


def test_three_columns_are_counted() -> None:
    third = [line(f"third column, running text {row}", 550, 100 + 15 * row) for row in range(6)]
    found = arrange([*two_columns()[1:], *third])
    assert found.columns == 3
    assert found.text.splitlines()[-1] == "third column, running text 5"


def test_cells_of_a_table_stay_in_their_rows() -> None:
    cells = [("Ferries", "2,904"), ("Grain carriers", "96"), ("Timber", "58"), ("Research vessels", "11"), ("All", "3")]
    lines = [line(name, 50, 20 * row) for row, (name, _) in enumerate(cells)]
    lines += [line(number, 300, 20 * row + 2) for row, (_, number) in enumerate(cells)]
    assert arrange(lines).text.splitlines() == [f"{name} {number}" for name, number in cells]
    assert arrange(lines).columns == 1


def test_a_page_scanned_askew_is_read_like_a_straight_one() -> None:
    straight = two_columns()
    assert arrange([turned(item, 3) for item in straight]).text == arrange(straight).text
    assert arrange([turned(item, -3) for item in straight]).text == arrange(straight).text


def test_lines_that_run_downwards_are_read_from_the_right() -> None:
    upright = [line(f"column {place}", 300 - 20 * place, 10, 12, 200) for place in range(4)]
    assert arrange(upright).text.split() == ["column", "0", "column", "1", "column", "2", "column", "3"]


def test_the_area_under_text_is_measured() -> None:
    assert math.isclose(arrange([line("x", 0, 0, 50, 10), line("y", 0, 20, 50, 10)]).area_px, 1000)
