from hwkd.codec.header import Stream
from hwkd.report.stream_tables import stream_table

MODEL_ID = bytes.fromhex("00112233445566ff")


def facts(table):
    return dict(table.rows)


def test_every_byte_is_accounted_for():
    # 36 bytes around one segment (hwkd/codec/header.py), 20 of z, 144 of y: 200 bytes, 1600 bits over 3200 pixels.
    table = stream_table("a.hwk", Stream(80, 40, MODEL_ID, 0, bytes(20), (bytes(144),)), "small")
    assert table.title == "a.hwk"
    assert facts(table) == {
        "size": "80x40",
        "bytes": "200",
        "bpp": "0.500",
        "model id": "00112233445566ff",
        "model": "small",
        "tiles": "none",
        "bytes of header": "36 (18.0 %)",
        "bytes of z": "20 (10.0 %)",
        "bytes of y": "144 (72.0 %)",
    }
    assert len(table.notes) == 1


def test_tiles_are_counted_with_those_that_the_edges_cut():
    # 3 x 2 tiles of 64 over 130x65: 36 bytes and 4 for each of 5 further segments.
    stream = Stream(130, 65, MODEL_ID, 64, b"", (b"ab",) * 6)
    found = facts(stream_table("a.hwk", stream, "small"))
    assert found["tiles"] == "3x2 of 64 px"
    assert found["bytes of header"] == "56 (82.4 %)"
    assert found["bytes of z"] == "0 (0.0 %)"
    assert found["bytes of y"] == "12 (17.6 %)"


def test_a_model_that_is_not_known_is_na_with_the_reason():
    table = stream_table("a.hwk", Stream(1, 1, MODEL_ID, 0, b"", (b"",)), None)
    assert facts(table)["model"] == "n/a"
    assert table.notes[1] == (
        "model is n/a: no bundle of this id comes with hwkd or lies beside the stream or in the current folder."
    )
