"""Talking to a model: in the terminal, or on a page of this machine beside the probabilities of each token."""

from flyweight.chat.listening import LOOPBACK, Place
from flyweight.chat.playground import Playground
from flyweight.chat.server import Server
from flyweight.chat.settings import SETTINGS, Settings
from flyweight.chat.terminal import Terminal

__all__ = ["LOOPBACK", "SETTINGS", "Place", "Playground", "Server", "Settings", "Terminal"]
