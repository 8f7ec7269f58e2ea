from hwkd.cli.coding.info import stream_table
from hwkd.codec.stream import Stream

MODEL_ID = bytes.fromhex("00112233445566ff")


def facts(table):
    return dict(table.rows)


def test_every_byte_is_accounted_for():
    # 37 bytes around one segment (hwkd/codec/stream.py), 20 of z, 143 of y: 200 bytes, 1600 bits over 3200 pixels.
    stream = Stream(80, 40, MODEL_ID, 0, bytes(20), (bytes(143),), 75)
    table = stream_table("a.hwk", stream, "small")
    assert table.title == "a.hwk"
    assert facts(table) == {
        "size": "80x40",
        "bytes": "200",
        "bpp": "0.500",
        "model id": "00112233445566ff",
        "model": "small",
        "quality": "75",
        "tiles": "none",
        "bytes of header": "37 (18.5 %)",
        "bytes of z": "20 (10.0 %)",
        "bytes of y": "143 (71.5 %)",
    }
    assert len(table.notes) == 1


def test_tiles_are_counted_with_those_that_the_edges_cut():
    # 3 x 2 tiles of 64 over 130x65: 37 bytes and 4 for each of 5 further segments.
    stream = Stream(130, 65, MODEL_ID, 64, b"", (b"ab",) * 6)
    found = facts(stream_table("a.hwk", stream, "small"))
    assert found["tiles"] == "3x2 of 64 px"
    assert found["bytes of header"] == "57 (82.6 %)"
    assert found["bytes of z"] == "0 (0.0 %)"
    assert found["bytes of y"] == "12 (17.4 %)"


def test_a_model_that_is_not_known_is_na_with_the_reason():
    table = stream_table("a.hwk", Stream(1, 1, MODEL_ID, 0, b"", (b"",)), None)
    assert facts(table)["model"] == "n/a"
    assert table.notes[1] == (
        "model is n/a: no bundle of this id comes with hwkd or lies beside the stream or in the current folder."
    )


def test_of_a_model_of_one_rate_there_is_no_quality_to_tell():
    table = stream_table("a.hwk", Stream(1, 1, MODEL_ID, 0, b"", (b"",)), "small")
    assert facts(table)["quality"] == "n/a"
    assert table.notes[1:] == ("quality is n/a: the model codes at one rate.",)
