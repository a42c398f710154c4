"""Serve a web page that recognises a digit while you draw it, or the pictures that you choose.

Without MODEL_FILE, the digit is read by digit_cnn, a network that comes with tinycnn. A network that was trained on a
folder of pictures reads pictures: chosen, dropped, pasted or photographed. The page is at
http://127.0.0.1:8000, on this machine only; --host 0.0.0.0 makes it available on your network, for example to a phone.
POST /predict returns the same as JSON (docs/page.md). Requires: pip install 'tinycnn[web]'
"""

import argparse
import contextlib
import ipaddress
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinycnn.backends import use_backend
from tinycnn.backends.threads import share_blas
from tinycnn.commands.shared_options import (
    PACKAGED,
    add_model_pixels,
    add_pictures,
    given_or_packaged,
    state_pictures,
    state_pixels,
)
from tinycnn.errors import SettingError

if TYPE_CHECKING:
    from tinycnn.web.picture_predictions import PicturePredictor
    from tinycnn.web.predictions import Predictor

OPEN = (
    "warning: every machine that can reach this one over the network can use the page; there is no password and no "
    "encryption. --host 127.0.0.1 keeps it on this machine."
)

NO_WALK = (
    "no page for backpropagation: it shows the loss of a score for each class, and this network has one output for two "
    "classes; train one with a last Dense(2)"
)
UNKNOWN = "ADDRESS is shown by `ip address` on Linux, `ipconfig` on Windows, the network settings on macOS"
ELSEWHERE = {  # addresses in no network, and in the usual ones: which of its own would this machine use to reach them?
    socket.AF_INET: ("192.0.2.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "192.168.1.1"),
    socket.AF_INET6: ("2001:db8::1", "fd00::1"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the network and the address."""
    words = f"a model.safetensors that training wrote (default: {PACKAGED})"
    parser.add_argument("model_file", type=Path, nargs="?", metavar="MODEL_FILE", help=words)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 selects a free port")
    add_model_pixels(parser)
    add_pictures(parser)
    parser.add_argument("--backend", choices=["auto", "numpy", "numba", "cupy"], default="auto", help="default: auto")


def run(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    if not 0 <= options.port <= 65535:
        raise SettingError(f"--port {options.port}: expected 0 to 65535")
    try:
        from tinycnn.web.app import create_app, has_walk
        from tinycnn.web.server import make_server
    except ImportError as error:
        raise SettingError(f"the page requires Starlette and uvicorn ({error}): pip install 'tinycnn[web]'") from None
    from tinycnn.web.decoder import Decoder
    from tinycnn.web.picture_predictions import PicturePredictor, predictor_for
    from tinycnn.web.security import is_loopback

    use_backend(options.backend)
    share_blas(1)  # for one picture, several threads wait for each other, and for the cores that decode other pictures
    model, name = given_or_packaged(options.model_file)
    state_pixels(options, model)
    state_pictures(options, model)
    predictor = predictor_for(model)
    takes_pictures = isinstance(predictor, PicturePredictor)
    decoder = Decoder()
    try:
        with listen(options.host, options.port) as listener:
            decoder.start()
            warm_up(predictor)
            bound, port = listener.getsockname()[:2]
            if not is_loopback(bound):
                print(OPEN, file=sys.stderr)
            todo = "choose pictures" if takes_pictures else "draw"
            print(f"{name}: {todo} at {address(options.host, port)} (Ctrl-C ends)", flush=True)
            if has_walk(predictor):
                print(f"backpropagation, every number: {address(options.host, port)}/backprop", flush=True)
            elif not takes_pictures:
                print(NO_WALK, flush=True)
            if ipaddress.ip_address(bound).is_unspecified:
                print(for_others(own_addresses(listener.family), port, walk=has_walk(predictor)), flush=True)
            app = create_app(predictor, decoder.decode, ["localhost", options.host] if is_loopback(bound) else None)
            make_server(app, decoder.stop).run(sockets=[listener])
    finally:
        decoder.stop()
        share_blas(None)


def warm_up(predictor: "Predictor | PicturePredictor") -> None:
    """Compile the kernels before the first request; some are of the recorded forward pass, used from the second on."""
    import numpy as np

    for inside in (True, False):
        predictor.predict(np.zeros((1, *predictor.model.input_shape), np.uint8), inside=inside)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address; raises SettingError with the reason if that fails."""
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(where[:2], family=family)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingError(f"cannot listen on {host} port {port} ({reason}); choose with --host and --port") from None


def own_addresses(family: socket.AddressFamily) -> list[str]:
    """The addresses of this machine in its networks. Nothing is sent: connecting a datagram socket only chooses one."""
    found = []
    for target in ELSEWHERE[family]:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))  # raises OSError where no network leads there
            found.append(probe.getsockname()[0])
    useless = {
        own for own in found if ipaddress.ip_address(own).is_loopback or ipaddress.ip_address(own).is_unspecified
    }
    return [own for own in dict.fromkeys(found) if own not in useless]


def for_others(hosts: list[str], port: int, *, walk: bool) -> str:
    """One line for each address of this machine, with that of the walk if there is one; or where to find an address."""
    pages = [address(host, port) for host in hosts or ["ADDRESS"]]
    lines = [f"for others on your network: {page}" + f" and {page}/backprop" * walk for page in pages]
    return "\n".join(lines) + ("" if hosts else f"; {UNKNOWN}")


def address(host: str, port: int) -> str:
    """The URL to type into a browser."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
