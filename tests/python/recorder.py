"""A TCP proxy before PostgreSQL that records the messages a driver sends."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict

CANCEL, SSL, GSS = 80877102, 80877103, 80877104


@dataclass
class Recorder:
    """What arrived: (type, body) per message, in order; type "Q" is a simple query."""

    port: int = 0
    messages: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def round_trips(self) -> int:
        """Messages after which a driver waits: Query, Sync and Flush."""
        return sum(kind in "QSH" for kind, _ in self.messages)

    @property
    def texts(self) -> list[str]:
        """The texts of simple queries."""
        return [body.rstrip(b"\0").decode() for kind, body in self.messages if kind == "Q"]


@contextmanager
def recording(url: str) -> Iterator[Recorder]:
    """Listen on a free port of 127.0.0.1 and pass all on to the server that *url* names."""
    target = conninfo_to_dict(url)
    server = (str(target["host"]), int(str(target["port"])))
    recorder = Recorder()
    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder.port = listener.getsockname()[1]
        accepting = threading.Thread(target=_accept, args=(listener, server, recorder, opened))
        accepting.start()
        try:
            yield recorder
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in opened:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


def _accept(
    listener: socket.socket,
    server: tuple[str, int],
    recorder: Recorder,
    opened: list[socket.socket],
) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            upstream = socket.create_connection(server)
            opened += [client, upstream]
            for pump in (
                threading.Thread(target=_record, args=(client, upstream, recorder), daemon=True),
                threading.Thread(target=_copy, args=(upstream, client), daemon=True),
            ):
                pump.start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _record(client: socket.socket, upstream: socket.socket, recorder: Recorder) -> None:
    """Note each whole message, then pass it on: the server's answer comes after the note."""
    data = b""
    started = False
    with suppress(OSError):
        while chunk := client.recv(65536):
            data += chunk
            whole = 0
            while size := _size(data[whole:], started):
                message = data[whole : whole + size]
                if started:
                    recorder.messages.append((chr(message[0]), message[5:]))
                else:
                    started = struct.unpack("!I", message[4:8])[0] not in (CANCEL, SSL, GSS)
                whole += size
            upstream.sendall(data[:whole])
            data = data[whole:]
        upstream.shutdown(socket.SHUT_WR)


def _size(data: bytes, started: bool) -> int:
    """Bytes of the first message in *data*; 0 while it is not all there."""
    header = 1 if started else 0
    if len(data) < header + 4:
        return 0
    size: int = header + struct.unpack("!I", data[header : header + 4])[0]
    return size if len(data) >= size else 0
