"""Compression that can be shared (RFC 7692): neither side keeps a context, so a frame is compressed once for all."""

from collections.abc import Sequence

from websockets.exceptions import NegotiationError
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.typing import ExtensionParameter

WINDOW_BITS = 12  # of what is sent; messages are smaller than this window


def agreed() -> PerMessageDeflate:
    """Return the compression that was agreed upon, for the frames of one message at a time."""
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,  # a client may use any
        local_max_window_bits=WINDOW_BITS,
    )


_OURS = agreed()


class SharedDeflateFactory(ServerPerMessageDeflateFactory):
    """Agrees to the one form of compression whose frames fit every client, or to none."""

    def __init__(self) -> None:
        super().__init__(
            server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=WINDOW_BITS
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Answer a client's offer; one that asks for a smaller window gets no compression."""
        answer, extension = super().process_request_params(params, accepted_extensions)
        if extension.local_max_window_bits != WINDOW_BITS:
            raise NegotiationError("the client wants a smaller window")
        return answer, extension


def deflated(body: bytes) -> bytes:
    """Return `body` as a compressed text frame, for every client that agreed to it."""
    return bytes(Frame(Opcode.TEXT, body).serialize(mask=False, extensions=[_OURS]))
