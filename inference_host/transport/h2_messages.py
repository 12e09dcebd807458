"""gRPC's messages out of the bytes of a stream, as the SDK reads them, with what a host wants besides.

Large ones end on the boundary that tensors need (message_buffer.py), and what is wrong is an error for the caller.
"""

from inference_host.transport.message_buffer import MessageBuffer
from waypost.errors import Exhausted, Invalid
from waypost.wire.messages import MessageReader
from waypost.wire.status import CallError, Status
from waypost.wire.streams import Chunk


def reader(bytes_max: int) -> MessageReader:
    """Of one stream. bytes_max: of one message, as sent."""
    return MessageReader(bytes_max, MessageBuffer)


def next_message(messages: MessageReader) -> tuple[bool, Chunk] | None:
    """→ (whether it is compressed, the message), or None: more bytes are needed.

    Raises: Exhausted(MESSAGE_TOO_LARGE) as soon as its length is known, Invalid(BAD_FRAMING).
    """
    try:
        return messages.next()
    except CallError as error:
        if error.status is Status.RESOURCE_EXHAUSTED:
            raise Exhausted("MESSAGE_TOO_LARGE", error.message, "send less at once") from None
        raise Invalid("BAD_FRAMING", error.message) from None


def finish(messages: MessageReader) -> None:
    """The stream has ended. Raises: Invalid(BAD_FRAMING) where that was inside a message."""
    try:
        messages.finish()
    except CallError as error:
        raise Invalid("BAD_FRAMING", error.message) from None
