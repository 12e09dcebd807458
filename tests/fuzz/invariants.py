"""What must hold for a connection after every step, whatever the peer said."""

from waypost.wire import ClientConnection, ErrorCode, Fault, ServerConnection

Connection = ClientConnection | ServerConnection

FRAME_HEADER_BYTES = 9
HELLO_BYTES = 400  # and a last goodbye
ANSWERED_BYTES_MAX = 40  # that one byte heard can make us say: a GOAWAY's debug data for the shortest wrong frame


def check(connection: Connection, heard_bytes: int, said_bytes: int, given_bytes: int) -> None:
    """So far: heard of the peer, said to it, given by the owner to be said."""
    check_memory(connection)
    check_accounts(connection)
    check_end(connection)
    said_bytes += connection.unsent_bytes
    assert said_bytes <= HELLO_BYTES + given_bytes + ANSWERED_BYTES_MAX * heard_bytes, "one byte makes us say too many"


def check_memory(connection: Connection) -> None:
    limits, blocks = connection.limits, connection._blocks
    if isinstance(connection, ServerConnection):
        assert len(connection._streams) <= limits.concurrent_streams
    assert len(connection._lingering) <= limits.streams_remembered
    assert blocks.decoder.table_bytes <= max(limits.header_table_bytes, 4096)
    assert len(blocks.heads) + len(blocks.tails) <= limits.heads_remembered
    assert sum(map(len, connection._parts)) <= limits.header_block_bytes + FRAME_HEADER_BYTES
    if connection._assembly is not None and not connection.closed:
        assert connection._assembly._size <= limits.header_block_bytes


def check_accounts(connection: Connection) -> None:
    """Bytes are counted once, in one place."""
    out, streams = connection._out, connection._streams.values()
    assert out.unsent == sum(stream.unsent for stream in streams)
    assert out.pending == sum(map(len, out.frames))
    assert all(stream.unsent == sum(map(len, stream.queue or ())) for stream in streams)
    assert all(stream.unsent and stream.send_window > 0 for stream in out.ready.values())
    if not connection.closed:
        unread = sum(stream.unread for stream in streams)
        assert connection._window + connection._owed + unread == connection.limits.connection_window_bytes
        assert connection._window >= 0


def check_end(connection: Connection) -> None:
    if connection.closed:
        assert not connection._streams or connection.fault is None
        assert connection.receive(b"more", 1e9) == ()
    if connection.fault is not None:
        assert isinstance(connection.fault, Fault)
        assert isinstance(connection.fault.code, ErrorCode)
        assert connection.closed
