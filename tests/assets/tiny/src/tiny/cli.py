"""Starts without torch."""

from tiny.helpers import parse_pairs


def main(arguments: list[str]) -> dict[str, str]:
    return parse_pairs(arguments)
