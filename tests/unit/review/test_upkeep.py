"""What radon says of a file."""

import ast

from trainkit.review import upkeep

SOURCE = b'"""Doc."""\n\n# a comment\ndef add(a, b):\n    return a + b * 2 if a else b\n'


def test_figures_are_radons():
    """The index, the volume and the lines by kind, as its own command gives them."""
    from radon.metrics import h_visit, mi_visit

    found = upkeep.extract(ast.parse(SOURCE), SOURCE)

    assert found["index"] == mi_visit(SOURCE.decode(), True)
    assert found["volume"] == h_visit(SOURCE.decode()).total.volume > 0
    assert (found["source_lines"], found["comments"], found["blank"]) == (2, 1, 1)


def test_what_radon_cannot_read_has_no_figures(monkeypatch):
    """Its tokenizer has limits of its own; the file is reviewed all the same."""

    def fail(_):
        raise SyntaxError

    monkeypatch.setattr("radon.raw.analyze", fail)

    assert upkeep.extract(ast.parse(SOURCE), SOURCE) == {}


def test_a_table_of_thousands_of_lines_is_not_shown_to_radon(monkeypatch):
    """It reads a statement again for each of its lines; many short ones are no trouble."""
    table = "T = [\n" + "    1,\n" * 700 + "]\n"
    nested = b"class A:\n    def f(self):\n        try:\n            pass\n        except OSError:\n"
    nested += b"".join(b"            " + line for line in table.encode().splitlines(keepends=True))
    many = b"T = [\n    1,\n]\n" * 700

    assert upkeep.extract(ast.parse(many), many)["source_lines"] == 2100
    monkeypatch.setattr("radon.raw.analyze", None)
    assert upkeep.extract(ast.parse(table), table.encode()) == {}
    assert upkeep.extract(ast.parse(nested), nested) == {}
